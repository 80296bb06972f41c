"""How candidates are found: what a user chooses, checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from model.errors import ConfigurationError

Kind = Literal["flat", "ivf", "hash", "milvus"]
Choice = Literal["auto", Kind]
CodeSource = Literal["auto", "learnt", "itq"]
Device = Literal["auto", "cpu", "gpu"]
TRAINING_PER_LIST = 40


@dataclass(frozen=True)
class RecallSettings:
    """How candidates are found.

    Attributes:
        kind: "flat" is exact, in half precision; "ivf" looks at the nearest lists only; "hash" compares short codes
            and scores a shortlist exactly (`index_builder/index/hash_codes.py`); "milvus" asks a server
            (`index_builder/index/milvus_index.py`); "auto" takes flat below `ivf_from` photos and IVF from there.
        ivf_from: photos from which "auto" takes IVF.
        probes: share of the lists that IVF looks at, in (0, 1].
        threads: OpenMP threads of one search. On a busy machine, more than one costs far more than it gains.
        device: "auto" searches where the network computes, if that is a GPU that this FAISS can use. "gpu" searches on
            all visible GPUs and raises where there is none. With both, the CPU answers what the GPUs cannot.
        network_device: where the network computes, which "auto" follows.
        spread: over several GPUs. "replicate" puts a copy on each, and searches take turns among these. "shard" puts a
            part on each. "auto" puts copies where they fit, and parts if none does. Hash codes lie on one GPU only.
        scratch_bytes: memory of each GPU that all searches share.
        hash_bits: length of codes that are fitted to the gallery, a multiple of 8. Learnt codes have their own length.
        hash_source: "learnt" for the checkpoint's codes, "itq" for codes fitted to the gallery, "auto" for learnt ones
            if the checkpoint has them.
        shortlist: how many photos with the nearest codes are scored by exact descriptors, at least as many as are
            asked for; 0 goes by the codes alone.
        server_url, server_token: of Milvus. The token is in no text of these settings.
        server_index: Milvus's own index. "flat" is exact, "hnsw" a graph, "ivf" lists; "auto" takes flat below 50 000
            photos and HNSW from there.
        cache: folder for indices of galleries in buckets, as of `recall_cache.recall_folder`.
    """

    kind: Choice = "auto"
    ivf_from: int = 3_000_000
    probes: float = 0.02
    threads: int = 1
    device: Device = "auto"
    network_device: str = "cuda"
    spread: Literal["auto", "replicate", "shard"] = "auto"
    scratch_bytes: int = 64_000_000
    hash_bits: int = 256
    hash_source: CodeSource = "auto"
    shortlist: int = 1000
    server_url: str | None = field(default=None, repr=False)
    server_token: str | None = field(default=None, repr=False)
    server_index: Literal["auto", "flat", "hnsw", "ivf"] = "auto"
    cache: Path | None = None

    def __post_init__(self) -> None:
        if self.threads < 1 or self.ivf_from < 1 or not 0 < self.probes <= 1 or self.scratch_bytes < 1:
            raise ConfigurationError(
                f"recall needs threads, ivf_from and scratch_bytes of at least 1, and probes in (0, 1]; got {self}"
            )
        if self.hash_bits < 8 or self.hash_bits % 8 or self.shortlist < 0:
            raise ConfigurationError(
                f"recall by hash codes needs hash_bits in whole bytes and a shortlist of 0 or more; got {self}"
            )

    def kind_for(self, photos: int) -> Kind:
        """The kind for a gallery of this size. One that is too small to train IVF or codes on is searched flat."""
        if self.kind == "milvus":
            return "milvus"
        if photos < TRAINING_PER_LIST:
            return "flat"
        if self.kind == "auto":
            return "ivf" if photos >= self.ivf_from else "flat"
        return self.kind


def settings_from_words(kind: str, hash_bits: int, hash_source: str) -> RecallSettings:
    """Settings from what a user typed.

    Raises:
        ConfigurationError: an unknown word.
    """
    for name, word, words in (("recall", kind, get_args(Choice)), ("hash-source", hash_source, get_args(CodeSource))):
        if word not in words:
            raise ConfigurationError(f"--{name} is one of {', '.join(words)}, not {word!r}")
    return RecallSettings(kind=kind, hash_bits=hash_bits, hash_source=hash_source)  # type: ignore[arg-type]
