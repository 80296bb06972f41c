"""timm backbones by name, with pretrained weights from a local file or the hub."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import model.torchvision_guard  # noqa: F401  (before timm, which imports torchvision)

# isort: split
import timm
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from model.config import EncoderConfig
from model.errors import CheckpointError, ConfigurationError, WeightsUnavailableError
from model.pretrained import load_backbone_weights, packaged_weights

__all__ = ["Block", "create_backbone", "create_classifier", "imagenet_descriptions"]


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
        if config.norm_eps is not None:
            options["norm_layer"] = partial(nn.LayerNorm, eps=config.norm_eps)
    if isinstance(weights, (str, Path)) and weights != "hub":
        options["pretrained_cfg_overlay"] = {"file": str(weights)}
    try:
        backbone: nn.Module = timm.create_model(config.backbone, pretrained=weights is not None, **options)
    except Exception as error:
        raise _explained(error, config.backbone, weights) from error
    _check_kind(backbone, config)
    return backbone


def create_classifier(config: EncoderConfig, weights: str | Path) -> nn.Module:
    """The backbone with the classifier it was pretrained with: images [B, 3, S, S] -> ImageNet-1k logits [B, 1000].

    Args:
        config: names the backbone.
        weights: "package", "hub" or a file, as for `create_backbone`.
    """
    if weights == "hub":
        try:
            pretrained: nn.Module = timm.create_model(config.backbone, pretrained=True)
        except Exception as error:
            raise _explained(error, config.backbone, weights) from error
        return pretrained.eval()
    classifier: nn.Module = timm.create_model(config.backbone)
    load_backbone_weights(classifier, packaged_weights(config.backbone) if weights == "package" else Path(weights))
    return classifier.eval()


def _explained(error: Exception, name: str, weights: str | Path | None) -> Exception:
    if not timm.is_model(name.partition(".")[0]):
        return ConfigurationError(f"timm has no model named {name!r}; `timm.list_models()` lists them")
    if weights is None:
        return error
    if weights == "hub":
        return WeightsUnavailableError(
            f"the pretrained weights of {name!r} are not on this machine and the model hub could not be reached; "
            "download them where there is a network and pass the file instead"
        )
    return CheckpointError(f"{weights} does not hold weights for the backbone {name!r}")


def _check_kind(backbone: Any, config: EncoderConfig) -> None:
    if config.kind == "vit":
        if not isinstance(backbone, VisionTransformer) or not backbone.num_prefix_tokens:
            raise ConfigurationError(
                f"{config.backbone!r} is no vision transformer with a class token; use kind 'hybrid'"
            )
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
