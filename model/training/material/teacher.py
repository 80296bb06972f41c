"""Old knowledge: what the starting backbone says of the images, as soft targets (SAKE, Liu et al., ICCV 2019).

A photo's target is the backbone's own ImageNet prediction; a sketch's is the mean over the photos of its category,
since the backbone does not know sketches. For a category without photos, ImageNet classes are weighted by how near
their names are to its own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.config import PreprocessConfig
from model.data.augment import plain
from model.training.objectives.objective import Semantics


@torch.inference_mode()
def predictions(classifier: nn.Module, pixels: Tensor, config: PreprocessConfig, device: torch.device) -> Tensor:
    """The backbone's class probabilities: pixels [N, 3, H, W] uint8 -> [N, K] float32 on `device`."""
    classifier = classifier.to(device)
    parts = []
    for part in torch.split(pixels, 128):
        images = plain(part.to(device), config).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=torch.bfloat16):  # exact enough for targets
            logits = classifier(images)
        parts.append(logits.float().softmax(dim=1))
    return torch.cat(parts)


@torch.inference_mode()
def object_maps(
    classifier: nn.Module, pixels: Tensor, config: PreprocessConfig, device: torch.device, classes: int = 3
) -> Tensor | None:
    """Where the backbone sees what it takes for the likeliest classes (Zhou et al., CVPR 2016, "Learning deep features
    for discriminative localization": class activation maps).

    Args:
        classifier: a timm model whose head is a mean over cells and one linear layer.
        pixels: [N, 3, H, W] uint8.
        config: of its input.
        device: where it runs.
        classes: likeliest classes that are read, each in proportion to its probability.

    Returns:
        [N, G, G] float32 on `device` from 0 to 1, which the cell that shows most has; None where the model has another
        kind of head.
    """
    classifier = classifier.to(device)
    head = classifier.get_classifier()  # type: ignore[operator]
    if not isinstance(head, nn.Linear):
        return None
    parts = []
    for part in torch.split(pixels, 128):
        images = plain(part.to(device), config).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            features = classifier.forward_features(images)  # type: ignore[operator]
            probabilities = classifier.forward_head(features).float().softmax(dim=1)  # type: ignore[operator]
        if features.ndim != 4 or features.shape[1] != head.in_features:
            return None
        best = probabilities.topk(min(classes, head.out_features), dim=1)
        weight = torch.einsum("nk,nkf->nf", best.values, head.weight.float()[best.indices])
        shown = torch.einsum("nf,nfhw->nhw", weight, features.float()).clamp_min(0)
        parts.append(shown / shown.amax(dim=(1, 2), keepdim=True).clamp_min(1e-6))
    return torch.cat(parts)


def category_means(probabilities: Tensor, labels: Tensor, categories: int) -> tuple[Tensor, Tensor]:
    """Mean target per category.

    Args:
        probabilities: [N, K].
        labels: [N] int64 below `categories`.
        categories: C.

    Returns:
        [C, K], zero where a category has no photo, and [C] bool, True where it has one.
    """
    sums = probabilities.new_zeros(categories, probabilities.shape[1]).index_add_(0, labels, probabilities)
    count = torch.bincount(labels, minlength=categories)
    return sums / count.clamp_min(1)[:, None], count > 0


def targets_from_names(names: Tensor, class_names: Tensor, sharpness: float = 20.0) -> Tensor:
    """ImageNet classes weighted by the cosine of names: [C, T] and [K, T] of unit rows -> [C, K] probabilities."""
    return (sharpness * names @ class_names.T).softmax(dim=1)


def leading_directions(weight: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The directions of feature space that a linear classifier reads most.

    Args:
        weight: [K, F], the classifier's.
        width: E, how many directions to keep.

    Returns:
        projection [E, F], orthonormal rows, and classifier [K, E]; classifier @ projection approximates weight.
    """
    _, _, rows = torch.linalg.svd(weight.float() - weight.float().mean(dim=0), full_matrices=False)
    projection = rows[:width]
    return projection, weight.float() @ projection.T


def semantics_of(classifier: nn.Module, names: Tensor | None, width: int) -> Semantics:
    """A start for the descriptor and for the head that repeats the backbone's predictions.

    Args:
        classifier: a timm model with its pretrained classifier.
        names: [C, T] embeddings of the categories' names, or None.
        width: E, of the descriptor.
    """
    weight: Tensor = classifier.get_classifier().weight.detach()  # type: ignore[operator]
    projection, reduced = leading_directions(weight, width)
    reduced = reduced / reduced.norm(dim=1).mean()
    return Semantics(names=names, classes=weight.shape[0], projection=projection, classifier=reduced)
