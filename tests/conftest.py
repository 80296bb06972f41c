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
    "tests/browser/test_gallery_states.py",
    "tests/browser/test_ways_on.py",
    "tests/browser/test_results.py",
    "tests/browser/test_address.py",
    "tests/browser/test_query_parts.py",
    "tests/app/cli/test_train.py",
    "tests/model/images/test_hostile.py",
    "tests/index_builder/store/test_buckets.py",
    "tests/browser/test_viewer.py",
    "tests/model/training/run/test_run.py",
    "tests/browser/test_accessibility.py",
    "tests/fault/test_kill.py",
    "tests/libraries/test_following.py",
    "tests/app/http/test_slow_clients.py",
    "tests/app/cli/test_cli.py",
    "tests/browser/test_drawing.py",
    "tests/fault/test_kill_in_a_bucket.py",
    "tests/browser/test_behind_a_proxy.py",
    "tests/model/images/test_preprocess.py",
    "tests/browser/test_large_view.py",
    "tests/index_builder/store/test_stalled_writers.py",
    "tests/app/cli/test_follow.py",
    "tests/app/cli/test_evaluate.py",
    "tests/test_comparison.py",
    "tests/app/http/test_attacks.py",
    "tests/model/networks/test_every_network.py",
    "tests/browser/test_filters.py",
    "tests/libraries/test_behind_a_proxy.py",
    "tests/model/training/test_networks.py",
    "tests/model/networks/test_fixed_shapes.py",
    "tests/app/http/test_recall_on_milvus.py",
    "tests/test_gpu_run.py",
    "tests/app/http/test_photos.py",
    "tests/libraries/test_uploads.py",
    "tests/libraries/test_bucket_while_served.py",
    "tests/app/http/test_gallery.py",
    "tests/libraries/test_vanished_folder.py",
    "tests/index_builder/index/test_milvus_index.py",
    "tests/browser/test_small_windows.py",
    "tests/model/images/test_opening.py",
    "tests/app/test_server.py",
    "tests/model/images/test_dense_sketches.py",
    "tests/model/training/run/test_processes.py",
    "tests/libraries/test_photos_in_a_bucket.py",
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


def pytest_report_header(config: pytest.Config) -> str | None:
    """Several processes do not count what is left out."""
    return "without the slow tests: make long runs them" if config.option.markexpr == "not slow" else None


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Commands and services set up logging for their whole process, which is here the process of all tests."""
    root = logging.getLogger()
    handlers, level, structured = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**structured)
