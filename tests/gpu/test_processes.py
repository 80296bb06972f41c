"""A check that runs alone fails as one in this process does, and an abort is a failure too."""

import atexit
import os
import time

import pytest

from tests.gpu.processes import alone


@pytest.mark.parametrize(
    ("check", "arguments", "said"),
    [
        (time.sleep, (0,), None),
        (int, ("no number",), "ValueError"),
        (os.abort, (), "the process ended with -6"),
        (atexit.register, (os.abort,), "the process ended with -6"),
        (time.sleep, (60,), "nothing after 3 s"),
    ],
)
def test_what_becomes_of_a_check_is_told(check, arguments, said, capfd):
    if said is None:
        alone(check, *arguments)
    else:
        with pytest.raises(AssertionError, match=said):
            alone(check, *arguments, seconds=3 if check is time.sleep else 60)
    assert ("most recent call first" in capfd.readouterr().err) == (check is time.sleep and said is not None)
