"""timm backbones by name, with pretrained weights from a local file or the hub."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import model.backbones.torchvision_guard  # noqa: F401  (before timm, which imports torchvision)

# isort: split
import timm
import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from model.backbones.hub import from_hub, unavailable
from model.backbones.weight_files import load_backbone_weights, packaged_weights, read_weights
from model.config import EncoderConfig
from model.errors import CheckpointError, ConfigurationError

__all__ = ["Block", "create_backbone", "create_classifier", "imagenet_descriptions", "pretrained_settings"]


def create_backbone(config: EncoderConfig, image_size: int, weights: str | Path | None = None) -> nn.Module:
    """The timm model that a configuration names.

    Args:
        config: names the backbone and how it is used.
        image_size: side of the input in pixels; positions of a ViT are made for it.
        weights: None for random weights; "hub" for timm's pretrained ones (a local cache or the hub; HF_HUB_OFFLINE is
            honoured); "package" for those of an installed Python package; otherwise a file of weights in timm's naming
            (.safetensors or a pickle of tensors alone).

    Raises:
        ConfigurationError: timm has no such model, or the model does not suit `config.kind`.
        WeightsUnavailableError: the hub cannot be reached and nothing is cached.
        CheckpointError: the file is no set of weights for this model.
    """
    if weights == "package":
        plain = create_backbone(config, image_size)
        load_backbone_weights(plain, packaged_weights(config.backbone))
        return plain
    options: dict[str, Any] = {"num_classes": 0}
    if config.kind == "vit":
        options["img_size"] = image_size
        options["dynamic_img_size"] = False
        if config.norm_eps is not None:
            options["norm_layer"] = partial(nn.LayerNorm, eps=config.norm_eps)
    backbone: nn.Module = _create(config.backbone, weights, **options)
    _check_kind(backbone, config)
    return backbone


def create_classifier(config: EncoderConfig, weights: str | Path) -> nn.Module:
    """The backbone with the classifier it was pretrained with: images [B, 3, S, S] -> ImageNet-1k logits [B, 1000].

    Args:
        config: names the backbone.
        weights: "package", "hub" or a file, as for `create_backbone`.
    """
    if weights == "hub":
        pretrained: nn.Module = _create(config.backbone, weights)
        return pretrained.eval()
    classifier: nn.Module = timm.create_model(config.backbone)
    load_backbone_weights(classifier, packaged_weights(config.backbone) if weights == "package" else Path(weights))
    return classifier.eval()


def pretrained_settings(name: str) -> Any:
    """What timm knows of a model's pretraining: mean, std, input size, where its weights are.

    Raises:
        ConfigurationError: timm has no such model or pretrained tag.
    """
    try:
        return timm.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        raise ConfigurationError(
            f"timm has no model named {name!r}; `timm.list_models(pretrained=True)` lists them"
        ) from error


def token_layout(name: str, image_size: int) -> tuple[int, int]:
    """Token width and side of the patch grid of a timm vision transformer at an image size; nothing is allocated.

    Raises:
        ConfigurationError: timm has no such model, it is no vision transformer with a class token, or its patches do
            not divide the image.
    """
    pretrained_settings(name)
    with torch.device("meta"):
        backbone: Any = timm.create_model(name, num_classes=0)
    _check_class_token(backbone, name)
    patch = int(backbone.patch_embed.patch_size[0])
    if image_size % patch:
        raise ConfigurationError(f"{name!r} has patches of {patch} pixels, which do not divide {image_size} pixels")
    return int(backbone.embed_dim), image_size // patch


def _create(name: str, weights: str | Path | None, **options: Any) -> Any:
    """A timm model, with its pretrained weights from the hub, its cache or a file where asked for."""
    settings = pretrained_settings(name)
    if weights == "hub":
        weights = from_hub(name, settings)
    if weights not in (None, "hub"):
        # timm ignores missing entries unless the file's own classifier is built as well.
        classes = _classes_in(Path(str(weights)), settings)
        options |= {"num_classes": classes, "pretrained_cfg_overlay": {"file": str(weights), "num_classes": classes}}
    try:
        backbone: Any = timm.create_model(name, pretrained=weights is not None, **options)
    except TypeError as error:
        raise ConfigurationError(
            f"timm cannot build {name!r} with {', '.join(options)}: choose another encoder kind"
        ) from error
    except Exception as error:
        if weights is None:
            raise
        if weights == "hub":  # it answered a moment ago; downloading failed in one of many ways
            raise unavailable(name) from error
        raise CheckpointError(f"{weights} does not hold weights for the backbone {name!r}") from error
    if "pretrained_cfg_overlay" in options:
        backbone.reset_classifier(0)
    return backbone


def _classes_in(file: Path, settings: Any) -> int:
    """How many classes the classifier in a file of weights tells apart; 0 where there is none.

    Of a whole CLIP, timm takes the projection of the image tower as its classifier.
    """
    weights = read_weights(file)
    classifier, projection = weights.get(f"{settings.classifier}.weight"), weights.get("visual.proj")
    if projection is not None:
        return projection.shape[1]
    return 0 if classifier is None else len(classifier)


def _check_class_token(backbone: Any, name: str) -> None:
    if not isinstance(backbone, VisionTransformer) or backbone.cls_token is None:
        raise ConfigurationError(
            f"{name!r} is no vision transformer with a class token: choose one, for example 'vit_small_patch16_224', "
            "or an EfficientNet with encoder kind 'hybrid'"
        )


def _check_kind(backbone: Any, config: EncoderConfig) -> None:
    if config.kind == "vit":
        _check_class_token(backbone, config.backbone)
        if backbone.embed_dim != config.width:
            raise ConfigurationError(f"{config.backbone!r} has width {backbone.embed_dim}, not {config.width}")
        grid = tuple(int(side) for side in backbone.patch_embed.grid_size)
        if grid != (config.grid, config.grid):
            raise ConfigurationError(f"{config.backbone!r} has a grid of {grid}, not {config.grid} x {config.grid}")
    elif not hasattr(backbone, "forward_intermediates") or not hasattr(backbone, "conv_head"):
        raise ConfigurationError(f"{config.backbone!r} is no convolutional network of the EfficientNet family")


def imagenet_descriptions() -> list[str]:
    """Descriptions of the 1000 ImageNet-1k classes, in their order."""
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo()
    return [str(info.index_to_description(number)) for number in range(1000)]
