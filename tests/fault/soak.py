"""Full load and a mishap every 20 seconds against the live service; every answer is checked.

    python -m tests.fault.soak [--minutes 20] [--seed 1] [--keep FOLDER]

A gallery of drawn photos and a tiny network, so that many requests go through; the mishaps, in an order that the seed
decides: an upload, a deletion, a change by another process and a reload, kill -9 (every other time while a photo is
being uploaded) and a new start, a full disk, cut connections, 200 slow clients, a clock that jumps by hours and file
times of any year, a share that vanishes and returns. The exit code is 1 where an answer was wrong, a photo was lost, or
a request failed that should not have.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from PIL import Image, ImageDraw

from index_builder import BuildOptions, GallerySnapshot, build_gallery, sync_gallery, verify_gallery
from index_builder.photo_record import photo_id
from model.checkpoints.files import load_checkpoint, save_checkpoint
from model.errors import SketchseekError
from model.networks.registry import build_network
from model.presets import ZSE_TINY
from tests.fault.truth import Truth

PHOTOS, SKETCHES, MOST = 48, 8, 200
KEY = "soak"
DISK_MB = 64
_OPTIONS = BuildOptions(workers=1, commit_photos=16, wait_s=60)
_HEAD = b"POST /search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_YEARS = (-11_644_473_600, -1, 0, 4_102_444_800, 2**63 // 10**9 + 1, 15_032_385_535)
_JUMPS_H = (5, -5, 30, 0)
COMMAND = [sys.executable, "-c", "import tests.fault.jumping_clock; from app.cli import main; main()"]


def picture(seed: int) -> bytes:
    """A photo like no other, as PNG."""
    numbers = np.random.default_rng(seed)
    image = Image.new("RGB", (160, 120), tuple(int(v) for v in numbers.integers(100, 255, 3)))
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, w, h = (int(v) for v in numbers.integers(0, 80, 4))
        pen.ellipse((x, y, x + w + 5, y + h + 5), fill=tuple(int(v) for v in numbers.integers(0, 255, 3)))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def drawing(seed: int) -> list[list[list[float]]]:
    """A sketch as strokes."""
    points = np.random.default_rng(seed + 10_000).integers(0, 255, (4, 2, 6))
    return [[[float(v) for v in row] for row in stroke] for stroke in points]


class Service:
    """The service in a process of its own, which dies and comes back."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.url = f"http://127.0.0.1:{port}"
        self.outages: list[tuple[float, float]] = []
        self.ready_s: list[float] = []
        self.lives: list[tuple[float, float, float]] = []  # seconds, MB when it was warm, MB at its end
        self._process: subprocess.Popen[bytes] | None = None
        self._warm_mb: float | None = None
        self._began = 0.0

    def start(self) -> None:
        """Start it and wait until it is ready."""
        settings = {
            "WRITE_KEY": KEY, "RATE_LIMIT_PER_MINUTE": "0", "TORCH_THREADS": "1", "MAX_REQUESTS": "150",
            "BODY_TIMEOUT_S": "12", "ANSWER_TIMEOUT_S": "12", "FOLLOW_INTERVAL_S": "0.3", "UPLOAD_WAIT_S": "60",
            "REQUEST_TIMEOUT_S": "30", "WATCH": "true", "RESCAN_S": "5",
        }  # fmt: skip
        environment = {**os.environ, **{f"SKETCHSEEK_{k}": v for k, v in settings.items()}, "OMP_NUM_THREADS": "1"}
        environment["SOAK_CLOCK"] = str(self.folder / "clock")
        command = [*COMMAND, "serve", "--gallery", str(self.folder / "disk/gallery"), "--port", str(self.port)]
        command += ["--photos", str(self.folder / "disk/photos"), "--checkpoint", str(self.folder / "tiny.safetensors")]
        began = self._began = time.monotonic()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stderr=log, stdout=log)
        while True:
            with suppress(httpx2.HTTPError):
                if httpx2.get(self.url + "/readyz", timeout=5).status_code == 200:
                    break
            if self._process.poll() is not None or time.monotonic() - began > 1800:
                raise SystemExit(f"the service did not start; its log is {self.folder / 'log'}")
            time.sleep(0.05)
        self.ready_s.append(time.monotonic() - began)
        self._warm_mb = None

    def kill(self) -> float:
        """SIGKILL; when."""
        assert self._process is not None
        self._close_life()
        now = time.monotonic()
        self._process.kill()
        self._process.wait()
        return now

    def end(self) -> int:
        """SIGTERM; its exit code."""
        assert self._process is not None
        self._close_life()
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def look(self) -> None:
        """Remember its memory once it has served for a while."""
        if self._warm_mb is None and time.monotonic() - self._began > 15:
            self._warm_mb = self.megabytes()

    def megabytes(self) -> float:
        """Resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) / 1000 for line in status.splitlines() if line.startswith("VmRSS"))

    def _close_life(self) -> None:
        if self._warm_mb is not None:
            self.lives.append((time.monotonic() - self._began, self._warm_mb, self.megabytes()))


class Soak:
    """Load, mishaps and the book about both."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.disk = folder, folder / "disk"
        self.random = random.Random(seed)
        self.truth = Truth()
        self.answers: Counter[str] = Counter()
        self.mishaps: Counter[str] = Counter()
        self.fast_s: list[float] = []
        self.seeds = iter(range(PHOTOS, 1_000_000))
        self.kept: dict[str, str] = {}  # acknowledged and not deleted: photo id -> SHA-256 of its file
        self.ended = threading.Event()
        self.disk_is_full = threading.Event()
        self.share_is_away = threading.Event()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.service = Service(folder, int(probe.getsockname()[1]))

    def prepare(self) -> None:
        """Weights, photos, gallery, service."""
        self.network = load_checkpoint(self._weights(), "cpu", "float32")
        (self.disk / "photos" / "first").mkdir(parents=True)
        for seed in range(PHOTOS):
            (self.disk / "photos" / "first" / f"{seed}.png").write_bytes(picture(seed))
        build_gallery(self.disk / "photos", self.disk / "gallery", self.network, options=_OPTIONS)
        self.service.start()
        self.learn()

    def _weights(self) -> Path:
        path = self.folder / "tiny.safetensors"
        save_checkpoint(build_network(ZSE_TINY, seed=0), path)
        return path

    # --- what must be so

    def on_disk(self) -> dict[str, str]:
        """Photo id -> SHA-256 of every file in the photos' folder: what a gallery in step with it holds."""
        root, found = self.disk / "photos", {}
        for path in root.rglob("*.png"):
            if not path.name.startswith("."):
                content = path.read_bytes()
                digest = hashlib.sha256(content)
                found[photo_id(os.fsencode(path.relative_to(root)), digest.digest())] = digest.hexdigest()
        return found

    def learn(self) -> None:
        """Bring the gallery in step with the folder, as another process does; that version is known for sure."""
        try:
            done = sync_gallery(self.disk / "gallery", self.network, photos=self.disk / "photos", options=_OPTIONS)
        except SketchseekError as error:
            self.truth.complain(f"a sync failed: {error}")
            return
        self.kept = self.on_disk()
        self.truth.record(done.version, frozenset(self.kept))

    # --- load

    def client(self, kind: str, number: int) -> None:
        """Ask, check, ask again, until the end."""
        pick = random.Random(number)
        client = httpx2.Client(base_url=self.service.url, timeout=60)
        while not self.ended.is_set():
            began = time.monotonic()
            try:
                getattr(self, f"ask_{kind}")(client, pick)
            except httpx2.TransportError as error:
                ended = time.monotonic()
                self.answers[f"no answer: {type(error).__name__}"] += 1
                time.sleep(0.5)
                # An outage that is still going on is in the book by its beginning alone.
                if not any(began <= end and ended >= start for start, end in list(self.service.outages)):
                    self.truth.complain(f"{kind}: {type(error).__name__} while nobody killed the service")
                client.close()
                client = httpx2.Client(base_url=self.service.url, timeout=60)
        client.close()

    def count(self, kind: str, answer: httpx2.Response, *allowed: str) -> bool:
        """Whether it was answered; anything but `allowed` problems is wrong."""
        if answer.is_success:
            self.answers[f"{kind} {answer.status_code}"] += 1
            return True
        code = str(answer.json().get("code"))
        self.answers[f"{kind} {answer.status_code} {code}"] += 1
        if code not in (*allowed, "queue_full", "not_ready", "overloaded", "deadline_exceeded"):
            self.truth.complain(f"{kind} was answered {answer.status_code} {code}")
        return False

    def ask_search(self, client: httpx2.Client, pick: random.Random) -> None:
        """A search that lists the whole gallery."""
        number = pick.randrange(SKETCHES)
        body = {"strokes": drawing(number), "top_k": MOST, "candidates": MOST}
        began = time.monotonic()
        answer = client.post("/search", json=body)
        self.fast_s.append(time.monotonic() - began)
        if self.count("search", answer):
            self.truth.check_search(number, answer.json())

    def ask_photo(self, client: httpx2.Client, pick: random.Random) -> None:
        """A photo's bytes, its thumbnail, or photos like it."""
        identity = pick.choice(list(self.kept))
        what = pick.choice(("", "/thumbnail", "/similar"))
        answer = client.get(f"/photos/{identity}{what}")
        known = self.kept.get(identity)
        # One that is being deleted or was not served yet may be missing; one that is kept all the while may not.
        gone = known is None or self.disk_is_full.is_set() or self.share_is_away.is_set()
        if not self.count("photo", answer, "unknown_photo", "photo_gone") and not gone and answer.status_code == 404:
            time.sleep(1.5)
            missing = client.get(f"/photos/{identity}{what}").status_code == 404
            if missing and identity in self.kept and not self.disk_is_full.is_set() and not self.share_is_away.is_set():
                self.truth.complain(f"photo {identity}{what} is missing")
        elif answer.is_success and not what and known and hashlib.sha256(answer.content).hexdigest() != known:
            self.truth.complain(f"photo {identity} has other bytes")
        elif answer.is_success and what == "/thumbnail" and Image.open(io.BytesIO(answer.content)).size != (160, 120):
            self.truth.complain(f"the thumbnail of {identity} has another size")

    def ask_explain(self, client: httpx2.Client, pick: random.Random) -> None:
        """Why a photo matches."""
        identity = pick.choice(list(self.kept))
        answer = client.post("/explain", json={"strokes": drawing(0), "photo_id": identity})
        if self.count("explain", answer, "unknown_photo") and answer.json()["photo_id"] != identity:
            self.truth.complain("another photo was explained")

    # --- mishaps

    def write(self, method: str, path: str, *allowed: str, **options: Any) -> httpx2.Response:
        """A request with the write key."""
        headers = {"Authorization": f"Bearer {KEY}"}
        answer = httpx2.request(method, self.service.url + path, headers=headers, timeout=120, **options)
        self.count(f"{method} {path.split('/')[1]}", answer, *allowed)
        return answer

    def upload(self) -> None:
        """A new photo by HTTP."""
        data = picture(next(self.seeds))
        answer = self.write("POST", "/photos", files={"photo": ("new.png", data)})
        document = answer.json()
        self.kept[document["photos"][0]["photo_id"]] = hashlib.sha256(data).hexdigest()
        self.truth.record(document["gallery_version"], frozenset(self.kept))

    def deletion(self) -> None:
        """One photo less by HTTP."""
        identity = self.random.choice(list(self.kept))
        del self.kept[identity]
        self.write("DELETE", f"/photos/{identity}")
        self.learn()

    def reload(self) -> None:
        """A change by another process, and a reload."""
        (self.disk / "photos" / "first" / f"late-{next(self.seeds)}.png").write_bytes(picture(next(self.seeds)))
        self.learn()
        self.write("POST", "/gallery/reload")

    def kill(self) -> None:
        """kill -9, every other time while a photo is on its way, and a new start."""
        uploading = None
        if self.mishaps["kill"] % 2:
            data = picture(next(self.seeds))

            def send() -> None:
                with suppress(httpx2.HTTPError):
                    self.write("POST", "/photos", files={"photo": ("cut.png", data)})

            uploading = threading.Thread(target=send)
            uploading.start()
            time.sleep(self.random.uniform(0, 0.3))
        self.service.outages.append((time.monotonic(), float("inf")))
        began = self.service.kill()
        self.service.start()
        self.service.outages[-1] = (began, time.monotonic() + 0.5)
        if uploading is not None:
            uploading.join()
        self.learn()

    def full_disk(self) -> None:
        """No room for anything while photos come and go; then room again."""
        self.disk_is_full.set()
        limits = resource.prlimit(self.service.pid, resource.RLIMIT_FSIZE)
        filler = self.disk / "filler"
        if self.mounted:
            with suppress(OSError), filler.open("wb") as file:
                while True:
                    file.write(b"x" * 4096)
                    file.flush()
        else:
            resource.prlimit(self.service.pid, resource.RLIMIT_FSIZE, (100, limits[1]))
        for _ in range(3):
            files = {"photo": ("none.png", picture(next(self.seeds)))}
            answer = self.write("POST", "/photos", "disk_full", "photos_read_only", "gallery_write_failed", files=files)
            if answer.is_success:
                self.truth.complain("a photo found room on a full disk")
        identity = self.random.choice(list(self.kept))
        self.write("DELETE", f"/photos/{identity}", "gallery_write_failed")
        self.kept.pop(identity, None)
        time.sleep(5)
        filler.unlink(missing_ok=True)
        resource.prlimit(self.service.pid, resource.RLIMIT_FSIZE, limits)
        self.learn()
        self.disk_is_full.clear()

    def clock_jumps(self) -> None:
        """The service's clock jumps, both ways. Files of any year: NTFS's zero, before 1970, far ahead, unstorable."""
        for hours in _JUMPS_H:
            (self.folder / "clock").write_text(str(hours * 3600))
            time.sleep(1)
            late = self.disk / "photos" / "first" / f"clock-{next(self.seeds)}.png"
            late.with_suffix(".part").write_bytes(picture(next(self.seeds)))
            late.with_suffix(".part").rename(late)
            self.wait_for(f"photo while the clock is {hours} h wrong", lambda: self.found() >= set(self.on_disk()))
            self.learn()
        names = [f"jump-{next(self.seeds)}.png" for _ in _YEARS]
        for name, seconds in zip(names, _YEARS, strict=True):
            path = self.disk / "photos" / "first" / name
            path.with_suffix(".part").write_bytes(picture(next(self.seeds)))
            os.utime(path.with_suffix(".part"), ns=(seconds * 10**9, seconds * 10**9))
            path.with_suffix(".part").rename(path)
        self.wait_for("photos of odd times", lambda: self.found() >= set(self.on_disk()))
        self.learn()

    def share(self) -> None:
        """The photos' folder is emptied as by a share that is not mounted, and is back a while later."""
        photos, away = self.disk / "photos", self.disk / "away"
        self.learn()
        self.share_is_away.set()
        photos.rename(away)
        photos.mkdir()
        self.wait_for("word that photos are held", lambda: "reason" in self.ready())
        time.sleep(6)
        if not set(self.kept) <= self.found():
            self.truth.complain("photos left the gallery with their share")
        photos.rmdir()
        away.rename(photos)
        self.wait_for("word that the share is back", lambda: self.ready() == {"status": "ready"})
        self.share_is_away.clear()
        self.reload()

    def ready(self) -> Any:
        """What /readyz says; it must be ready all the while."""
        answer = httpx2.get(self.service.url + "/readyz", timeout=30)
        if answer.status_code != 200:
            self.truth.complain(f"/readyz was answered {answer.status_code}")
        return answer.json()

    def found(self) -> set[str]:
        """Ids of all photos that a search finds."""
        body = {"strokes": drawing(0), "top_k": MOST, "candidates": MOST}
        answer = httpx2.post(self.service.url + "/search", json=body, timeout=60)
        return {one["photo_id"] for one in answer.json().get("results", [])}

    def wait_for(self, what: str, true: Callable[[], bool]) -> None:
        """Complain if something does not come about within two minutes."""
        end = time.monotonic() + 120
        while not true():
            if time.monotonic() > end:
                self.truth.complain(f"no {what} within two minutes")
                return
            time.sleep(0.5)

    def cut(self) -> None:
        """Connections that are cut in the middle of a request or of an answer."""
        identity = self.random.choice(list(self.kept))
        whole = [f"GET /photos/{identity} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()]
        body = json.dumps({"strokes": drawing(1)}).encode()
        head = (
            b"POST /search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        )
        whole.append(head % len(body) + body)
        for _ in range(100):
            data = self.random.choice(whole)
            one = socket.create_connection(("127.0.0.1", self.service.port))
            one.sendall(data[: self.random.choice((10, len(data) // 2, len(data)))])
            time.sleep(self.random.uniform(0, 0.03))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()

    def slow(self) -> None:
        """200 slow clients, half of them sending a letter a second, half of them not reading."""
        head = _HEAD % 9000
        get = f"GET /photos/{self.random.choice(list(self.kept))} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        several = []
        for number in range(200):
            one = socket.socket()
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            one.connect(("127.0.0.1", self.service.port))
            one.sendall(head + b"{" if number % 2 else get * 20)
            several.append(one)
        for _ in range(10):
            time.sleep(1)
            for one in several:
                with suppress(OSError):
                    one.send(b" ")
        for one in several:
            one.close()

    # --- the whole

    def run(self, minutes: float) -> None:
        """Load all the while, a mishap every 20 seconds."""
        threads = [
            threading.Thread(target=self.client, args=(kind, number))
            for number, kind in enumerate(["search"] * 5 + ["photo"] * 2 + ["explain"])
        ]
        for thread in threads:
            thread.start()
        end, due, order = time.monotonic() + minutes * 60, time.monotonic() + 20, list[str]()
        while time.monotonic() < end:
            time.sleep(0.2)
            self.service.look()
            if time.monotonic() < due:
                continue
            due += 20
            if not order:
                order = ["upload", "deletion", "reload", "kill", "full_disk", "cut", "slow", "clock_jumps", "share"]
                self.random.shuffle(order)
            name = order.pop()
            sys.stderr.write(f"{time.strftime('%H:%M:%S')} {name} ({len(self.truth.wrong)} wrong so far)\n")
            try:
                getattr(self, name)()
            except (httpx2.HTTPError, OSError, KeyError, IndexError) as error:
                self.truth.complain(f"{name}: {error!r}")
            self.mishaps[name] += 1
        self.ended.set()
        for thread in threads:
            thread.join()

    def report(self, minutes: float, seed: int) -> bool:
        """Print what was counted; whether all was well."""
        self.learn()
        self.truth.finish()
        last = GallerySnapshot.load(self.disk / "gallery", self.network.identity)
        lost = [one for one in self.kept if one not in set(last.photo_ids)]
        lost += [one for one in self.kept if one not in self.on_disk()]
        whole = verify_gallery(self.disk / "gallery").whole
        defects = self.log_defects()
        code = self.service.end()
        times = np.array(self.fast_s) * 1000
        ready = np.array(self.service.ready_s)
        write = sys.stdout.write
        write(
            f"soak of {minutes:g} minutes, seed {seed}; full disk by {'a small disk' if self.mounted else 'a limit'}\n"
        )
        write(f"mishaps            {dict(self.mishaps)}\n")
        write(
            f"requests           {sum(self.answers.values())}, {sum(self.answers.values()) / minutes / 60:.0f} per s\n"
        )
        for name, count in sorted(self.answers.items()):
            write(f"  {name:40} {count}\n")
        write(f"searches checked   {self.truth.checked}\n")
        write(
            f"search ms          median {np.median(times):.0f}, 99 % {np.percentile(times, 99):.0f}, "
            f"most {times.max():.0f}\n"
        )
        write(f"wrong answers      {len(self.truth.wrong)}\n")
        for what, count in Counter(self.truth.wrong).most_common(20):
            write(f"  {count} x {what}\n")
        write(f"photos             {len(self.kept)} kept, {len(lost)} lost; gallery whole: {whole}\n")
        write(f"defects in the log {defects}\n")
        write(f"seconds to ready   median {np.median(ready):.1f}, most {ready.max():.1f}, of {len(ready)} starts\n")
        write("memory, MB         of each life: after 15 s -> at its end (seconds lived)\n")
        for seconds, before, after in self.service.lives:
            write(f"  {before:6.0f} -> {after:6.0f}  ({seconds:.0f})\n")
        write(f"exit code at the end {code}\n")
        return not self.truth.wrong and not lost and whole and not defects and code == 0

    def log_defects(self) -> int:
        """Lines that say that something was not foreseen."""
        lines = (self.folder / "log").read_text(errors="replace").splitlines()
        bad = [
            line for line in lines if '"request failed"' in line or "Exception in ASGI" in line or "Traceback" in line
        ]
        for line in bad[:5]:
            sys.stderr.write(line[:3000] + "\n")
        return len(bad)

    mounted = False

    def mount(self) -> None:
        """A small disk of its own, where that is allowed."""
        self.disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(self.disk)]
        if shutil.which("mount") and subprocess.run(command, capture_output=True, check=False).returncode == 0:
            self.mounted = True

    def unmount(self) -> None:
        """Give it back."""
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.disk)], check=False)


def main() -> int:
    """Run it and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nice", type=int, default=0, help="once everything is prepared, go on with this niceness")
    parser.add_argument("--keep", type=Path, help="work in this new folder and leave it, the service's log included")
    arguments = parser.parse_args()
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="sketchseek-soak-"))
    folder.mkdir(exist_ok=True)
    soak = Soak(folder, arguments.seed)
    soak.mount()
    try:
        soak.prepare()
        for thread in (0, *(int(path.name) for path in Path(f"/proc/{soak.service.pid}/task").iterdir())):
            os.setpriority(os.PRIO_PROCESS, thread, arguments.nice)
        soak.run(arguments.minutes)
        return int(not soak.report(arguments.minutes, arguments.seed))
    finally:
        soak.ended.set()
        with suppress(AssertionError, ProcessLookupError):
            os.kill(soak.service.pid, signal.SIGKILL)
        soak.unmount()
        if arguments.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
