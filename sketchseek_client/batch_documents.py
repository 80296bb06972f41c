"""What several searches in one request are answered with."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from sketchseek_client.search_documents import EXAMPLE_ANSWER, SearchAnswer
from sketchseek_client.service_documents import ProblemDocument


class BatchItem(BaseModel):
    """One search of a batch: its answer, or what is wrong with it."""

    answer: SearchAnswer | None = None
    problem: ProblemDocument | None = None


class BatchAnswer(BaseModel):
    """What several searches found."""

    model_config = ConfigDict(json_schema_extra={"example": {"answers": [{"answer": EXAMPLE_ANSWER, "problem": None}]}})

    answers: list[BatchItem] = Field(description="In the order of the queries.")
