"""Calibrates which results are likely, on the ten validation categories, and measures what that says.

    python train/likely.py CHECKPOINT --gallery GALLERY --sketches SKETCHES --without test.txt [--write NEW]
    python train/likely.py CHECKPOINT --gallery GALLERY --sketches SKETCHES --only test.txt

GALLERY is built with CHECKPOINT from a folder photo/CATEGORY/*, so that its tags are the categories. SKETCHES holds
CATEGORY/*. Every query searches six galleries, parts of that one: the photos of all categories that are measured;
these without its own category; its own alone; one other alone; and GALLERY with and without its own category. In the
last two, the categories of --without do not occur. Each of the six weighs the same. --only measures what is stored on
the categories that FILE names, and calibrates nothing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from zse_lite import VALIDATION

from app.search.query_and_answer import Asked, Query
from app.search.query_parts import QueryParts, Vector
from app.search.searcher import TwoStageSearcher
from index_builder import GallerySnapshot
from index_builder.photo_filter import PhotoFilter
from model.checkpoints.files import find_checkpoint, load_checkpoint, read_checkpoint
from model.data.splits import read_category_list
from model.evaluation.calibrate import CANDIDATES, logistic_regression
from model.evaluation.text_queries import encode_texts
from model.images.opening import open_image
from model.networks.network import Network
from model.ranking.likely import FIRST, shared
from model.score_rules import LikelyRule, LikelyRules, QueryKind
from model.text.sentence_encoder import readable
from model.types import Encoding
from model.whole_file import whole_file

SEARCHING = {"calibrate": 40, "measure": 10}
"""Sketches, and photos, of each category that search."""
KINDS: tuple[QueryKind, ...] = ("sketch", "sketch_and_more", "text", "photo")


@dataclass(frozen=True, eq=False)
class Asking:
    """One query.

    Attributes:
        kind: of it.
        category: what it asks for.
        asked: what recall looks for.
        sketch: an encoding of length 1 that is related to the candidates; None relates nothing.
    """

    kind: QueryKind
    category: str
    asked: Asked
    sketch: Encoding | None = None


class Galleries:
    """The six galleries that each query searches.

    Args:
        searcher: of the whole gallery.
        categories: that are measured.
        left_out: that occur nowhere.
    """

    NAMES = ("all", "without", "own", "another", "mixed", "mixed without")

    def __init__(self, searcher: TwoStageSearcher, categories: Sequence[str], left_out: Sequence[str]) -> None:
        self.searcher, self._categories, self._left_out = searcher, categories, tuple(left_out)

    def parts_for(self, category: str) -> Iterator[tuple[str, PhotoFilter]]:
        """Each gallery's name and photos."""
        others = tuple(name for name in self._categories if name != category)
        another = others[(self._categories.index(category) * 7) % len(others)]
        chosen = [
            PhotoFilter(tags=tuple(self._categories)),
            PhotoFilter(tags=others),
            PhotoFilter(tags=(category,)),
            PhotoFilter(tags=(another,)),
            PhotoFilter(tags_none=self._left_out),
            PhotoFilter(tags_none=(*self._left_out, category)),
        ]
        return zip(self.NAMES, chosen, strict=True)


