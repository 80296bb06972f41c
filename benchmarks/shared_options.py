"""Options that several benchmarks share, each written once."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

import torch

FASTEST = "cuda" if torch.cuda.is_available() else "cpu"


def add_network(to: ArgumentParser, *, device: str | None = None, random_weights: bool = False) -> None:
    """Which network is measured, and where if `device` is its default."""
    to.add_argument("--checkpoint", default="zse-lite", help="name or file")
    if random_weights:
        to.add_argument("--preset", default="", help="this preset with random weights instead")
    if device is not None:
        to.add_argument("--device", default=device, help="auto, cpu, cuda or cuda:N")


def add_service(to: ArgumentParser, *, threads: int) -> None:
    """The service that is started: its gallery, and what it is asked."""
    to.add_argument("--gallery", type=Path, required=True, help="the gallery to serve")
    to.add_argument("--sketches", type=Path, required=True, help="folder with pictures of sketches, at any depth")
    add_network(to, device="auto")
    to.add_argument("--threads", type=int, default=threads, help="of one tensor operation in the service")
    to.add_argument("--candidates", type=int, default=50)


def add_dataset(to: ArgumentParser, *, sketches: int, required: bool = False) -> None:
    """Labelled sketches and photos that quality is measured on."""
    to.add_argument(
        "--data", type=Path, required=required, help="folder with sketch/CATEGORY/* and photo/CATEGORY/*, for quality"
    )
    to.add_argument("--categories", type=Path, required=required, help="file of the categories, one per line")
    to.add_argument("--sketches", type=int, default=sketches, help="most sketches to measure quality with")


def add_synthetic(to: ArgumentParser) -> None:
    """Descriptors made for the purpose."""
    to.add_argument("--sizes", type=int, nargs="*", default=[100_000, 1_000_000], help="numbers of photos")
    to.add_argument("--descriptor-size", type=int, default=256)
    to.add_argument("--queries", type=int, default=50)


def add_pairs(to: ArgumentParser, *, count: int, required: bool = False) -> None:
    """Sketches, each drawn from one photo."""
    to.add_argument("--pairs", type=Path, required=required, help="folder of instance pairs with pairs.csv")
    to.add_argument("--count", type=int, default=count, help="pairs of each kind")
    to.add_argument("--seed", type=int, default=0)
