"""Settings of the service: environment variables with the prefix SKETCHSEEK_, each with a default and a sentence.

docs/operations.md lists them all; a test compares the two.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import SettingsConfigDict

from app.access_settings import AccessSettings
from app.gallery_settings import GallerySettings, absolute
from index_builder.index.settings import Choice, CodeSource, Device
from model.errors import ConfigurationError
from model.images import default_limits
from model.images.decoding_memory import UNSHARED, DecodingMemory
from model.images.limits import SKETCH_FORMATS, ImageLimits

if TYPE_CHECKING:
    from index_builder import RecallSettings

MEGABYTE = 1_000_000


class Settings(GallerySettings, AccessSettings):
    """Everything that can be set. 0 turns a limit off only if its sentence says so.

    A variable that is empty counts as unset, since compose writes those so.
    """

    model_config = SettingsConfigDict(env_prefix="SKETCHSEEK_", extra="forbid", frozen=True, env_ignore_empty=True)

    checkpoint: str = Field("zse-lite", description="Name or path of the checkpoint that encodes and compares.")
    device: str = Field("auto", description="Device of the network: auto, cpu, cuda or cuda:N.")
    dtype: str = Field("auto", description="Arithmetic of the network: auto, float32, bfloat16 or float16.")
    torch_threads: int = Field(0, ge=0, description="Threads of one tensor operation; 0 takes one per core, at most 4.")

    max_body_bytes: int = Field(10 * MEGABYTE, ge=1, description="Largest body of a search, counted as it streams.")
    max_upload_bytes: int = Field(100 * MEGABYTE, ge=1, description="Largest body of an upload of photos.")
    max_upload_files: int = Field(50, ge=1, description="Most photos in one upload.")
    max_archive_photos: int = Field(1000, ge=1, description="Most photos in one archive to download.")
    max_archive_bytes: int = Field(2000 * MEGABYTE, ge=1, description="Most bytes of the photos in one archive.")
    body_timeout_s: float = Field(
        30.0, gt=0, description="Seconds a client may take to send its headers, and again to send its body."
    )
    answer_timeout_s: float = Field(
        30.0, gt=0, description="Seconds a client may take to read what the service has written so far."
    )
    keep_alive_s: int = Field(
        130, ge=1, description="Seconds a connection may stay open without a request; more than a proxy keeps its own."
    )
    max_header_bytes: int = Field(64_000, ge=1000, description="Largest headers of a request, all together.")
    max_requests: int = Field(
        512, ge=1, description="Requests held at the same time; beyond, the slowest clients lose their places."
    )
    max_connections: int = Field(
        4096, ge=1, description="Connections that may wait between requests; beyond, the longest silent one is closed."
    )
    max_listeners: int = Field(
        64,
        ge=0,
        description="Clients that may be told of changes at once, at most half of the requests; 0 lets none listen.",
    )
    max_image_bytes: int = Field(default_limits.FILE_BYTES, ge=1, description="Largest file of one photo.")
    max_pixels: int = Field(
        default_limits.PIXELS, ge=1, description="Most pixels of a photo, read from its header before it is decoded."
    )
    max_image_memory_bytes: int = Field(
        default_limits.MEMORY_BYTES,
        ge=1,
        description="Memory that one photo may take while it is decoded, estimated from its header.",
    )
    decoding_memory_bytes: int = Field(
        default_limits.SHARED_BYTES,
        ge=1,
        description="Memory for all photos that are decoded at the same time; one alone may take more than that.",
    )
    max_sketch_pixels: int = Field(default_limits.SKETCH_PIXELS, ge=1, description="Most pixels of a sketch.")
    max_sketch_memory_bytes: int = Field(
        default_limits.SKETCH_MEMORY_BYTES,
        ge=1,
        description="Memory that one sketch may take while it is decoded, estimated from its header.",
    )
    max_strokes: int = Field(2000, ge=1, description="Most strokes of a drawing sent as JSON.")
    max_points: int = Field(100_000, ge=1, description="Most points of a drawing sent as JSON.")
    # Not below the defaults of a request.
    max_top_k: int = Field(1000, ge=20, description="Most results of one answer.")
    max_candidates: int = Field(1000, ge=100, description="Deepest recall stage.")
    max_batch_results: int = Field(
        10_000, ge=1280, description="Most results that the searches of one batch may want together."
    )
    max_bodies_bytes: int = Field(256 * MEGABYTE, ge=1, description="Memory for the bodies of all requests together.")
    request_timeout_s: float = Field(10.0, gt=0, description="Seconds after which a search is answered 503.")
    batch_timeout_s: float = Field(
        25.0, gt=0, description="Seconds after which the searches of a batch that are not done fail."
    )

    queue_limit: int = Field(
        128, ge=1, description="Searches that may wait for the device; any more are answered 503 at once."
    )
    batch_limit: int = Field(
        0, ge=0, description="Most waiting searches that are done together; 0 takes 8 on a CPU and 32 on a GPU."
    )
    relation_chunk: int = Field(
        0, ge=0, description="Candidates compared in one step; 0 takes 128 on a CPU and 2048 on a GPU."
    )
    encode_batch: int = Field(8, ge=1, description="Photos encoded in one step; searches get their turn between steps.")
    token_cache_bytes: int = Field(
        512 * MEGABYTE, ge=0, description="Memory for photos' tokens on the device; 0 reads them from disk each time."
    )
    query_cache_bytes: int = Field(
        32 * MEGABYTE,
        ge=0,
        description="Memory for encodings of drawings and photos that searched last; 0 encodes each anew.",
    )
    recall: Choice = Field(
        "auto", description="How candidates are found: auto, flat, ivf, hash for few bytes in memory, or milvus."
    )
    recall_url: str | None = Field(
        None, description="Address of Milvus, such as http://milvus:19530; needed by recall=milvus."
    )
    recall_token: SecretStr | None = Field(None, description="Token of Milvus, or user:password; none: it asks none.")
    hash_bits: int = Field(
        256,
        ge=8,
        multiple_of=8,
        description="Bits of hash codes that are fitted to the gallery; learnt codes have their own length.",
    )
    hash_source: CodeSource = Field(
        "auto",
        description="Hash codes: learnt (the checkpoint's), itq (fitted to the gallery), or auto: learnt if any.",
    )
    hash_shortlist: int = Field(
        1000, ge=0, description="Photos with the nearest hash codes to score exactly; 0 uses the codes alone."
    )
    recall_device: Device = Field(
        "auto",
        description="Where candidates are found: auto (with the network), cpu, or gpu (all; one must be there).",
    )
    recall_scratch_bytes: int = Field(
        64 * MEGABYTE, ge=MEGABYTE, description="Memory of each GPU that recalls share; at least 1 MB."
    )
    recall_threads: int = Field(1, ge=1, description="Threads of one recall on a CPU; more than one rarely pays.")
    decode_threads: int = Field(
        2, ge=1, description="Threads that decode sketches where no processes do, and as many again for photos."
    )
    decode_processes: int = Field(
        -1,
        ge=-1,
        description="Processes that decode sketches; 0: threads do; -1: none on a CPU, 2 to 8 beside a GPU.",
    )

    photo_links: Literal["service", "signed"] = Field(
        "service",
        description="How photos in buckets reach clients: service (through it), or signed (from the bucket itself).",
    )
    photo_link_s: int = Field(
        600, ge=10, le=604_800, description="Seconds for which a signed address of a photo may be used."
    )
    thumbnail_size: int = Field(256, ge=16, le=2048, description="Longer side of a thumbnail in pixels.")
    thumbnail_cache_bytes: int = Field(64 * MEGABYTE, ge=0, description="Memory for thumbnails; 0 keeps none.")
    screen_size: int = Field(
        2048, ge=256, le=8192, description="Longer side, in pixels, of a photo that is made for a screen."
    )
    screen_cache_bytes: int = Field(
        64 * MEGABYTE, ge=0, description="Memory for photos that were made for a screen; 0 keeps none."
    )
    upload_folder: str = Field(
        "uploads", pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Folder inside `photos` for uploaded photos."
    )
    upload_wait_s: float = Field(5.0, ge=0, description="Seconds to wait for an upload before it is answered 202.")
    follow_interval_s: float = Field(1.0, gt=0, description="Seconds between looks for a new version of the gallery.")
    drain_s: float = Field(
        2.0, ge=0, description="Seconds between SIGTERM, when /readyz turns 503, and closing the port."
    )
    shutdown_timeout_s: float = Field(
        30.0, gt=0, description="Seconds that requests in flight may take to finish at the end."
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least important level logged.")
    log_format: Literal["json", "console"] = Field("json", description="Log lines for machines or for people.")

    @field_validator("checkpoint")
    @classmethod
    def _absolute_file(cls, value: str) -> str:
        """A name stays one, unless there is a file of that name here."""
        place = absolute(Path(value))
        return str(place) if "/" in value or place.is_file() else value

    @property
    def recall_settings(self) -> RecallSettings:
        """How a gallery is searched."""
        from index_builder import RecallSettings

        return RecallSettings(
            kind=self.recall,
            threads=self.recall_threads,
            device=self.recall_device,
            scratch_bytes=self.recall_scratch_bytes,
            hash_bits=self.hash_bits,
            hash_source=self.hash_source,
            shortlist=self.hash_shortlist,
            server_url=self.recall_url,
            server_token=None if self.recall_token is None else self.recall_token.get_secret_value() or None,
            cache=self.cache,
        )

    def photo_limits(self) -> ImageLimits:
        """What a photo may cost, indexed, uploaded or shown; photos share the memory of one call's limits."""
        return ImageLimits(
            max_pixels=self.max_pixels,
            max_bytes=self.max_image_bytes,
            max_memory=self.max_image_memory_bytes,
            together=DecodingMemory(self.decoding_memory_bytes),
        )

    def sketch_limits(self) -> ImageLimits:
        """What a sketch may cost; sketches never wait for photos."""
        return ImageLimits(
            max_pixels=self.max_sketch_pixels,
            max_bytes=self.max_body_bytes,
            max_memory=self.max_sketch_memory_bytes,
            formats=SKETCH_FORMATS,
            together=UNSHARED,
        )

    @property
    def threads(self) -> int:
        """Threads of one tensor operation."""
        return self.torch_threads or min(4, usable_cores())

    def searches_together(self, *, on_gpu: bool) -> int:
        """Most searches in one batch."""
        return self.batch_limit or (32 if on_gpu else 8)

    def pairs_together(self, *, on_gpu: bool) -> int:
        """Most candidates that are related in one step."""
        return self.relation_chunk or (2048 if on_gpu else 128)

    def processes_that_decode(self, *, on_gpu: bool) -> int:
        """Processes that decode sketches; 0: threads do. With a network on the CPU, all cores have enough to do.

        One alone would let a slow picture hold up all others.
        """
        usual = min(8, max(2, usable_cores() // 2)) if on_gpu else 0
        return usual if self.decode_processes < 0 else self.decode_processes

    @property
    def most_listeners(self) -> int:
        """Clients that may listen at once. Each holds the place of a request, so half of these stay for others."""
        return min(self.max_listeners, self.max_requests // 2)

    @property
    def retry_after_s(self) -> int:
        """What a client that was turned away is told to wait, in seconds."""
        return max(1, round(self.request_timeout_s / 10))


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load_settings(**overrides: object) -> Settings:
    """Settings from the environment; an override that is not None wins.

    Raises:
        ConfigurationError: a value cannot work; the message names the variable.
    """
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(
            f"SKETCHSEEK_{name.upper()} cannot be used: {first['msg'].removeprefix('Value error, ')}"
        ) from None
