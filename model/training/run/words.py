"""The words of a run: its text tower, which is found before the first step, and the map that is fitted at its end."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.checkpoints.files import TEXT_MAP, read_checkpoint
from model.data.arrays import ImageArrays
from model.data.items import Modality
from model.errors import CheckpointError, ConfigurationError, MissingExtraError
from model.networks.network import Network
from model.networks.registry import ARCHITECTURES
from model.text.clip_tower import ClipTower
from model.training.material.clip_text import clip_tower, is_clip
from model.training.material.material import Material
from model.training.material.name_embeddings import embed_phrases
from model.training.run.fit_text_map import fit_text_map

_TOWER = f"{TEXT_MAP}tower."


@dataclass(frozen=True)
class Words:
    """What will read the texts of a run's checkpoint.

    Attributes:
        tower: a text tower of its own; None: the sentence encoder reads them.
        because: why there is no tower although the backbone is one of CLIP's; "" otherwise.
    """

    tower: ClipTower | None = None
    because: str = ""

    @property
    def expected(self) -> bool:
        """Whether the checkpoint is to be searched by text, whatever the recipe reads."""
        return self.tower is not None or bool(self.because)


def find_words(backbone: str, start: str | Path | None, initial: Path | None) -> Words:
    """The text tower of the checkpoint that a run begins from, or else the one that belongs to the backbone.

    Args:
        backbone: timm's name, with its tag.
        start, initial: see `RunPlan`.

    Raises:
        CheckpointError: a file with a text tower is damaged.
    """
    tower = None if initial is None else _kept_tower(initial)
    if tower is not None or not is_clip(backbone):
        return Words(tower)
    try:
        tower = clip_tower(backbone, start)
    except ConfigurationError as error:
        return Words(because=str(error))
    if tower is not None:
        return Words(tower)
    if start == "hub":
        return Words(because=f"a file of the whole {backbone!r} is neither here nor on the model hub")
    if start in (None, "package"):
        return Words(because="the run starts from no file of a whole CLIP")
    return Words(because=f"{start} holds the image tower alone")


def fit_words(network: Network, material: Material, words: Words, seed: int) -> dict[str, Any]:
    """Give the network a map of words, if what embeds the names is installed. Returns what to report."""
    try:
        names = embed_phrases(material.categories, words.tower)
    except MissingExtraError as error:
        return {"text_map": False, "because": str(error)}
    sources: list[tuple[ImageArrays | None, Modality]] = [
        (material.photos, "photo"),
        (material.sketches, "sketch"),
        (material.extra, "sketch"),
    ]
    if fit_text_map(network, sources, names, seed, tower=words.tower):
        return {"text_map": True}
    return {"text_map": False, "because": "this network has no descriptors that a map of words could lead to"}


def _kept_tower(checkpoint: Path) -> ClipTower | None:
    metadata, tensors = read_checkpoint(checkpoint)
    own = {name.removeprefix(_TOWER): value for name, value in tensors.items() if name.startswith(_TOWER)}
    if not own:
        return None
    try:
        config = ARCHITECTURES[metadata["architecture"]].from_json(json.loads(metadata["config"]))
        made_of = config.encoder.text_tower
        if made_of is None:
            raise ValueError("its configuration knows of no text tower")
        tower = ClipTower(made_of)
        tower.load_state_dict({name: value.float() for name, value in own.items()})
    except (KeyError, ValueError, RuntimeError, ConfigurationError) as error:
        raise CheckpointError(
            f"the text tower in {checkpoint} does not fit its configuration; train it again"
        ) from error
    return tower.eval()
