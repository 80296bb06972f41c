"""What following a folder of photos costs: a rescan beside a look at every file, and waiting for events beside polling.

    python benchmarks/following.py                          # 1000 folders of 100 files
    python benchmarks/following.py --sidecars 300000        # and as many sidecar files, with a log line a second

No photo is read or encoded: this is what is paid while nothing, or nothing that matters, happens. The folders are in
the page cache; on a share, count the calls instead: a rescan asks once for each folder.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import watchfiles
from measure import Table, header, parser

from app.service.following.folder_events import FolderEvents
from app.service.following.look_schedule import LookSchedule
from index_builder.photo_folders import PhotoFolders
from index_builder.scanning.folder_times import FolderTimes
from index_builder.scanning.scan import scan_folders

COLUMNS = {"what": "what", "wall_ms": "ms", "cpu_ms": "CPU ms", "share": "share of a core"}
_OLD = 10**18


def make_folders(root: Path, folders: int, files: int, sidecars: int) -> None:
    """Files that look like photos, as old as photos usually are, and sidecar files in a folder of their own."""
    for folder in range(folders):
        place = root / f"{folder:04}"
        place.mkdir()
        for file in range(files):
            (place / f"{file:04}.jpg").write_bytes(b"x")
        os.utime(place, ns=(_OLD, _OLD))
    (root / "sidecars").mkdir()
    for file in range(sidecars):
        (root / "sidecars" / f"{file:06}.xmp").touch()
    for place in (root / "sidecars", root):
        os.utime(place, ns=(_OLD, _OLD))


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Milliseconds by the clock and of the processor, the best of three."""
    turns = []
    for _ in range(3):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        turns.append(((time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000))
    return {"wall_ms": min(turn[0] for turn in turns), "cpu_ms": min(turn[1] for turn in turns)}


def share_of_a_core(seconds: float, each_second: Callable[[], object]) -> float:
    """Processor time that this process uses per second, while `each_second` is called once a second."""
    time.sleep(2)
    began, cpu = time.perf_counter(), time.process_time()
    while (passed := time.perf_counter() - began) < seconds:
        each_second()
        time.sleep(min(1.0, seconds - passed))
    return (time.process_time() - cpu) / (time.perf_counter() - began)


def main() -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--folders", type=int, default=1000)
    options.add_argument("--files", type=int, default=100, help="in each folder")
    options.add_argument("--sidecars", type=int, default=0)
    options.add_argument("--seconds", type=float, default=20.0, help="of waiting")
    arguments = options.parse_args()
    header(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "photos"
        root.mkdir()
        make_folders(root, arguments.folders, arguments.files, arguments.sidecars)
        measure_all(root, arguments)


def measure_all(root: Path, arguments: argparse.Namespace) -> None:
    """Every row."""
    title = f"Following {arguments.folders} folders of {arguments.files} files and {arguments.sidecars} sidecar files"
    table = Table("following", title, COLUMNS)
    folders = PhotoFolders.of(root)

    def log_line() -> None:
        with (root / "app.log").open("a") as file:
            file.write("a line\n")

    table.add(what="look at every file", **timed(lambda: sum(1 for _ in scan_folders(folders, lambda _skipped: None))))
    times = FolderTimes(folders)
    table.add(what="first look at the folders' times", **timed(lambda: FolderTimes(folders).look()))
    times.look()
    table.add(what="rescan by the folders' times", **timed(times.look))
    log_line()

    looks = LookSchedule(folders, root.parent / "gallery", 0, 0)
    looks.due()
    events = FolderEvents([root], looks.matters, lambda _paths: None)
    events.start(60)
    table.add(what="waiting for events", share=share_of_a_core(arguments.seconds, lambda: None))
    table.add(what="events, a log line a second", share=share_of_a_core(arguments.seconds, log_line))
    events.stop()
    time.sleep(1)

    end = threading.Event()
    poll = threading.Thread(
        target=lambda: [None for _ in watchfiles.watch(root, force_polling=True, stop_event=end)], daemon=True
    )
    poll.start()
    table.add(what="polling every file by watchfiles", share=share_of_a_core(arguments.seconds, lambda: None))
    end.set()
    table.finish(arguments)


if __name__ == "__main__":
    main()
