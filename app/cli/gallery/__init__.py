"""The commands that build, change and check a gallery.

Imports `app.cli`, `index_builder`, `model`.
"""

from __future__ import annotations

import typer

from app.cli.gallery import changing, looking

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for _command in (
    changing.build,
    changing.add,
    changing.remove,
    changing.sync,
    changing.rebuild,
    looking.verify,
    looking.info,
    looking.duplicates,
    changing.index,
    looking.export,
):
    cli.command()(_command)
