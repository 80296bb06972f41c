"""Which photos a search looks at: the options of every command that searches."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

if TYPE_CHECKING:
    from index_builder.photo_filter import PhotoFilter

_PANEL = "Filters"
_DAY = ["%Y-%m-%d"]


@dataclass(frozen=True)
class FilterOptions:
    """The values of these options."""

    tag: Annotated[
        list[str] | None, typer.Option(help="Only photos with this tag; may be repeated, for any of them.")
    ] = None
    tag_all: Annotated[
        list[str] | None,
        typer.Option(help="Only photos with this tag; may be repeated, for all of them.", rich_help_panel=_PANEL),
    ] = None
    tag_none: Annotated[
        list[str] | None, typer.Option(help="Only photos without this tag; may be repeated.", rich_help_panel=_PANEL)
    ] = None
    taken_from: Annotated[
        datetime | None,
        typer.Option(formats=_DAY, help="Only photos taken on this day or later.", rich_help_panel=_PANEL),
    ] = None
    taken_to: Annotated[
        datetime | None,
        typer.Option(formats=_DAY, help="Only photos taken on this day or earlier.", rich_help_panel=_PANEL),
    ] = None
    orientation: Annotated[
        str | None, typer.Option(help="Only landscape, portrait or square photos.", rich_help_panel=_PANEL)
    ] = None
    folder: Annotated[
        str, typer.Option(help="Only photos in this folder or below, as their paths begin.", rich_help_panel=_PANEL)
    ] = ""
    file_type: Annotated[
        list[str] | None,
        typer.Option("--type", help="Only files of this type, such as jpeg; may be repeated.", rich_help_panel=_PANEL),
    ] = None

    def chosen(self) -> PhotoFilter:
        """The filter.

        Raises:
            typer.BadParameter: a value that cannot be meant.
        """
        from index_builder.photo_filter import FILE_TYPES, ORIENTATIONS, FileType, PhotoFilter

        if self.orientation not in (None, *ORIENTATIONS):
            raise typer.BadParameter(f"--orientation takes {', '.join(ORIENTATIONS)}")
        for name in self.file_type or ():
            if name not in FILE_TYPES:
                raise typer.BadParameter(f"--type takes {', '.join(FILE_TYPES)}")
        if self.taken_from is not None and self.taken_to is not None and self.taken_to < self.taken_from:
            raise typer.BadParameter("--taken-to is before --taken-from")
        return PhotoFilter(
            tags=tuple(self.tag or ()),
            tags_all=tuple(self.tag_all or ()),
            tags_none=tuple(self.tag_none or ()),
            taken_from=None if self.taken_from is None else self.taken_from.date(),
            taken_to=None if self.taken_to is None else self.taken_to.date(),
            orientation=self.orientation,
            folder=self.folder,
            types=cast(tuple[FileType, ...], tuple(self.file_type or ())),
        )


def for_client(chosen: PhotoFilter) -> dict[str, Any]:
    """The arguments of `Client.search` that make this filter."""
    return {
        "tags": chosen.tags,
        "tag_all": chosen.tags_all,
        "tag_none": chosen.tags_none,
        "taken_from": chosen.taken_from,
        "taken_to": chosen.taken_to,
        "orientation": chosen.orientation,
        "folder": chosen.folder,
        "types": chosen.types,
    }
