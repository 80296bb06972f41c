"""Batch norms folded into the convolutions before them: the same outputs within rounding, two passes over memory less.

In evaluation mode a batch norm is an affine map per channel, so it can be part of the convolution's weights (Jacob et
al., CVPR 2018, section 3.2), and the activation after it can be applied to what the convolution is about to write. A
folded network can no longer be trained or saved.
"""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model.layers.convolution import FusedConvolution


@torch.no_grad()
def fold_batch_norms(network: nn.Module) -> int:
    """Fold every batch norm that directly follows a convolution, in place.

    Args:
        network: in evaluation mode; submodules are called in the order in which they were registered, as in timm's
            EfficientNets. timm's `BatchNormAct2d` carries its activation, which joins the convolution.

    Returns:
        How many were folded.
    """
    folded = 0
    for parent in list(network.modules()):
        children = list(parent.named_children())
        for (conv_name, conv), (norm_name, norm) in itertools.pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                activation = getattr(norm, "act", nn.Identity())
                setattr(parent, conv_name, FusedConvolution(fuse_conv_bn_eval(conv, norm), activation))
                setattr(parent, norm_name, nn.Identity())
                folded += 1
    return folded
