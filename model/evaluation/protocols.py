"""Protocols: which sketches meet which photos, and what is counted. Each takes a callable that ranks.

The callable gets row numbers of sketches [B] int64 and answers with the gallery's rows from best to worst, [B, P]
int64, so any arm (recall, relation, two stages, a fused score) and any retrieval system can be measured in the same
way. Rankings are asked for in blocks of sketches, so 20 000 sketches against 20 000 photos need no matrix of all pairs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from model.data.items import Item, category_key
from model.data.pairs import Pairs
from model.errors import DatasetError
from model.evaluation import metrics

Rank = Callable[[Tensor], Tensor]
BLOCK = 256
CURVE_POINTS = 101


@dataclass(frozen=True)
class Outcome:
    """What one arm reached, sketch by sketch.

    Attributes:
        values: metric -> [S] float64, NaN where undefined.
        curve: [CURVE_POINTS] precision at recall 0 ... 1, the mean over sketches; None for instance-level retrieval.
    """

    values: Mapping[str, Tensor]
    curve: Tensor | None = None

    def means(self, rows: Tensor | None = None) -> dict[str, float]:
        """The mean of each metric over the sketches for which it is defined, or over some of them."""
        chosen = {name: values if rows is None else values[rows] for name, values in self.values.items()}
        return {name: float(values.nanmean()) for name, values in chosen.items()}


@dataclass(frozen=True)
class CategoryTask:
    """Sketches and a gallery that are compared by category.

    Attributes:
        name: of the protocol.
        sketches, photos: S and P images.
        sketch_labels: [S] int64.
        photo_labels: [P] int64, on the same scale.
        left_out: categories that only one side has, where the protocol leaves them out.
        distractors: [P] bool, photos of seen categories in a generalised gallery; None where there are none.
    """

    name: str
    sketches: tuple[Item, ...]
    photos: tuple[Item, ...]
    sketch_labels: Tensor
    photo_labels: Tensor
    left_out: tuple[str, ...] = ()
    distractors: Tensor | None = field(default=None)

    @property
    def categories(self) -> int:
        """How many categories have a sketch."""
        return len(set(self.sketch_labels.tolist()))


def inter_category(sketches: Sequence[Item], photos: Sequence[Item]) -> CategoryTask:
    """All sketches against all photos; a photo is relevant if it is of the sketch's category.

    Raises:
        DatasetError: a sketch's category has no photo, or the other way round; the message names the categories.
    """
    sketch_keys, photo_keys = _keys(sketches), _keys(photos)
    for there, here, kind in ((sketch_keys, photo_keys, "photo"), (photo_keys, sketch_keys, "sketch")):
        missing = sorted(there.keys() - here.keys())
        if missing:
            advice = "choose categories that both sides have"
            if there.keys() & here.keys():
                advice += ", or the cross-dataset protocol, which keeps to those"
            if not sketch_keys.keys() - photo_keys.keys():
                advice += ", or the generalised one, whose gallery may hold more"
            raise DatasetError(f"no {kind} of: {', '.join(there[key] for key in missing)}; {advice}")
    return _task("inter-category", sketches, photos)


def generalised(sketches: Sequence[Item], photos: Sequence[Item]) -> CategoryTask:
    """Sketches of unseen categories against a gallery that holds photos of seen ones too.

    Raises:
        DatasetError: a sketch's category has no photo.
    """
    sketch_keys, photo_keys = _keys(sketches), _keys(photos)
    missing = sorted(sketch_keys.keys() - photo_keys.keys())
    if missing:
        raise DatasetError(f"the gallery has no photo of: {', '.join(sketch_keys[key] for key in missing)}")
    distractors = torch.tensor([category_key(photo.category) not in sketch_keys for photo in photos])
    return _task("generalised", sketches, photos, distractors=distractors)


def cross_dataset(sketches: Sequence[Item], photos: Sequence[Item]) -> CategoryTask:
    """Sketches of one dataset against photos of another, in the categories that both have (by `category_key`).

    Raises:
        DatasetError: they share no category.
    """
    sketch_keys, photo_keys = _keys(sketches), _keys(photos)
    shared = sketch_keys.keys() & photo_keys.keys()
    if not shared:
        raise DatasetError("the sketches and the photos share no category")
    left_out = tuple(sorted({**photo_keys, **sketch_keys}[key] for key in sketch_keys.keys() ^ photo_keys.keys()))
    kept = [[item for item in items if category_key(item.category) in shared] for items in (sketches, photos)]
    return _task("cross-dataset", kept[0], kept[1], left_out=left_out)


def measure_categories(task: CategoryTask, rank: Rank, *, block: int = BLOCK) -> Outcome:
    """Every metric of category-level retrieval for one arm.

    Metrics: `map_all`, `map_200_strict`, `map_200_lenient`, `hit_1`, `hit_5`, `mean_reciprocal_rank`, `precision_10`,
    `precision_100`, `precision_200`;
    upstream's own variants `upstream_map_all`, `upstream_map_200`, `upstream_precision_100`, `upstream_precision_200`;
    and, for a generalised gallery, `seen_share_100`, the share of photos of seen categories among the first 100.
    """
    counts = torch.bincount(task.photo_labels, minlength=int(task.sketch_labels.max()) + 1)
    parts: list[dict[str, Tensor]] = []
    curve = torch.zeros(CURVE_POINTS, dtype=torch.float64)
    defined = 0
    for rows in row_blocks(len(task.sketches), block):
        ranking = rank(rows).cpu()
        labels = task.sketch_labels[rows]
        hits = task.photo_labels[ranking] == labels[:, None]
        relevant = counts[labels]
        parts.append(category_metrics(hits, relevant))
        if task.distractors is not None:
            parts[-1]["seen_share_100"] = task.distractors[ranking[:, :100]].double().mean(dim=1)
        curves = metrics.interpolated_precision(hits, relevant, CURVE_POINTS)
        curve += curves.nansum(dim=0)
        defined += int((relevant > 0).sum())
    return Outcome({name: torch.cat([part[name] for part in parts]) for name in parts[0]}, curve / max(defined, 1))


def category_metrics(hits: Tensor, relevant: Tensor) -> dict[str, Tensor]:
    """All category-level metrics of complete rankings: hits [Q, P] bool, relevant [Q] int64 -> [Q] float64 each."""
    return {
        "map_all": metrics.average_precision(hits, relevant),
        "map_200_strict": metrics.average_precision(hits, relevant, 200, "strict"),
        "map_200_lenient": metrics.average_precision(hits, relevant, 200, "lenient"),
        "hit_1": metrics.hit_at(hits, relevant, 1),
        "hit_5": metrics.hit_at(hits, relevant, 5),
        "mean_reciprocal_rank": metrics.reciprocal_rank(hits, relevant),
        "precision_10": metrics.precision_at(hits, relevant, 10),
        "precision_100": metrics.precision_at(hits, relevant, 100),
        "precision_200": metrics.precision_at(hits, relevant, 200),
        "upstream_map_all": metrics.upstream_average_precision(hits, relevant),
        "upstream_map_200": metrics.upstream_average_precision(hits, relevant, 200),
        "upstream_precision_100": metrics.upstream_precision_at(hits, relevant, 100),
        "upstream_precision_200": metrics.upstream_precision_at(hits, relevant, 200),
    }


def measure_instances(pairs: Pairs, rank: Rank, *, block: int = BLOCK) -> Outcome:
    """Metrics of instance-level retrieval for one arm: each sketch has one photo of its own.

    Metrics: `acc_1`, `acc_5`, `acc_10` over the whole gallery and `category_acc_1`, `category_acc_5`, `category_acc_10`
    among the photos of the sketch's category alone; `mean_reciprocal_rank`, `category_mean_reciprocal_rank`; and, as a
    floor, `chance_acc_1`, `chance_acc_5`, `category_chance_acc_1`, `category_chance_acc_5` of a random order.
    """
    keys = sorted(_keys(pairs.photos))
    number = {key: place for place, key in enumerate(keys)}
    photo_labels = torch.tensor([number[category_key(photo.category)] for photo in pairs.photos])
    own = torch.tensor(pairs.own_photo)
    size = torch.bincount(photo_labels)
    parts: list[dict[str, Tensor]] = []
    for rows in row_blocks(len(pairs.sketches), block):
        ranking = rank(rows).cpu()
        mine = own[rows]
        place = (ranking == mine[:, None]).int().argmax(dim=1)
        same = photo_labels[ranking] == photo_labels[mine][:, None]
        whole = place + 1
        within = same.cumsum(dim=1).gather(1, place[:, None])[:, 0]
        parts.append(
            {f"acc_{k}": metrics.accuracy_at(whole, k) for k in (1, 5, 10)}
            | {f"category_acc_{k}": metrics.accuracy_at(within, k) for k in (1, 5, 10)}
            | {"mean_reciprocal_rank": 1 / whole.double(), "category_mean_reciprocal_rank": 1 / within.double()}
            | {f"chance_acc_{k}": torch.full_like(mine, k).double() / len(pairs.photos) for k in (1, 5)}
            | {f"category_chance_acc_{k}": (k / size[photo_labels[mine]].double()).clamp(max=1) for k in (1, 5)}
        )
    return Outcome({name: torch.cat([part[name] for part in parts]) for name in parts[0]})


def tie_order(photos: Sequence[Item]) -> Tensor:
    """[P] int64: the rank of each photo's identity, a hash of its category and file name.

    Photos with equal scores come in this order, which neither their place in the gallery nor their category decides.
    """
    identity = [
        hashlib.sha256(f"{category_key(photo.category)}/{photo.path.name}".encode()).hexdigest() + str(photo.path)
        for photo in photos
    ]
    order = torch.tensor(sorted(range(len(photos)), key=identity.__getitem__))
    return order.argsort()


def balanced_sample(sketches: Sequence[Item], count: int, seed: int) -> tuple[int, ...]:
    """Rows of at most `count` sketches, as equally many of each category as there are, drawn by `seed`, in order."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(sketches), generator=generator).tolist()
    turn: dict[str, int] = {}
    keyed: list[tuple[int, int, int]] = []
    for place, row in enumerate(order):
        key = category_key(sketches[row].category)
        turn[key] = turn.get(key, -1) + 1
        keyed.append((turn[key], place, row))
    return tuple(sorted(row for _, _, row in sorted(keyed)[:count]))


def _keys(items: Sequence[Item]) -> dict[str, str]:
    return {category_key(item.category): item.category for item in items}


def _task(
    name: str,
    sketches: Sequence[Item],
    photos: Sequence[Item],
    left_out: tuple[str, ...] = (),
    distractors: Tensor | None = None,
) -> CategoryTask:
    keys = sorted(_keys(sketches).keys() | _keys(photos).keys())
    number = {key: place for place, key in enumerate(keys)}
    labels = [torch.tensor([number[category_key(item.category)] for item in items]) for items in (sketches, photos)]
    return CategoryTask(name, tuple(sketches), tuple(photos), labels[0], labels[1], left_out, distractors)


def row_blocks(count: int, block: int = BLOCK) -> Iterator[Tensor]:
    """The numbers 0 ... count - 1 in blocks [B] int64."""
    if count == 0:
        raise DatasetError("there is no sketch to search with")
    for start in range(0, count, block):
        yield torch.arange(start, min(start + block, count))
