"""Describe categories: `python -m app.describe --out descriptions.json CATEGORY ...`.

Asks the endpoint of SKETCHSEEK_LLM_URL for the categories that have no sentences yet, in the package or in the file,
and adds them to the file. What it cost goes to stderr.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from app.describe.endpoint import endpoint_from_environment
from app.describe.generate import Generator
from model.data.descriptions import Descriptions, bundled_descriptions, read_descriptions, write_descriptions
from model.data.items import category_key
from model.data.splits import read_category_list
from model.errors import SketchseekError


def main(arguments: list[str] | None = None) -> int:
    """Run it; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m app.describe", description=__doc__)
    parser.add_argument("categories", nargs="*", metavar="CATEGORY")
    parser.add_argument("--list", type=Path, help="file of more categories, one a line")
    parser.add_argument("--out", type=Path, required=True, help="file to add descriptions to")
    parser.add_argument("--cache", type=Path, default=Path("runs") / "cache" / "descriptions", help="folder of answers")
    parser.add_argument("--again", action="store_true", help="ask for categories that the package describes as well")
    options = parser.parse_args(arguments)
    try:
        _describe(options)
    except SketchseekError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _describe(options: argparse.Namespace) -> None:
    wanted = [*options.categories, *(read_category_list(options.list) if options.list else ())]
    kept = read_descriptions(options.out) if options.out.is_file() else None
    described = {category_key(name) for name in (kept.categories if kept else ())}
    if not options.again:
        described |= {category_key(name) for name in bundled_descriptions().categories}
    missing = list({category_key(name): name for name in wanted if category_key(name) not in described}.values())
    if not missing:
        sys.stderr.write("every category has its sentences already\n")
        return
    endpoint = endpoint_from_environment()
    generator = Generator(endpoint, options.cache)

    def progress(done: int, total: int) -> None:
        sys.stderr.write(f"\r{done}/{total}")

    try:
        found = generator.describe(missing, progress)
        joined: Descriptions = found if kept is None else kept.joined(found)
        write_descriptions(options.out, joined)
    finally:
        spent = generator.spent
        sys.stderr.write(
            f"\n{spent.requests} requests, {spent.cached} answers from the cache, {spent.input_tokens} + "
            f"{spent.output_tokens} tokens, cost {spent.cost(endpoint):.4f}\n"
        )


if __name__ == "__main__":
    sys.exit(main())
