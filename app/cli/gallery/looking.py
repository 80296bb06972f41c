"""Commands that look at a gallery and change nothing: verify, info, duplicates, export."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.gallery.output import print_json, printable
from app.cli.limit_options import LimitOptions
from app.cli.option_groups import with_options
from app.cli.shared_options import DEFAULT_GALLERY, GalleryOption, JsonOption

if TYPE_CHECKING:
    from index_builder.photo_record import PhotoRecord


@with_options(LimitOptions, "costs")
def verify(
    *,
    gallery: GalleryOption = DEFAULT_GALLERY,
    photos: Annotated[list[str] | None, typer.Option(help="Where the photos are now; may be repeated.")] = None,
    sample: Annotated[int, typer.Option(min=0, help="Photos to decode again.")] = 32,
    seed: Annotated[int | None, typer.Option(help="Seed of that sample.")] = None,
    as_json: JsonOption = False,
    costs: LimitOptions,
) -> None:
    """Check every byte of the gallery and a sample of its photos. The exit code is 0 only if it is whole."""
    from index_builder.reading.verify import verify_gallery

    report = verify_gallery(gallery, photos=photos or None, sample=sample, seed=seed, limits=costs.limits())
    if as_json:
        print_json({"whole": report.whole, **asdict(report)})
    else:
        for note in report.notes:
            print(f"note: {note}", file=sys.stderr)
        for problem in report.problems:
            print(f"{printable(problem.where)}: {printable(problem.what)}")
        for path in report.incomplete:
            print(f"{printable(path)}: incomplete, its file ends early; restore it if there is a whole one")
        state = "is whole" if report.whole else f"has {len(report.problems)} problems"
        print(
            f"gallery {gallery} {state}: version {report.version or 'unknown'}, {report.photos} photos, "
            f"{report.files} files compared, {report.decoded} photos decoded, {len(report.incomplete)} incomplete"
        )
    if not report.whole:
        raise typer.Exit(1)


def info(*, gallery: GalleryOption = DEFAULT_GALLERY, as_json: JsonOption = False) -> None:
    """Print what the gallery holds: photos, version, checkpoint, sizes."""
    from index_builder.reading.export import gallery_info

    values = asdict(gallery_info(gallery))
    if as_json:
        print_json(values)
        return
    width = max(map(len, values))
    for name, value in values.items():
        print(f"{name:<{width}}  {printable(str(value))}")


def duplicates(
    *,
    gallery: GalleryOption = DEFAULT_GALLERY,
    threshold: Annotated[
        float | None,
        typer.Option(min=0.5, max=1, help="Least cosine of two near-identical photos; default: as a search collapses."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List photos that are there more than once: the same file, or the same picture resized, saved again or cropped."""
    from index_builder.near_identical import NEAR_IDENTICAL
    from index_builder.reading.duplicates import find_duplicates

    photos, groups = find_duplicates(gallery, NEAR_IDENTICAL if threshold is None else threshold)
    extra = sum(len(group.photos) - 1 for group in groups)
    if as_json:
        listed = [
            {"same_content": group.same_content, "photos": [_listed(photo) for photo in group.photos]}
            for group in groups
        ]
        print_json({"photos": photos, "extra": extra, "groups": listed})
        return
    for group in groups:
        first = group.photos[0]
        for photo in group.photos:
            same = "  same content" if photo is not first and photo.content_hash == first.content_hash else ""
            print(f"{photo.width:6d} x {photo.height:<6d} {photo.size:12,d} bytes  {printable(photo.path)}{same}")
        print()
    print(f"{len(groups)} groups: {extra} of {photos} photos are near-identical to a larger one or the same")


def _listed(photo: PhotoRecord) -> dict[str, Any]:
    """A photo of a group, for programs."""
    shown = ("photo_id", "path", "width", "height", "size", "content_hash")
    return {name: getattr(photo, name) for name in shown}


def export(
    output: Annotated[Path, typer.Argument(help="NAME.parquet, or NAME.npy (ids go to NAME.ids.txt).")],
    *,
    gallery: GalleryOption = DEFAULT_GALLERY,
    as_json: JsonOption = False,
) -> None:
    """Write the descriptors of all photos into one file."""
    from index_builder.reading.export import export_descriptors

    photos = export_descriptors(gallery, output)
    if as_json:
        print_json({"photos": photos, "output": str(output)})
    else:
        print(f"{photos} descriptors written to {output}")
