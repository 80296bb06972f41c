"""What the soak knows must be so, and whether an answer is."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

Version = tuple[int, int]
_SCORES_AGREE = 2e-3  # batches of different sizes and half precision round differently


def parse(version: str) -> Version:
    """ "1.42" as numbers that compare."""
    generation, commit = version.split(".")
    return int(generation), int(commit)


@dataclass
class Truth:
    """Which photos each version of the gallery holds, and what every sketch scores with every photo.

    Attributes:
        versions: the versions that are known for sure -> ids of their photos.
        scores: (number of the sketch, photo id) -> score, the first ever seen.
        wrong: what was found to be wrong, in words.
    """

    versions: dict[Version, frozenset[str]] = field(default_factory=dict)
    scores: dict[tuple[int, str], float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    checked: int = 0
    _waiting: list[tuple[Version, frozenset[str]]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def record(self, version: str, photos: frozenset[str]) -> None:
        """From now on it is known what this version holds; answers that waited for that are judged."""
        with self._lock:
            self.versions[parse(version)] = photos
            waiting, self._waiting = self._waiting, []
            for one in waiting:
                self._judge(*one)

    def check_search(self, sketch: int, answer: dict[str, Any]) -> None:
        """An answer that lists the whole gallery: each photo once, in order, with the score it always has."""
        results = answer["results"]
        ids = [one["photo_id"] for one in results]
        order = [(-one["score"], one["photo_id"]) for one in results]
        with self._lock:
            self.checked += 1
            if len(set(ids)) != len(ids):
                self.wrong.append(f"a photo twice in version {answer['gallery_version']}")
            if order != sorted(order):
                self.wrong.append(f"an order that is not that of the scores in version {answer['gallery_version']}")
            if answer["total_photos"] != len(ids):
                self.wrong.append(f"{len(ids)} results of {answer['total_photos']} photos")
            for one in results:
                known = self.scores.setdefault((sketch, one["photo_id"]), one["score"])
                if abs(known - one["score"]) > _SCORES_AGREE:
                    self.wrong.append(f"{one['photo_id']} scored {one['score']} with sketch {sketch}, once {known}")
            self._judge(parse(answer["gallery_version"]), frozenset(ids))

    def finish(self) -> None:
        """Answers whose version never became known are judged by the last one that did."""
        with self._lock:
            for version, _ in self._waiting:
                self.wrong.append(f"an answer from version {version} that nobody made")

    def complain(self, what: str) -> None:
        """Note something wrong."""
        with self._lock:
            self.wrong.append(what)

    def _judge(self, version: Version, ids: frozenset[str]) -> None:
        if (exact := self.versions.get(version)) is not None:
            if ids != exact:
                self.wrong.append(f"version {version}: {len(exact - ids)} photos missing, {len(ids - exact)} too many")
            return
        earlier = [known for known in self.versions if known < version]
        later = [known for known in self.versions if known > version]
        if not later:
            self._waiting.append((version, ids))
            return
        # One of the steps of a change: what was before and after is there, what was neither is not.
        after = self.versions[min(later)]
        before = self.versions[max(earlier)] if earlier else after
        if not before & after <= ids <= before | after:
            self.wrong.append(f"version {version} is neither what was before nor what came after")
