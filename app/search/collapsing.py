"""Near-identical results as one: the best of each group stays, and names the others."""

from __future__ import annotations

from app.search.query_and_answer import Rows
from index_builder import GallerySnapshot
from index_builder.near_identical import leaders_of


def collapsed(snapshot: GallerySnapshot, rows: Rows, liked: int) -> dict[int, list[int]]:
    """Which results stay, and which others each of them stands for.

    Args:
        snapshot: the version that was searched.
        rows: [C] of the results, best first.
        liked: how many of them come first because they are liked. These stay whatever they look like.

    Returns:
        place of each result that stays -> places of those that it stands for, both in order.
    """
    groups: dict[int, list[int]] = {}
    for place, leader in enumerate(leaders_of(snapshot.searched_descriptors(rows)).tolist()):
        if place == leader or place < liked:
            groups[place] = []
        else:
            groups[leader].append(place)
    return groups
