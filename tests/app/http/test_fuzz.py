"""A few cases of the fuzzer; `python -m tests.app.http.fuzz` runs as many as wanted."""

import pytest

from app.main import create_app
from tests.app.conftest import READ_KEY, WRITE_KEY, settings_for
from tests.app.http.fuzz import PHASES, attack, running


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("phases", "examples"),
    # The phase of coverage has hundreds of cases, however few are asked for.
    [("examples,fuzzing,stateful", 2), pytest.param(PHASES, 3, marks=pytest.mark.slow)],
    ids=["few", "more"],
)
def test_the_live_service_answers_what_its_document_says(gallery, photos, network, phases, examples):
    settings = settings_for(gallery, photos=photos, read_key=READ_KEY, write_key=WRITE_KEY, upload_wait_s=30)
    with running(create_app(settings, network)) as url:
        done = attack(url, WRITE_KEY, examples, seed=0, phases=phases)
    assert done.returncode == 0, done.stdout + done.stderr
