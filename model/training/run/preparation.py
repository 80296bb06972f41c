"""Before the first step: images, names and old knowledge, the network with its starting weights, what stays as is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from model.backbones.timm_backbones import create_classifier
from model.checkpoints.files import TEXT_MAP, load_tensors, read_checkpoint
from model.config import NetworkConfig
from model.data.descriptions import bundled_descriptions, read_descriptions
from model.data.items import Dataset
from model.data.pairs import Pairs
from model.errors import ConfigurationError
from model.networks.encoder import HybridEncoder
from model.networks.network import Network
from model.networks.registry import build_network
from model.training.config import TrainConfig
from model.training.material.batches import BatchMaker, training_preprocess
from model.training.material.material import (
    Material,
    load_material,
    with_names,
    with_objects,
    with_own_photos,
    with_teacher,
)
from model.training.material.sentence_tokens import embed_sentences
from model.training.material.stored_views import Views
from model.training.material.teacher import semantics_of
from model.training.objectives.crossatnet import CrossAtNetObjective
from model.training.objectives.objective import ContrastiveObjective, Semantics, UpstreamObjective
from model.training.objectives.text_aligned import TextAlignedObjective

WHITENING = "whitening."  # how its tensors' names begin
FITTED = (WHITENING, TEXT_MAP)  # when training ends
Report = Callable[[dict[str, Any]], None]
Objective = ContrastiveObjective | UpstreamObjective
OBJECTIVES: dict[str, type[ContrastiveObjective]] = {
    "contrastive": ContrastiveObjective,
    "crossatnet": CrossAtNetObjective,
    "text-aligned": TextAlignedObjective,
}


def prepare_material(
    network_config: NetworkConfig,
    config: TrainConfig,
    train: Dataset,
    extra: Dataset | None,
    *,
    side: int,
    start: str | Path | None,
    cache: Path,
    device: torch.device,
    report: Report,
    descriptions: Path | None = None,
    pairs: Pairs | None = None,
    undrawn: Dataset | None = None,
) -> tuple[Material, Semantics]:
    """Decoded images with what the objective asks for besides: names' embeddings and the backbone's predictions.

    Args:
        network_config, config: say what is needed.
        train, extra: see `RunPlan`.
        side: of decoded images.
        start: weights of the backbone that teaches, as for `create_backbone`; None: it has nothing to teach.
        cache: folder of decoded images and names' embeddings.
        device: where batches are made.
        report: called with the progress of decoding and with what was left out.
        descriptions, pairs, undrawn: see `RunPlan`.
    """

    def progress(what: str, done: int, total: int) -> None:
        if done % 500 == 0 or done == total:
            report({"doing": what, "done": done, "total": total})

    preprocess = network_config.preprocess
    material = load_material(train, extra, preprocess, side=side, device=device, cache=cache, progress=progress)
    if material.skipped:
        report({"left_out": list(material.skipped)})
    if config.objective == "upstream":
        return material, Semantics()
    if config.draws_own:
        material = with_own_photos(material, pairs, undrawn, preprocess, side=side, cache=cache, progress=progress)
    names = cache / "names.safetensors"
    taught = bool(config.weights.distil) and start is not None
    if config.weights.text or config.weights.graph or (taught and material.extra is not None):
        material = with_names(material, names)
    if not taught or start is None:
        return material, with_sentences(Semantics(names=material.names), material, config, descriptions, cache)
    classifier = create_classifier(network_config.encoder, start)
    width = network_config.encoder.descriptor_size or network_config.encoder.width
    semantics = semantics_of(classifier, material.names, width)
    semantics = with_sentences(semantics, material, config, descriptions, cache)
    return with_objects(with_teacher(material, classifier, preprocess, names), classifier, preprocess), semantics


def with_sentences(
    semantics: Semantics, material: Material, config: TrainConfig, descriptions: Path | None, cache: Path
) -> Semantics:
    """The same with tokens of the sentences that describe the categories, where the configuration asks for them.

    Raises:
        DatasetError: a category has no sentences.
    """
    if not config.weights.sentences:
        return semantics
    known = bundled_descriptions()
    if descriptions is not None:
        known = known.joined(read_descriptions(descriptions))
    said = known.of(material.categories)
    tokens, mask = embed_sentences(material.categories, said, cache / "sentences.safetensors")
    return replace(semantics, sentences=tokens.to(material.device), sentence_mask=mask.to(material.device))


def start_network(
    network_config: NetworkConfig,
    config: TrainConfig,
    start: str | Path | None,
    initial: Path | None,
    semantics: Semantics,
) -> Network:
    """The network before the first step, with what stays as it is marked so.

    Args:
        network_config, config: of the run.
        start: weights of the backbone, as for `create_backbone`.
        initial: checkpoint to begin from instead.
        semantics: gives the start of the descriptor.
    """
    network = build_network(network_config, None if initial else start, seed=config.seed)
    if initial is not None:
        _, tensors = read_checkpoint(initial)
        # a whitening and a map of words are fitted when training ends; until then there are none
        own = {name: value for name, value in network.state_dict().items() if name.startswith(WHITENING)}
        kept = {name: value for name, value in tensors.items() if not name.startswith(FITTED)}
        load_tensors(network, {**kept, **own}, str(initial))
    elif semantics.projection is not None:
        network.start_from(semantics.projection)
    freeze(network, config)
    return network


def build_objective(network: Network, categories: int, config: TrainConfig, semantics: Semantics) -> Objective:
    """The objective that the configuration names; its heads depend on the seed alone."""
    if config.objective == "upstream":
        return UpstreamObjective(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return OBJECTIVES[config.objective](network, categories, config, semantics)


def freeze(network: Network, config: TrainConfig) -> None:
    """Stop the gradient of the backbones' first stages, and of whole backbones whose features are stored.

    Raises:
        ConfigurationError: the network is not made of what the configuration would freeze.
    """
    encoder = getattr(network, "encoder", None)
    if not isinstance(encoder, HybridEncoder):
        if config.frozen_stages or config.photo_views or config.sketch_views or config.image_size:
            raise ConfigurationError(
                "frozen_stages, photo_views, sketch_views and image_size need a network with a hybrid encoder"
            )
        return
    shared = encoder.sketch_backbone is None
    if shared and bool(config.photo_views) != bool(config.sketch_views):
        raise ConfigurationError("one backbone serves both modalities: store the views of both, or of none")
    for modality, stored in (("photo", config.photo_views), ("sketch", config.sketch_views)):
        backbone = encoder.backbone_of(modality)  # type: ignore[arg-type]
        stem = [backbone.conv_stem, backbone.bn1, *backbone.blocks[: max(0, config.frozen_stages - 1)]]
        for module in [backbone] if stored else stem if config.frozen_stages else []:
            module.requires_grad_(requires_grad=False)


def make_batches(
    network: Network, material: Material, network_config: NetworkConfig, config: TrainConfig, report: Report
) -> BatchMaker:
    """What makes the batch of each step, with stored features of the backbones that stay as they are."""
    wanted = {
        "photo_views": (material.photos, "photo", config.photo_views),
        "sketch_views": (material.sketches, "sketch", config.sketch_views),
        "extra_views": (material.extra, "sketch", config.sketch_views),
    }
    views = {}
    for name, (images, modality, count) in wanted.items():
        if images is None or not count:
            continue

        def progress(done: int, total: int, name: str = name) -> None:
            report({"doing": f"storing {name}", "done": done, "total": total})

        views[name] = Views(
            network,
            images.pixels,
            modality,  # type: ignore[arg-type]
            count,
            config=config,
            preprocess=training_preprocess(network_config.preprocess, config),
            progress=progress,
        )
    return BatchMaker(material, network_config.preprocess, config, **views)
