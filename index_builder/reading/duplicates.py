"""Which photos of a gallery are there more than once: the same file, or nearly the same picture."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from index_builder.near_identical import NEAR_IDENTICAL, leaders_of
from index_builder.photo_record import PhotoRecord
from index_builder.reading.photo_table import columns_of, record_of
from index_builder.store.gallery import Gallery
from index_builder.store.layout import lance_errors
from index_builder.store.places import GalleryPlace
from index_builder.store.token_reader import fixed_size


@dataclass(frozen=True)
class DuplicateGroup:
    """Photos that are near-identical.

    Attributes:
        photos: at least two. The first has the most pixels, and of several it is the largest file, then the oldest.
    """

    photos: tuple[PhotoRecord, ...]

    @property
    def same_content(self) -> bool:
        """Whether all are the same file, byte for byte."""
        return len({photo.content_hash for photo in self.photos}) == 1


def find_duplicates(gallery: str | GalleryPlace, threshold: float = NEAR_IDENTICAL) -> tuple[int, list[DuplicateGroup]]:
    """Photos of the latest version that are there more than once. Compares all of them: exact, and quadratic.

    Args:
        gallery: its folder.
        threshold: least cosine of two near-identical photos.

    Returns:
        how many photos the gallery has, and the groups in the order of their first paths.

    Raises:
        GalleryError: there is none, or it is damaged.
    """
    dataset = Gallery.open(gallery).dataset()
    with lance_errors(f"cannot read the photos of the gallery {gallery}"):
        table = dataset.to_table(columns=["width", "height", "size", "modified_ns", "path", "descriptor"])
    number = {name: table.column(name).to_numpy() for name in ("width", "height", "size", "modified_ns")}
    pixels = number["width"].astype(np.int64) * number["height"]
    by_path = pc.sort_indices(table.column("path")).to_numpy()  # an array of paths would be as wide as the longest
    order = by_path[np.lexsort((number["modified_ns"][by_path], -number["size"][by_path], -pixels[by_path]))]
    leaders = leaders_of(fixed_size(table, "descriptor")[order], threshold)
    members: dict[int, list[int]] = defaultdict(list)
    for place, leader in enumerate(leaders.tolist()):
        members[leader].append(int(order[place]))
    several = [rows for rows in members.values() if len(rows) > 1]
    with lance_errors(f"cannot read the photos of the gallery {gallery}"):
        rows = [row for group in several for row in group]
        records = map(record_of, dataset.take(rows, columns=columns_of(dataset)).to_pylist())
        groups = [DuplicateGroup(tuple(next(records) for _ in group)) for group in several]
    return len(table), sorted(groups, key=lambda group: group.photos[0].raw_path)
