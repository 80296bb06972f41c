"""`python -m index_builder build PHOTOS`: the same as `sketchseek gallery build PHOTOS`."""

import sys

from app.cli.gallery import cli
from model.errors import SketchseekError


def main() -> None:
    """Run the command line; an error that is the user's to mend is one line on stderr and exit code 1."""
    try:
        cli(prog_name="python -m index_builder")
    except SketchseekError as error:
        print(f"sketchseek: {error}", file=sys.stderr)  # noqa: T201 - the command line
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
