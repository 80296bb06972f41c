"""`python -m index_builder build PHOTOS`: the same as `sketchseek gallery build PHOTOS`."""

from app.cli import run
from app.cli.gallery import cli


def main() -> None:
    """Run the command line of galleries."""
    run(lambda: cli, "python -m index_builder")


if __name__ == "__main__":
    main()