def queries(searcher: TwoStageSearcher, sketches: Path, categories: Sequence[str], each: int) -> Iterator[Asking]:
    """So many of each kind and category, and the category's name."""
    words = names_of(searcher.network, categories)
    for category in categories:
        text = words.get(category)
        if text is not None:
            yield Asking("text", category, searcher.ask(QueryParts(text=text)))
        files = sorted((sketches / category).iterdir())
        for file in files[:: max(1, len(files) // each)][:each]:
            drawn = searcher.prepare(open_image(file))
            sketch = searcher.encode(drawn[None])
            yield Asking("sketch", category, searcher.ask(QueryParts(drawn), sketch), sketch)
            if text is not None:
                both = searcher.ask(QueryParts(drawn, text), sketch)
                yield Asking("sketch_and_more", category, both, sketch)
        own = searcher.snapshot.select(PhotoFilter(tags=(category,)))
        rows = np.arange(len(searcher.snapshot)) if own is None else np.flatnonzero(own.mask)
        for row in rows[:: max(1, len(rows) // each)][:each].tolist():
            asked = searcher.ask(QueryParts(like=[row]))
            yield Asking("photo", category, replace(asked, liked=(), left_out=(row,)))


def names_of(network: Network, categories: Sequence[str]) -> dict[str, Vector]:
    """Where the categories' names point, [E] float32 each; nothing where the checkpoint has no map of words."""
    if network.text_map is None:
        return {}
    places = encode_texts(network, [readable(name) for name in categories])
    return {name: F.normalize(place, dim=0).numpy() for name, place in zip(categories, places, strict=True)}


def calibrate(galleries: Galleries, asked: Sequence[Asking]) -> LikelyRules:
    """A rule for each kind of query."""
    searcher, rules = galleries.searcher, {}
    for kind in KINDS:
        amounts: dict[str, list[Tensor]] = {name: [] for name in Galleries.NAMES}
        right: dict[str, list[Tensor]] = {name: [] for name in Galleries.NAMES}
        for one in (each for each in asked if each.kind == kind):
            for name, only in galleries.parts_for(one.category):
                (found,) = searcher.recall([one.asked], [Query(candidates=CANDIDATES, only=only)])
                if found.asked is None or not len(found.rows):
                    continue
                photos = torch.from_numpy(searcher.descriptors(found))
                amounts[name].append(shared(torch.from_numpy(found.asked.combined.unexpanded), photos, photos[:FIRST]))
                right[name].append(
                    torch.tensor([one.category in searcher.snapshot.photo(row).tags for row in found.rows])
                )
        if not amounts["all"]:
            continue
        counts = {name: sum(map(len, parts)) for name, parts in amounts.items()}
        weight = torch.cat([torch.full((counts[name],), 1 / counts[name] / len(counts)) for name in amounts]).double()
        inputs, relevance = (torch.cat([torch.cat(parts) for parts in each.values()]) for each in (amounts, right))
        slope, bias = logistic_regression(inputs[:, None], relevance, weight)
        rules[kind] = LikelyRule(slope, bias)
        print(json.dumps({"kind": kind, **asdict(rules[kind])}), flush=True)
    return LikelyRules(**rules)


def measure(galleries: Galleries, asked: Sequence[Asking], *, rerank: bool) -> None:
    """Print, for each kind of query and each gallery, what stands before the line and behind it, of 100 candidates."""
    for kind in KINDS:
        those = [one for one in asked if one.kind == kind]
        for number, name in enumerate(Galleries.NAMES if those else ()):
            before, behind, none = [], [], 0
            for one in those:
                only = list(galleries.parts_for(one.category))[number][1]
                query = Query(top_k=CANDIDATES, only=only, rerank=rerank)
                (found,) = galleries.searcher.recall([one.asked], [query])
                (answer,) = galleries.searcher.rerank([one.sketch], [found], [query])
                hits = [(one.category in each.photo.tags, bool(each.likely)) for each in answer.results]
                before += [right for right, likely in hits if likely]
                behind += [right for right, likely in hits if not likely]
                none += not any(likely for _, likely in hits)
            row = {
                "queries": len(those),
                "likely_right": _share(before),
                "rest_right": _share(behind),
                "found": _share([True] * sum(before) + [False] * sum(behind)),
                "likely_each": round(len(before) / len(those), 1),
                "none_likely": round(none / len(those), 3),
            }
            print(json.dumps({"kind": kind, "gallery": name, **row}), flush=True)


def _share(values: Sequence[bool]) -> float | None:
    return round(sum(values) / len(values), 3) if values else None


def write(source: Path, target: Path, rules: LikelyRules) -> None:
    """The same checkpoint with these rules. Its weights stay as they are, so galleries fit it as before."""
    metadata, tensors = read_checkpoint(source)
    config = {**json.loads(metadata["config"]), "likely": asdict(rules)}
    with whole_file(target) as temporary:
        save_file(tensors, temporary, metadata={**metadata, "config": json.dumps(config, sort_keys=True)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--gallery", type=Path, required=True)
    parser.add_argument("--sketches", type=Path, required=True)
    parser.add_argument("--without", type=Path, action="append", default=[], help="categories that occur nowhere")
    parser.add_argument("--only", type=Path, help="measure on these categories instead, and calibrate nothing")
    parser.add_argument("--rerank", action="store_true", help="measure both stages, which takes long, not recall alone")
    parser.add_argument("--write", type=Path, help="the same checkpoint with the rules")
    options = parser.parse_args()
    network = load_checkpoint(options.checkpoint)
    snapshot = GallerySnapshot.load(options.gallery, network.identity, device=network.device, dtype=network.dtype)
    categories = tuple(read_category_list(options.only)) if options.only else VALIDATION
    left_out = [name for file in options.without for name in read_category_list(file)]
    galleries = Galleries(TwoStageSearcher(network, snapshot), categories, left_out)
    with torch.inference_mode():
        if not options.only:
            asked = list(queries(galleries.searcher, options.sketches, categories, SEARCHING["calibrate"]))
            rules = calibrate(galleries, asked)
            network.config = replace(network.config, likely=rules)
            if options.write:
                write(find_checkpoint(options.checkpoint), options.write, rules)
        asked = list(queries(galleries.searcher, options.sketches, categories, SEARCHING["measure"]))
        measure(galleries, asked, rerank=options.rerank)


if __name__ == "__main__":
    main()
