"""Words as queries: the names of categories, or texts of a file, in place of sketches or beside them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from model.data.folders import read_categories
from model.data.items import Item, category_key
from model.errors import ConfigurationError, DatasetError
from model.evaluation.options import EvaluationOptions
from model.evaluation.protocols import CategoryTask, generalised, inter_category
from model.layers.text_map import TextMap
from model.networks.network import Network
from model.text.sentence_encoder import phrase, readable
from model.text.text_reader import text_reader
from model.types import Encoding

NAMES = "names"
_COLUMNS = ("category", "kind", "text")


def text_task(photos: Path, text: str, protocol: str, categories: Sequence[str] = ()) -> CategoryTask:
    """Texts against photos; a photo is relevant if it is of the text's category.

    Args:
        photos: a folder that holds CATEGORY/*.
        text: "names" for the name of each category, or a CSV file with the columns category, kind and text. The kind
            (plural, German, ...) stands where sketches have their source.
        protocol: "inter-category", or "generalised", where the gallery keeps the photos of all categories.
        categories: ask for these alone; () asks for all.

    Raises:
        DatasetError: a folder, a category or the file is missing or damaged.
        ConfigurationError: the protocol is not one of these two.
    """
    if protocol not in ("inter-category", "generalised"):
        raise ConfigurationError(f"--text is measured by inter-category or generalised, not by {protocol!r}")
    gallery = read_categories(photos, "photo")
    asked = gallery.only(categories).categories if categories else gallery.categories
    if protocol == "inter-category":
        gallery = gallery.only(asked)
    queries = _names(asked) if text == NAMES else _read(Path(text), asked)
    return (inter_category if protocol == "inter-category" else generalised)(queries, gallery.items)


def encode_texts(network: Network, texts: Sequence[str]) -> Tensor:
    """[Q, E] float32 on the CPU: where photos of what each text says would lie. Any number of times the same text is
    encoded once.

    Raises:
        ConfigurationError: the checkpoint has no map of words.
        MissingExtraError: what embeds texts is not installed.
    """
    words = map_of(network)
    encoder = text_reader(words.tower)
    embedded = {text: encoder.embedding(phrase(text)) for text in dict.fromkeys(texts)}
    with torch.inference_mode():
        descriptors: Tensor = words(torch.stack([embedded[text] for text in texts]).to(words.mean.device))
    return descriptors.cpu()


def text_encoding(network: Network, items: Sequence[Item]) -> Encoding:
    """Encodings of texts: descriptors alone, so that they are ranked by recall and related to nothing."""
    descriptors = encode_texts(network, [item.text for item in items])
    nothing = torch.zeros(len(items), 1, network.token_width)
    return Encoding(descriptors, nothing, torch.zeros(len(items), 0, dtype=torch.int64))


def with_names(network: Network, sketches: Encoding, items: Sequence[Item], weight: float) -> Encoding:
    """Sketches whose descriptors are moved towards the name of their category.

    Args:
        network: with a map of words.
        sketches: S encodings.
        items: S sketches.
        weight: of the text beside the sketch.
    """
    said = encode_texts(network, [readable(item.category) for item in items])
    moved = F.normalize(sketches.descriptor + weight * said, dim=-1)
    return Encoding(moved, sketches.tokens, sketches.positions, sketches.mask)


def map_of(network: Network) -> TextMap:
    """The checkpoint's map of words.

    Raises:
        ConfigurationError: there is none.
    """
    if network.text_map is None:
        raise ConfigurationError(
            f"the checkpoint {network.identity.name!r} has no map of words; `train/text_map.py` gives it one"
        )
    return network.text_map


def only_recalled(options: EvaluationOptions) -> None:
    """Refuse what would relate a text, which has no tokens.

    Raises:
        ConfigurationError: another arm than recall is asked for, or a text beside the text.
    """
    others = [arm for arm in options.arms if arm != "recall"]
    if others or options.with_text:
        raise ConfigurationError(f"a text has nothing to relate: leave out {', '.join(others) or '--with-text'}")


def _names(categories: Sequence[str]) -> tuple[Item, ...]:
    return tuple(Item(Path(name), name, "sketch", text=readable(name)) for name in categories)


def _read(path: Path, categories: Sequence[str]) -> tuple[Item, ...]:
    """The texts of a file that ask for these categories; others are left out."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"cannot read the texts of {path}: {error}") from error
    spelling = {category_key(name): name for name in categories}
    items = []
    for number, row in enumerate(rows, start=2):
        category, kind, text = ((row.get(name) or "").strip() for name in _COLUMNS)
        if not category or not text:
            raise DatasetError(f"{path}, line {number}: it needs the columns {', '.join(_COLUMNS)}")
        if category_key(category) in spelling:
            items.append(Item(path, spelling[category_key(category)], "sketch", source=kind, key=text, text=text))
    if not items:
        raise DatasetError(f"{path} has no text for: {', '.join(categories[:5])}")
    missing = spelling.keys() - {category_key(item.category) for item in items}
    if missing:
        raise DatasetError(f"{path} has no text for: {', '.join(sorted(spelling[key] for key in missing))}")
    return tuple(items)
