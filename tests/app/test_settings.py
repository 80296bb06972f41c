"""Settings: defaults, the environment, and a page that lists every one."""

import re

import pytest

from app.addresses import is_local_host
from app.metrics import Metrics
from app.settings import Settings, load_settings
from model.errors import ConfigurationError
from tests.paths import ROOT

OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def shown(value) -> str:
    if value is None or value in ((), ""):
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"`{value}`"


def test_the_operations_page_lists_every_setting_with_its_default_and_sentence():
    rows = {name: (default, meaning) for name, default, meaning in re.findall(
        r"^\| `SKETCHSEEK_(\w+)` \| (.+?) \| (.+) \|$", OPERATIONS, re.MULTILINE)}  # fmt: skip
    expected = {name.upper(): (shown(f.default), f.description) for name, f in Settings.model_fields.items()}
    assert rows == expected


def test_the_operations_page_lists_every_metric():
    named = set(re.findall(r"`(sketchseek_[a-z_]+)`", OPERATIONS.split("## Metrics")[1].split("## Alarms")[0]))
    families = {metric.name: metric.type for metric in Metrics().registry.collect()}
    served = {
        name + ("_total" if kind == "counter" else "")
        for name, kind in families.items()
        if name.startswith("sketchseek_")
    }
    assert named == served


def test_every_setting_has_a_sentence():
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
        assert not field.is_required(), name


def test_the_environment_sets_and_options_win(monkeypatch):
    monkeypatch.setenv("SKETCHSEEK_PORT", "1234")
    monkeypatch.setenv("SKETCHSEEK_ALLOWED_HOSTS", "a.example, b.example")
    monkeypatch.setenv("SKETCHSEEK_READ_KEY", "")
    monkeypatch.setenv("SKETCHSEEK_PHOTOS", "")
    settings = load_settings(port=None)
    assert settings.port == 1234
    assert settings.allowed_hosts == ("a.example", "b.example")
    assert settings.read_key is None
    assert settings.photos is None
    assert load_settings(port=99).port == 99


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "70000"), ("PORT", "x"), ("MAX_PIXELS", "0"), ("REQUEST_TIMEOUT_S", "-1"), ("UPLOAD_FOLDER", "../up"),
     ("UPLOAD_FOLDER", "a/b"), ("LOG_FORMAT", "xml")],
)  # fmt: skip
def test_a_value_that_cannot_work_is_named_and_not_repeated(monkeypatch, name, value):
    monkeypatch.setenv(f"SKETCHSEEK_{name}", value)
    with pytest.raises(ConfigurationError, match=f"SKETCHSEEK_{name}"):
        load_settings()


@pytest.mark.parametrize("key", ["schlüssel", " k3y", "k3y\n", "a\tb", "\x7f", "\u200bk3y"])
def test_a_key_that_no_client_could_send_is_refused_at_the_start(monkeypatch, key):
    monkeypatch.setenv("SKETCHSEEK_READ_KEY", key)
    with pytest.raises(ConfigurationError, match="SKETCHSEEK_READ_KEY") as raised:
        load_settings()
    assert key not in str(raised.value)


@pytest.mark.parametrize("key", ["k", "two words", "~!@#$%^&*()_+{}|:<>?", "x" * 500])
def test_any_other_key_will_do(monkeypatch, key):
    monkeypatch.setenv("SKETCHSEEK_READ_KEY", key)
    kept = load_settings().read_key
    assert kept is not None
    assert kept.get_secret_value() == key


def test_keys_are_never_shown(monkeypatch):
    monkeypatch.setenv("SKETCHSEEK_WRITE_KEY", "hush")
    assert "hush" not in repr(load_settings())
    assert "hush" not in str(load_settings().model_dump())


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True), ("0.0.0.0", False),  # noqa: S104
     ("192.168.1.2", False), ("example.org", False), ("", False), ("localhost.example.org", False)],
)  # fmt: skip
def test_which_hosts_are_local(host, local):
    assert is_local_host(host) == local


def test_a_variable_that_is_empty_counts_as_unset(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.setenv(f"SKETCHSEEK_{name.upper()}", "")
    assert load_settings().host == "127.0.0.1"
    assert load_settings().port == 8000
    with pytest.raises(ConfigurationError, match="SKETCHSEEK_HOST cannot be used"):
        load_settings(host="")


@pytest.mark.parametrize(("cores", "processes"), [(1, 2), (2, 2), (3, 2), (8, 4), (64, 8)])
def test_beside_a_gpu_a_slow_picture_never_holds_up_all_others(monkeypatch, cores, processes):
    monkeypatch.setattr("app.settings.usable_cores", lambda: cores)
    assert load_settings().processes_that_decode(on_gpu=True) == processes
    assert load_settings().processes_that_decode(on_gpu=False) == 0
    assert load_settings(decode_processes=1).processes_that_decode(on_gpu=True) == 1
