"""Which part of the photos' folders a comparison looks at."""

from __future__ import annotations

from dataclasses import dataclass, field

_MOST = 2000


@dataclass
class Scope:
    """What may have changed, as paths that the gallery writes. An empty one says that nothing did.

    Attributes:
        everything: all folders; the rest then says nothing.
        files: that came, changed or went.
        folders: in which files came, changed or went; folders inside them are not meant.
        trees: folders that are no more, with all that lay below.
    """

    everything: bool = False
    files: set[bytes] = field(default_factory=set)
    folders: set[bytes] = field(default_factory=set)
    trees: set[bytes] = field(default_factory=set)

    def __bool__(self) -> bool:
        return self.everything or bool(self.files or self.folders or self.trees)

    def __len__(self) -> int:
        """Number of paths."""
        return len(self.files) + len(self.folders) + len(self.trees)

    def add(self, other: Scope) -> None:
        """Look at what `other` names as well. Too many paths become everything, which is quicker then."""
        self.files |= other.files
        self.folders |= other.folders
        self.trees |= other.trees
        self.everything = self.everything or other.everything or len(self) > _MOST

    def covers(self, raw_path: bytes) -> bool:
        """Whether a photo's path lies in it."""
        if self.everything or raw_path in self.files:
            return True
        folder = raw_path.rpartition(b"/")[0]
        if folder in self.folders:
            return True
        if not self.trees:
            return False
        while folder:
            if folder in self.trees:
                return True
            folder = folder.rpartition(b"/")[0]
        return raw_path in self.trees
