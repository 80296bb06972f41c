"""A photo's id as part of an address."""

from typing import Annotated

from fastapi import Path

from sketchseek_client.search_documents import EXAMPLE_ID

PhotoId = Annotated[str, Path(description="A photo's id, from a search.", examples=[EXAMPLE_ID])]
