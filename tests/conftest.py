"""What every test has: logging that is afterwards as it was before. And the order of the files: the longest first."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

from tests.paths import ROOT

# Processes take whole files, in this order. A long one that came last would keep one process busy while others idle.
LONGEST = (
    "tests/browser/test_page.py",
    "tests/model/training/run/test_run.py",
    "tests/model/images/test_hostile.py",
    "tests/browser/test_address.py",
    "tests/app/cli/test_train.py",
    "tests/fault/test_kill.py",
    "tests/index_builder/store/test_buckets.py",
    "tests/model/images/test_opening.py",
    "tests/browser/test_results.py",
    "tests/test_comparison.py",
    "tests/browser/test_behind_a_proxy.py",
    "tests/browser/test_query_parts.py",
    "tests/browser/test_viewer.py",
    "tests/fault/test_kill_in_a_bucket.py",
    "tests/libraries/test_unfit_machines.py",
    "tests/model/training/test_networks.py",
    "tests/libraries/test_uploads.py",
    "tests/browser/test_accessibility.py",
    "tests/index_builder/ingest/test_read_ahead.py",
    "tests/browser/test_large_view.py",
    "tests/browser/test_small_windows.py",
    "tests/app/http/test_fuzz.py",
    "tests/index_builder/index/test_milvus_server.py",
    "tests/fault/test_full_disk.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; the others as they were."""
    turns = {ROOT / name: turn for turn, name in enumerate(LONGEST)}
    gone = [str(path) for path in turns if not path.is_file()]
    if gone:
        raise pytest.UsageError(f"LONGEST in tests/conftest.py names files that are not there: {', '.join(gone)}")
    items.sort(key=lambda item: turns.get(item.path, len(turns)))


def pytest_configure() -> None:
    """Tracebacks in the log as Python writes them: structlog's own, with every variable, take a third of a second."""
    *others, _ = structlog.get_config()["processors"]
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*others, renderer])


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Commands and services set up logging for their whole process, which is here the process of all tests."""
    root = logging.getLogger()
    handlers, level, structured = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**structured)
