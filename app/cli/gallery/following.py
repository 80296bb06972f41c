"""`sketchseek gallery sync --follow`: the writer of a gallery, as a process of its own."""

from __future__ import annotations

from app.cli.early_end import ended_by_sigterm
from app.cli.gallery.encoding_options import EncodingOptions
from app.cli.shared_options import excluded_patterns, linked_folders
from model.errors import ConfigurationError


def follow(
    encoding: EncodingOptions,
    photos: list[str] | None,
    exclude: list[str] | None,
    links: list[str] | None,
    most_lost: float,
    *,
    once: dict[str, bool],
) -> None:
    """Keep the gallery in line with its folders until the process is told to end.

    Args:
        encoding: how to encode.
        photos: the folders; None takes those of `SKETCHSEEK_PHOTOS`, or what the gallery remembers.
        exclude, links: as given on the command line.
        most_lost: per cent of a folder's photos that may be gone at once.
        once: options that a single change takes, by name, and whether they were given.

    Raises:
        ConfigurationError: one of those was given.
    """
    given = [name for name, value in once.items() if value]
    if given:
        raise ConfigurationError(
            f"{given[0]} is for one change, and --follow makes many; run `sketchseek gallery sync {given[0]}` first"
        )
    from app.logs import configure_logging
    from app.settings import load_settings

    settings = load_settings(
        gallery=encoding.gallery,
        photos=photos or None,
        exclude=excluded_patterns(exclude),
        follow_links_to=linked_folders(links),
        most_lost=most_lost,
        watch=True,
    )
    configure_logging(settings.log_level, settings.log_format)
    with ended_by_sigterm():  # loading the network takes a while; then the writer itself ends at its next batch
        network = encoding.network()

        from app.writer import follow_folders

        follow_folders(settings, network, encoding.build_options(most_lost=most_lost))
