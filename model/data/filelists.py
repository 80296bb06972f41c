"""Reads the file lists of the published zero-shot splits, in the layout that ZSE-SBIR and SAKE use, unmodified.

Each line is `relative/path with spaces.ext LABEL`, split at the last blank. Labels are numbers. The cname_cid list
beside the file lists names the categories (`name with spaces NUMBER` per line). Without that list, the image's folder
does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model.data.items import Dataset, Item, Modality, source_of
from model.errors import DatasetError


@dataclass(frozen=True)
class _Lists:
    """Where one split's lists lie, relative to the folder that holds all datasets; {part} is "train" or "zero"."""

    folder: str
    lists: str
    sketch: str
    photo: str


_SKETCHY = ("sketch_tx_000000000000_ready_filelist_{part}.txt", "all_photo_filelist_{part}.txt")
_LAYOUTS = {
    "sketchy-25": _Lists("Sketchy", "zeroshot1", *_SKETCHY),
    "sketchy-21": _Lists("Sketchy", "zeroshot0", *_SKETCHY),
    "tu-berlin-30": _Lists(
        "TUBerlin", "zeroshot", "png_ready_filelist_{part}.txt", "ImageResized_ready_filelist_{part}.txt"
    ),
    "quickdraw-30": _Lists("QuickDraw", "zeroshot", "sketch_{part}.txt", "all_photo_{part}.txt"),
}


def read_file_lists(
    root: Path, split: str, part: Literal["train", "test"], *, instance_gallery: bool = False
) -> Dataset:
    """The training or test images of a published split, those that are missing on disk included.

    Decoding tells which images are missing, as it tells which are damaged.

    Args:
        root: the folder that holds Sketchy/, TUBerlin/ or QuickDraw/, or one of these itself.
        split: "sketchy-25", "sketchy-21", "tu-berlin-30" or "quickdraw-30".
        part: "train" (seen categories) or "test" (unseen ones).
        instance_gallery: leave Sketchy's EXTEND folder out. Every photo of the base folder occurs there once more, so
            an instance-level gallery is the base folder alone.

    Raises:
        DatasetError: a list or all of its images are missing, or a line is damaged; the message names it.
    """
    layout = _LAYOUTS.get(split)
    if layout is None:
        raise DatasetError(f"no split is named {split!r}; choose one of {', '.join(_LAYOUTS)}")
    home = root / layout.folder if (root / layout.folder).is_dir() else root
    suffix = "zero" if part == "test" else "train"
    names_file = home / layout.lists / ("cname_cid_zero.txt" if part == "test" else "cname_cid.txt")
    names = {label: name for name, label, _ in _lines(names_file)} if names_file.is_file() else {}
    items: list[Item] = []
    lists: tuple[tuple[Modality, str], ...] = (("sketch", layout.sketch), ("photo", layout.photo))
    for modality, name in lists:
        file_list = home / layout.lists / name.format(part=suffix)
        entries = list(_lines(file_list))
        base = _base(file_list, [entry[0] for entry in entries], (home, root, root.parent, file_list.parent))
        for relative, label, number in entries:
            path = base / relative
            if instance_gallery and "EXTEND_image_sketchy_ready" in path.parts:
                continue
            if names and label not in names:
                raise DatasetError(f"{file_list}, line {number}: label {label} has no name in {names_file}")
            category = names[label] if names else path.parent.name
            items.append(Item(path, category, modality, source_of(path)))
    return Dataset(tuple(items), f"{split} {part}")


def _lines(path: Path) -> list[tuple[str, str, int]]:
    """(text, label, line number) of every line that is not blank."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read the file list {path}: {error}") from error
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, _, label = line.strip().rpartition(" ")
        if not name.strip() or not label.isdigit():
            raise DatasetError(f"{path}, line {number}: expected 'PATH LABEL' with a whole number, found {line!r}")
        rows.append((name.strip(), label, number))
    if not rows:
        raise DatasetError(f"the file list {path} is empty")
    return rows


def _base(file_list: Path, names: Sequence[str], candidates: tuple[Path, ...]) -> Path:
    """The folder that the list's relative paths start from: the first one that holds a listed image."""
    for name in names:
        for folder in candidates:
            if (folder / name).is_file():
                return folder
    raise DatasetError(
        f"{file_list}: none of its images is there; the first, {names[0]}, is under none of "
        + ", ".join(map(str, dict.fromkeys(candidates)))
    )
