"""The version of the gallery that an answer must not be older than."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

MinVersion = Annotated[
    str | None,
    Field(
        pattern=r"^[0-9]{1,9}\.[0-9]{1,18}$",
        description="Oldest version of the gallery that may answer, as `gallery_version` of an earlier answer. A "
        "service that does not have it yet answers 409 `version_not_there_yet`.",
    ),
]
