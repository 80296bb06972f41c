"""Where a language model is asked: what is refused, and that nothing secret is shown."""

import pytest

from app.describe.endpoint import Endpoint, endpoint_from_environment
from model.errors import ConfigurationError
from tests.app.describe.language_model import SECRET


def test_it_is_off_by_default_and_the_key_is_never_shown(monkeypatch):
    for name in ("URL", "MODEL", "KEY", "INPUT_PRICE", "OUTPUT_PRICE"):
        monkeypatch.delenv(f"SKETCHSEEK_LLM_{name}", raising=False)
    with pytest.raises(ConfigurationError, match="set SKETCHSEEK_LLM_URL"):
        endpoint_from_environment()
    monkeypatch.setenv("SKETCHSEEK_LLM_URL", "http://there/v1")
    with pytest.raises(ConfigurationError, match="SKETCHSEEK_LLM_MODEL"):
        endpoint_from_environment()
    monkeypatch.setenv("SKETCHSEEK_LLM_MODEL", "m")
    monkeypatch.setenv("SKETCHSEEK_LLM_KEY", "hidden-key")
    monkeypatch.setenv("SKETCHSEEK_LLM_INPUT_PRICE", "1.5")
    found = endpoint_from_environment()
    assert (found.key, found.input_price, found.output_price) == ("hidden-key", 1.5, 0.0)
    assert "hidden-key" not in repr(found)
    monkeypatch.setenv("SKETCHSEEK_LLM_OUTPUT_PRICE", "cheap")
    with pytest.raises(ConfigurationError, match="prices of a million tokens"):
        endpoint_from_environment()
    with pytest.raises(ConfigurationError, match="http"):
        Endpoint("file:///etc/passwd", "m")


@pytest.mark.parametrize(
    "url",
    ["http://", f"http://[::1:{SECRET}", f"http://me:{SECRET}@host:99999/v1", f"http://host:{SECRET}/v1",
     f"http://me:{SECRET}@ho\x00st/v1"],
)  # fmt: skip
def test_an_address_that_is_none_is_told_without_showing_it(url):
    with pytest.raises(ConfigurationError, match="SKETCHSEEK_LLM_URL is no address") as caught:
        Endpoint(url, "m")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("key", [f"{SECRET}ä", f"{SECRET}\n", f"{SECRET} x", f"\udcff{SECRET}", f"{SECRET}\x7f"])
def test_a_key_that_cannot_be_sent_is_told_without_showing_it(key):
    with pytest.raises(ConfigurationError, match="SKETCHSEEK_LLM_KEY") as caught:
        Endpoint("http://host/v1", "m", key)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("price", [float("nan"), float("inf"), -1.0])
def test_prices_are_amounts(price):
    with pytest.raises(ConfigurationError, match="prices"):
        Endpoint("http://host/v1", "m", output_price=price)
