"""What a filter costs: the mask of each kind over a made table of photos, the facets, and the arrays behind them.

    python benchmarks/filters.py                     # a million photos in 25 000 folders
    python benchmarks/filters.py --photos 100000

"once" is making the arrays, which the service does while it loads a version. Recall itself is `recall.py`.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import partial

import numpy as np
import pyarrow as pa
from measure import CLOCKS, Table, header, parser, take_turns

from index_builder.photo_filter import PhotoFilter
from index_builder.reading.facets import facets_of
from index_builder.reading.photo_table import PhotoTable

COLUMNS = {"what": "what", "ms": "ms", "photos": "photos left"}
_ENDINGS = (b"jpg", b"jpg", b"png", b"heic")
_FIRST_NS, _LAST_NS = 946_684_800 * 10**9, 1_700_000_000 * 10**9  # from 2000 to 2023


def made_table(photos: int) -> pa.Table:
    """Rows as a library has them: 25 years of twelve months of some folders each, tagged by these."""
    rng = np.random.default_rng(0)
    parts = [(str(2000 + i % 25), f"{i % 12:02}-{i % 1000:03}") for i in range(photos)]
    paths = [f"photos/{year}/{month}/{i}.".encode() + _ENDINGS[i % 4] for i, (year, month) in enumerate(parts)]
    times = {name: rng.integers(_FIRST_NS, _LAST_NS, photos) for name in ("modified_ns", "added_ns", "taken_ns")}
    sides = {name: rng.integers(3000, 3003, photos, dtype=np.int32) for name in ("width", "height")}
    return pa.table(
        {
            "photo_id": pa.array([f"{i:026}" for i in range(photos)]),
            "path": pa.array(paths, type=pa.binary()),
            "tags": pa.array([["photos", *part] for part in parts]),
            **{name: pa.array(values) for name, values in {**times, **sides}.items()},
        }
    )


FILTERS = {
    "tag, of 1 in 25": PhotoFilter(tags=("2003",)),
    "tag, of all": PhotoFilter(tags=("photos",)),
    "not tag": PhotoFilter(tags_none=("2003",)),
    "date taken": PhotoFilter(taken_from=date(2010, 1, 1), taken_to=date(2010, 12, 31)),
    "orientation": PhotoFilter(orientation="portrait"),
    "folder": PhotoFilter(folder="photos/2003"),
    "file type": PhotoFilter(types=("png", "heif")),
    "as of": PhotoFilter(as_of=datetime(2020, 1, 1, tzinfo=UTC)),
    "all but the second": PhotoFilter(
        tags=("2003",),
        tags_none=("2004",),
        taken_from=date(2010, 1, 1),
        orientation="portrait",
        folder="photos/2003",
        types=("png", "jpeg"),
        as_of=datetime(2020, 1, 1, tzinfo=UTC),
    ),
}


def main() -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--photos", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=20)
    arguments = options.parse_args()
    header(arguments)
    clock = CLOCKS[arguments.clock]
    table = PhotoTable(made_table(arguments.photos))
    result = Table("filters", f"Filters over {arguments.photos} photos", COLUMNS)
    started = clock()
    _ = facets_of(table.columns, PhotoFilter()), table.columns.newest_first, table.columns.as_of
    result.add(what="making the arrays, once", ms=1000 * (clock() - started))
    for name, chosen in FILTERS.items():
        turns = take_turns({name: partial(table.allowed, chosen)}, arguments.rounds, clock=clock)
        mask = table.allowed(chosen)
        result.add(what=name, ms=turns.ms(name), photos=None if mask is None else int(np.count_nonzero(mask)))
    for name, chosen in {"facets": PhotoFilter(), "facets of a filter": FILTERS["all but the second"]}.items():
        turns = take_turns({name: partial(facets_of, table.columns, chosen)}, arguments.rounds, clock=clock)
        result.add(what=name, ms=turns.ms(name))
    result.finish(arguments)


if __name__ == "__main__":
    main()
