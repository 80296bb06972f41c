"""The parts of a query beside the sketch: the options of every command that searches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.files import readable

if TYPE_CHECKING:
    from app.search.query_parts import QueryParts
    from app.search.searcher import TwoStageSearcher
    from app.search.text_encoder import TextEncoder

_PANEL = "Parts of the query"


def _weight(of: str) -> Any:
    return typer.Option(
        min=0, max=10, help=f"How much {of} counts beside the rest; 0 leaves it out.", rich_help_panel=_PANEL
    )


@dataclass(frozen=True)
class PartOptions:
    """The values of these options."""

    text: Annotated[str | None, typer.Option(help="Words for what is wanted.", rich_help_panel=_PANEL)] = None
    photo: Annotated[
        Path | None, typer.Option(help="A photo: what is wanted looks like it.", rich_help_panel=_PANEL)
    ] = None
    like: Annotated[
        list[str] | None,
        typer.Option(help="Id of a photo that is what is wanted; may be repeated.", rich_help_panel=_PANEL),
    ] = None
    unlike: Annotated[
        list[str] | None, typer.Option(help="Id of a photo that is not; may be repeated.", rich_help_panel=_PANEL)
    ] = None
    sketch_weight: Annotated[float, _weight("the sketch")] = 1.0
    text_weight: Annotated[float, _weight("the text")] = 1.0
    photo_weight: Annotated[float, _weight("the photo")] = 1.0
    like_weight: Annotated[float, _weight("what is liked")] = 1.0
    unlike_weight: Annotated[float, _weight("what is not liked")] = 1.0

    def check(self, sketch: Path | None) -> None:
        """Refuse a query that says nothing of what is wanted, or the opposite of itself.

        Raises:
            typer.BadParameter: it does.
        """
        wanted = (
            (sketch, self.sketch_weight),
            (self.text is not None, self.text_weight),
            (self.photo, self.photo_weight),
            (self.like, self.like_weight),
        )
        if not any(part and weight for part, weight in wanted):
            raise typer.BadParameter("give a sketch, --text, --photo or --like, with a weight above 0")
        if set(self.like or ()) & set(self.unlike or ()):
            raise typer.BadParameter("a photo is in --like and in --unlike; leave it out of one of them")

    def for_client(self, sketch: Path | None) -> dict[str, Any]:
        """The arguments of `Client.search` that name the parts."""
        return {
            "sketch": None if sketch is None else readable(sketch),
            "text": self.text,
            "photo": None if self.photo is None else readable(self.photo),
            "like": self.like or (),
            "unlike": self.unlike or (),
            "sketch_weight": self.sketch_weight,
            "text_weight": self.text_weight,
            "photo_weight": self.photo_weight,
            "like_weight": self.like_weight,
            "unlike_weight": self.unlike_weight,
        }

    def prepared(self, searcher: TwoStageSearcher, texts: TextEncoder, sketch: Path | None) -> QueryParts:
        """The parts, decoded and looked up.

        Raises:
            ImageError and its kinds: a picture cannot be used.
            TextQueryError: the words cannot search.
            UnknownPhotoError: the gallery lacks a photo that is liked or not.
        """
        from app.search.preparing import prepare_parts
        from app.search.query_parts import PartWeights
        from model.images.limits import ImageLimits
        from model.images.sent_picture import SentPicture

        config, text, photo = searcher.network.preprocess, self.text, self.photo
        limits = ImageLimits()
        return prepare_parts(
            searcher,
            sketch=None if sketch is None else lambda: SentPicture("sketch", readable(sketch)).drawn(config, limits),
            text=None if text is None else lambda: texts.descriptor(text),
            photo=None if photo is None else lambda: SentPicture("photo", readable(photo)).pixels(config, limits),
            like=self.like or (),
            unlike=self.unlike or (),
            weights=PartWeights.among(self),
        )
