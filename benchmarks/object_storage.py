"""What a gallery in a bucket costs beside one on disk: opening, looking for a new version, a search, a build.

    python benchmarks/object_storage.py                              # an S3 server on this machine
    python benchmarks/object_storage.py --address s3://BUCKET/PATH   # yours; credentials come from the environment
    python benchmarks/object_storage.py --photos 100000 --built 1024

Both sides take turns in one run. Everything is written to a new path below the address, and removed at the end.
Opening and searching take a gallery of random tokens; the build encodes photos made for the purpose.

The server on this machine is moto, in a process of its own. It is written in Python and shares the cores, so its times
are not those of a store. "One small file read" says how long each request takes. Files on disk are in the page cache.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

from measure import Table, Turns, header, parser, take_turns
from shared_options import add_network

# isort: split
from build import make_photos
from galleries import write_photos
from material import draw_sketches
from PIL import Image

from app.search.query_and_answer import Answer, Query
from app.search.searcher import TwoStageSearcher
from index_builder import GallerySnapshot, RecallSettings, build_gallery, latest_version
from index_builder.photo_folders import PhotoFolders
from index_builder.store.layout import POINTER
from index_builder.store.metadata import GalleryMetadata
from index_builder.store.places import GalleryPlace, place_of, remove_folder
from model.checkpoints.files import load_checkpoint
from model.networks.network import Network

COLUMNS = {"what": "what", "disk": "on disk", "bucket": "in a bucket", "ratio": "times as long"}
SIDES = ("disk", "bucket")
_SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
"""


@contextlib.contextmanager
def local_server() -> Iterator[str]:
    """An S3 server on this machine, known to the environment. Yields the address of its bucket."""
    try:
        import boto3
    except ImportError:
        raise SystemExit("the server needs moto: pip install 'moto[s3,server]', or give --address") from None
    command = [sys.executable, "-c", _SERVER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        if not port:
            raise SystemExit("the server did not start; pip install 'moto[s3,server]', or give --address")
        os.environ.update(
            AWS_ENDPOINT=f"http://127.0.0.1:{port}",
            AWS_ALLOW_HTTP="true",
            AWS_ACCESS_KEY_ID="nobody",
            AWS_SECRET_ACCESS_KEY="nothing",  # noqa: S106 - it lets everybody in
            AWS_REGION="us-east-1",
        )
        client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT"], region_name="us-east-1")
        client.create_bucket(Bucket="benchmark")
        yield "s3://benchmark"
        server.stdin.close()  # and with it the server ends


def add_row(table: Table, what: str, measured: Turns, *, photos: int = 0) -> None:
    """Medians of both sides: milliseconds, or photos per second if each step took so many."""
    seconds = {side: median(measured.seconds[side]) for side in SIDES}
    shown = {side: photos / taken if photos else 1e3 * taken for side, taken in seconds.items()}
    table.add(what=f"{what}, {'photos per s' if photos else 'ms'}", **shown, ratio=seconds["bucket"] / seconds["disk"])


def turns(step: Callable[[str], object], rounds: int) -> Turns:
    """A step of both sides."""
    return take_turns({side: partial(step, side) for side in SIDES}, rounds)


def measure_reading(table: Table, network: Network, places: dict[str, GalleryPlace], folder: Path, rounds: int) -> None:
    """What a service does with a gallery that is there."""
    recall = RecallSettings(cache=folder / "cache")

    def load(side: str, cache_bytes: int) -> GallerySnapshot:
        return GallerySnapshot.load(
            places[side], network.identity, recall=recall, dtype=network.dtype, cache_bytes=cache_bytes
        )

    add_row(table, "one small file read", turns(lambda side: (places[side] / POINTER).read_bytes(), rounds))
    add_row(table, "looking for a new version", turns(lambda side: latest_version(places[side]), rounds))
    add_row(table, "opening", turns(lambda side: load(side, 0), rounds))

    sketch, wanted = Image.open(next((folder / "sketches").iterdir())), Query(top_k=50, candidates=50)
    for what, cache_bytes in (("one search, tokens read", 0), ("one search, tokens in memory", 2**30)):
        searchers = {side: TwoStageSearcher(network, load(side, cache_bytes)) for side in SIDES}

        def search(side: str, by: dict[str, TwoStageSearcher] = searchers) -> Answer:
            return by[side].search(sketch, wanted)

        add_row(table, what, turns(search, rounds))


def measure_building(
    table: Table, network: Network, places: dict[str, GalleryPlace], folder: Path, arguments: argparse.Namespace
) -> None:
    """Whole builds, each of a new gallery."""
    make_photos(folder / "photos", arguments.built)

    def build(side: str) -> None:
        place = places[side] / f"built-{secrets.token_hex(4)}"
        build_gallery(folder / "photos", place, network)

    add_row(table, "a build", turns(build, arguments.builds), photos=arguments.built)


def measure(address: str, arguments: argparse.Namespace, folder: Path) -> None:
    """Every row."""
    network = load_checkpoint(arguments.checkpoint, "cpu")
    draw_sketches(folder / "sketches", 1)
    table = Table("object-storage", f"A gallery of {arguments.photos} photos on disk and in a bucket", COLUMNS)
    table.keep(arguments)
    places: dict[str, GalleryPlace] = {
        "disk": folder / "galleries",
        "bucket": place_of(f"{address.rstrip('/')}/benchmark-{secrets.token_hex(8)}"),
    }
    galleries = {side: place / "random" for side, place in places.items()}
    metadata = GalleryMetadata.of(network, PhotoFolders.of(folder / "random"))
    try:
        for side in SIDES:  # to warm up
            write_photos(places[side] / "few", 64, metadata)
        written = {side: [write_photos(galleries[side], arguments.photos, metadata)] for side in SIDES}
        add_row(table, "stored without encoding, once", Turns(written), photos=arguments.photos)
        measure_reading(table, network, galleries, folder, arguments.rounds)
        measure_building(table, network, places, folder, arguments)
    finally:
        remove_folder(places["bucket"])
    table.finish(arguments)


def main() -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--address", help="where a bucket may be written to; default: a server on this machine")
    options.add_argument("--photos", type=int, default=10_000, help="of the gallery that is opened and searched")
    options.add_argument("--built", type=int, default=256, help="photos of a build")
    options.add_argument("--builds", type=int, default=3, help="of each side, after one to warm up")
    options.add_argument("--rounds", type=int, default=9, help="of each side, after one to warm up")
    add_network(options)
    arguments = options.parse_args()
    if arguments.clock != "wall":
        options.error("the clock of the CPU does not see what waiting for a bucket takes; leave --clock out")
    header(arguments)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        measure(arguments.address or stack.enter_context(local_server()), arguments, folder)


if __name__ == "__main__":
    main()
