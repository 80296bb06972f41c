"""From what a user has on disk to what a run trains and validates on, and which weights it starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from model.backbones.weight_files import PACKAGED
from model.config import NetworkConfig
from model.data.filelists import read_file_lists
from model.data.folders import read_categories, read_folders
from model.data.items import Dataset, category_key
from model.data.pairs import Pairs, pairs_at
from model.data.splits import read_category_list, reserved_categories
from model.data.strokes import read_strokes
from model.errors import ConfigurationError
from model.training.config import TrainConfig
from model.training.material.holdout import draw_categories, hold_out

# The published network started from weights trained with sharpness-aware minimisation (Lin et al., CVPR 2023).
UPSTREAM_START = {"vit_base_patch16_224": "vit_base_patch16_224.sam_in1k"}


@dataclass(frozen=True)
class Sources:
    """What a run learns from.

    Attributes:
        train: sketches and photos.
        extra: more sketches, or None.
        validation: a sample of the held-out seen categories, or None.
        held_out: their names.
        pairs: drawings with the photo that each was made from, images of `train`; or None.
        unmatched: names that were to be left out and occur nowhere, as a mistyped one does.
    """

    train: Dataset
    extra: Dataset | None
    validation: Dataset | None
    held_out: tuple[str, ...]
    unmatched: tuple[str, ...] = ()
    pairs: Pairs | None = None

    @property
    def without_photos(self) -> tuple[str, ...]:
        """Categories of `train` that nothing is learnt from: they have sketches alone."""
        photos = {category_key(item.category) for item in self.train.photos}
        return tuple(name for name in self.train.categories if category_key(name) not in photos)

    @property
    def without_sketches(self) -> tuple[str, ...]:
        """Categories of `train` that nothing is learnt from: they have photos alone, and no extra sketch."""
        more = self.extra.sketches if self.extra is not None else ()
        sketches = {category_key(item.category) for item in self.train.sketches + more}
        return tuple(name for name in self.train.categories if category_key(name) not in sketches)


def seen_images(data: Path | None, file_lists: Path | None, split: str) -> Dataset:
    """The images to learn from: a folder's, its part "train" where it is divided, or a published split's training part.

    Raises:
        ConfigurationError: not exactly one of `data` and `file_lists` is given.
        DatasetError: the layout is another one, or no listed image is there.
    """
    if (data is None) == (file_lists is None):
        raise ConfigurationError("give one of: --data DIR, or --file-lists ROOT with --split")
    if file_lists is not None:
        return read_file_lists(file_lists, split, "train")
    if data is None:
        raise ConfigurationError("give --data DIR")
    return read_folders(data, "train" if (data / "train").is_dir() else None)


def gather(
    train: Dataset,
    *,
    extra: Path | None = None,
    strokes: Path | None = None,
    pairs: Path | None = None,
    without: Sequence[str] = (),
    without_reserved: bool = False,
    validation: str = "0",
    seed: int = 0,
) -> Sources:
    """The datasets of a run.

    Args:
        train: see `seen_images`.
        extra: folder of CATEGORY/* with more sketches.
        strokes: Quick, Draw! drawings, a file or a folder.
        pairs: drawings with the photo that each was made from, see `model.data.pairs.pairs_at`. Their images join
            `train`, but for the categories that are left out or held out.
        without: categories to leave out of everything.
        without_reserved: leave out those as well that published benchmarks test on.
        validation: how many of the other categories to hold out, or a file that names them.
        seed: draws them.

    Raises:
        ConfigurationError: `validation` leaves too few categories, or is neither a number nor a file.
        DatasetError: a file or folder cannot be read.
    """
    more = Dataset(())
    if extra is not None:
        more = more.joined(read_categories(extra, "sketch"))
    if strokes is not None:
        more = more.joined(read_strokes(strokes))
    known = {category_key(name) for name in train.categories + more.categories}
    unmatched = tuple(dict.fromkeys(name for name in without if category_key(name) not in known))
    left_out = [*without, *(reserved_categories() if without_reserved else ())]
    train, more = train.without(left_out), more.without(left_out)
    sketches = more if more.items else None
    if validation.isdecimal():
        names = draw_categories(train, int(validation), seed)
    elif Path(validation).is_file():
        names = read_category_list(Path(validation))
    else:
        raise ConfigurationError(f"validation is a number of categories or a file of their names, not {validation!r}")
    held_out = None
    if names:
        train, sketches, held_out = hold_out(train, sketches, names)
    paired = None if pairs is None else pairs_at(pairs).without([*left_out, *names])
    return Sources(
        train if paired is None else train.joined(paired.dataset),
        sketches if sketches and sketches.items else None,
        held_out,
        names,
        unmatched,
        paired,
    )


def starting_weights(
    network: NetworkConfig, config: TrainConfig, start: str
) -> tuple[NetworkConfig, str | Path | None]:
    """The network's configuration and the weights of its backbone, as `RunPlan` takes them.

    Args:
        network: what is to be trained.
        config: upstream's recipe has weights of its own on the hub.
        start: "none", "hub", "package", a file, or "auto": a package where one carries the backbone, else the hub.

    Raises:
        ConfigurationError: there is no such file.
    """
    if start == "none":
        return network, None
    backbone = network.encoder.backbone
    if start == "auto":
        start = "package" if backbone in PACKAGED else "hub"
    if start == "hub" and config.objective == "upstream":
        return replace(
            network, encoder=replace(network.encoder, backbone=UPSTREAM_START.get(backbone, backbone))
        ), start
    if start in {"hub", "package"}:
        return network, start
    if not Path(start).is_file():
        raise ConfigurationError(f"--start must be auto, package, hub, none or a file of weights, not {start!r}")
    return network, Path(start)


def decoding_side(network: NetworkConfig, config: TrainConfig) -> int:
    """Side of decoded images in pixels: a third more than what the network sees, so that crops are not enlarged.

    It sees training images at `config.image_size` where that is set, and others at its own side: the larger one counts.
    """
    size = max(network.preprocess.image_size, config.image_size)
    return size if config.photos.crop == 1 else round(size / 0.75)
