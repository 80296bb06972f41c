"""What the service answers about its gallery, about changes of it, about itself and about errors."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sketchseek_client.search_documents import EXAMPLE_ID

_JOB_ID = "9f86d081884c7d659a2feaa0c55ad015"
_ADDED: dict[str, Any] = {
    "file": "cat.jpg",
    "photo_id": EXAMPLE_ID,
    "path": "uploads/cat-5c1f6d0a9e2b4c37.jpg",
    "known": False,
}


class CheckpointInfo(BaseModel):
    """The weights that encoded the gallery."""

    name: str
    sha256: str
    reranks: bool = Field(
        description="Whether its score rule lets the relation network change the order; otherwise that explains alone."
    )


class TagCount(BaseModel):
    """A tag and how many photos carry it."""

    name: str
    photos: int


class Progress(BaseModel):
    """A build or sync under way."""

    step: str = Field(description="What is being done: scanning, encoding, ...")
    done: int
    total: int | None = Field(default=None, description="null while it is not known.")


class Limits(BaseModel):
    """What this service accepts, so that a client need not find out by errors."""

    max_body_bytes: int
    max_upload_bytes: int
    max_upload_files: int
    max_archive_photos: int
    max_archive_bytes: int
    max_pixels: int
    max_strokes: int
    max_points: int
    max_top_k: int
    max_candidates: int
    max_batch_queries: int = Field(description="Searches of one batch.")
    max_batch_results: int = Field(description="Results of one batch, over all its searches.")
    max_text: int = Field(description="Characters of `text`.")
    max_marked: int = Field(description="Photos in `like`, and in `unlike`.")
    max_tags: int = Field(description="Tags that one filter names.")
    formats: list[str]


class HeldFolder(BaseModel):
    """A folder that is not believed: its photos stay although their files were not found."""

    folder: str = Field(description="What it is called, without the folders above it.")
    photos: int
    code: str = Field(
        description="Stable; for programs: missing, unreadable, marker, not_mounted, other_device, emptied, most_lost."
    )
    detail: str = Field(description="For people.")


class GalleryInfo(BaseModel):
    """The gallery being served."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "photos": 10000,
                "version": "1.42",
                "checkpoint": {"name": "zse-lite", "sha256": "0" * 64, "reranks": False},
                "tags": [{"name": "pets", "photos": 312}],
                "recall": "flat on 1 gpu",
                "recall_problem": None,
                "building": None,
                "last_error": None,
                "held": [],
                "following": "events",
                "folders": ["photos"],
                "writable": False,
                "limits": {
                    "max_body_bytes": 10_000_000,
                    "max_upload_bytes": 100_000_000,
                    "max_upload_files": 50,
                    "max_archive_photos": 1000,
                    "max_archive_bytes": 2_000_000_000,
                    "max_pixels": 50_000_000,
                    "max_strokes": 2000,
                    "max_points": 100_000,
                    "max_top_k": 1000,
                    "max_candidates": 1000,
                    "max_batch_queries": 64,
                    "max_batch_results": 10_000,
                    "max_text": 300,
                    "max_marked": 32,
                    "max_tags": 32,
                    "formats": ["jpeg", "png"],
                },
            }
        }
    )

    photos: int
    version: str | None = Field(default=None, description="GENERATION.COMMIT; null while there is none yet.")
    checkpoint: CheckpointInfo
    recall: str | None = Field(
        default=None, description='How candidates are found, and where: "flat on cpu". null while there is no version.'
    )
    recall_problem: str | None = Field(
        default=None, description="Why candidates are found on the CPU although there is a GPU; null otherwise."
    )
    tags: list[TagCount]
    building: Progress | None = Field(default=None, description="null while nothing is being built.")
    last_error: str | None = Field(
        default=None, description="Code of what went wrong in the last change of the gallery, if anything."
    )
    held: list[HeldFolder] = Field(
        default_factory=list,
        description="Folders whose photos are kept until they are back, or until somebody confirms that they are gone.",
    )
    following: Literal["starting", "events", "rescans", "down"] | None = Field(
        default=None,
        description="How it follows its folder of photos: told of changes at once, or by rescans now and then. "
        "down: not at the moment, the log says why. null: it does not.",
    )
    folders: list[str] = Field(
        default_factory=list, description="What its folders of photos are called, without the folders above them."
    )
    writable: bool = Field(description="Whether the write routes are on.")
    limits: Limits


class GalleryEvent(BaseModel):
    """How the gallery stands at one moment."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"version": "1.42", "photos": 10000, "building": {"step": "encoding", "done": 120, "total": 480}}
        }
    )

    version: str | None = Field(default=None, description="GENERATION.COMMIT; null while there is none yet.")
    photos: int
    building: Progress | None = Field(default=None, description="null while nothing is being built.")


class ChangedPhoto(BaseModel):
    """A photo that was added or deleted, or is about to be."""

    file: str = Field(description="The file's name as it was sent, made harmless.")
    photo_id: str
    path: str = Field(description="Where it lies in the photos' folder.")
    known: bool = Field(
        default=False, description="The gallery had this content already: the file was not kept, and this is its photo."
    )


class RefusedPhoto(BaseModel):
    """An uploaded file that did not become a photo."""

    file: str = Field(description="The file's name as it was sent, made harmless.")
    code: str = Field(description="Stable; for programs.")
    detail: str = Field(description="For people.")


class Job(BaseModel):
    """A change of the gallery under way."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "job_id": _JOB_ID,
                "status": "done",
                "photos": [_ADDED],
                "refused": [{"file": "notes.txt", "code": "unreadable_image", "detail": "this is not an image"}],
                "gallery_version": "1.43",
                "code": None,
                "url": f"/jobs/{_JOB_ID}",
            }
        }
    )

    job_id: str
    status: Literal["running", "done", "failed"]
    photos: list[ChangedPhoto]
    refused: list[RefusedPhoto]
    gallery_version: str | None = Field(default=None, description="The version that has it; null while it runs.")
    code: str | None = Field(default=None, description="Why it failed, if it did.")
    url: str


class Reloaded(BaseModel):
    """The outcome of looking for a new version."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"swapped": True, "gallery_version": "1.43", "photos": 10001}}
    )

    swapped: bool = Field(description="Whether a newer version is being served now.")
    gallery_version: str
    photos: int


class Health(BaseModel):
    """The state of the process."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "ready"}})

    status: Literal["alive", "ready", "starting", "draining", "failed"]
    reason: str | None = Field(default=None, description="Why it is not ready, or what is wrong although it is.")


class ProblemDocument(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    code: str = Field(description="Stable; for programs.")
    detail: str = Field(description="For people.")
    request_id: str
