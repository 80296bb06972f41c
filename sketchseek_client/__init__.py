"""A Python client of the Sketchseek service, and the documents that the service answers with.

from sketchseek_client import Client

with Client("http://127.0.0.1:8000") as client:
    for result in client.search("cat.png", top_k=5).results:
        print(result.rank, result.path)

`AsyncClient` has the same methods, to be awaited.

The package imports nothing of `app`, `index_builder` or `model`, so it works in a project that has packages of these
names.
"""

from sketchseek_client.async_client import AsyncClient
from sketchseek_client.batch_documents import BatchAnswer, BatchItem
from sketchseek_client.client import Client
from sketchseek_client.deleted import Deleted
from sketchseek_client.errors import ClientError, ServiceAnswerError, ServiceUnreachableError
from sketchseek_client.facet_documents import FacetCount, GalleryFacets
from sketchseek_client.search_arguments import BatchQuery, SearchArguments
from sketchseek_client.search_documents import (
    CorrespondenceDocument,
    Duplicate,
    Explanation,
    Result,
    SearchAnswer,
    SimilarAnswer,
    Timings,
)
from sketchseek_client.service_documents import (
    ChangedPhoto,
    CheckpointInfo,
    GalleryEvent,
    GalleryInfo,
    Health,
    HeldFolder,
    Job,
    Limits,
    ProblemDocument,
    Progress,
    RefusedPhoto,
    Reloaded,
    TagCount,
)

__all__ = [
    "AsyncClient",
    "BatchAnswer",
    "BatchItem",
    "BatchQuery",
    "ChangedPhoto",
    "CheckpointInfo",
    "Client",
    "ClientError",
    "CorrespondenceDocument",
    "Deleted",
    "Duplicate",
    "Explanation",
    "FacetCount",
    "GalleryEvent",
    "GalleryFacets",
    "GalleryInfo",
    "Health",
    "HeldFolder",
    "Job",
    "Limits",
    "ProblemDocument",
    "Progress",
    "RefusedPhoto",
    "Reloaded",
    "Result",
    "SearchAnswer",
    "SearchArguments",
    "ServiceAnswerError",
    "ServiceUnreachableError",
    "SimilarAnswer",
    "TagCount",
    "Timings",
]
