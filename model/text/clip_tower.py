"""CLIP's text tower (Radford et al., ICML 2021, "Learning transferable visual models from natural language
supervision"): from the pieces of a text to its embedding, in torch's own layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import TextTowerConfig
from model.errors import CheckpointError

_HEAD = 64  # values of a head, in every CLIP
_NAMES = {
    "attn.in_proj_": "self_attn.in_proj_",
    "attn.out_proj.": "self_attn.out_proj.",
    "ln_1.": "norm1.",
    "ln_2.": "norm2.",
    "mlp.c_fc.": "linear1.",
    "mlp.c_proj.": "linear2.",
}
_LAYER = "transformer.resblocks."


def quick_gelu(values: Tensor) -> Tensor:
    """The approximation of GELU that OpenAI's CLIP was trained with."""
    return values * torch.sigmoid(1.702 * values)


class ClipTower(nn.Module):
    """The tower; it is never trained here.

    Args:
        config: what it is made of.
    """

    def __init__(self, config: TextTowerConfig) -> None:
        super().__init__()
        width, activation = config.width, quick_gelu if config.quick_gelu else F.gelu
        self.config = config
        self.words = nn.Embedding(config.vocabulary, width)
        self.places = nn.Parameter(torch.zeros(config.context, width))
        layers = [_layer(width, activation) for _ in range(config.depth)]
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Parameter(torch.zeros(width, config.embedding))
        self.requires_grad_(requires_grad=False)

    def forward(self, pieces: Tensor) -> Tensor:
        """[N] int64, at most the context's length, the last of which ends the text -> [T] float32, L2-normalised."""
        hidden = (self.words(pieces) + self.places[: len(pieces)])[None]
        mask = nn.Transformer.generate_square_subsequent_mask(len(pieces), device=hidden.device, dtype=hidden.dtype)
        for layer in self.layers:
            hidden = layer(hidden, src_mask=mask)
        return F.normalize(self.norm(hidden[0, -1]) @ self.projection, dim=0)


def tower_from(weights: Mapping[str, Tensor], *, quick: bool) -> ClipTower | None:
    """The text tower among the weights of a CLIP, under the names that OpenAI's and open_clip's files use.

    Args:
        weights: of a whole CLIP, or of its image tower alone.
        quick: whether it was trained with `quick_gelu`.

    Returns:
        None where there is no text tower.

    Raises:
        CheckpointError: parts of it are missing or do not fit each other.
    """
    own = {name.removeprefix("text."): value for name, value in weights.items() if not name.startswith("visual.")}
    if "token_embedding.weight" not in own:
        return None
    try:
        vocabulary, width = own["token_embedding.weight"].shape
        depth = 1 + max(int(name.split(".")[2]) for name in own if name.startswith(_LAYER))
        context, embedding = own["positional_embedding"].shape[0], own["text_projection"].shape[1]
        tower = ClipTower(TextTowerConfig(vocabulary, context, width, depth, embedding, quick))
        renamed = {
            "words.weight": own["token_embedding.weight"],
            "places": own["positional_embedding"],
            "norm.weight": own["ln_final.weight"],
            "norm.bias": own["ln_final.bias"],
            "projection": own["text_projection"],
            **{_renamed(name): value for name, value in own.items() if name.startswith(_LAYER)},
        }
        tower.load_state_dict({name: value.float() for name, value in renamed.items()})
    except (KeyError, ValueError, RuntimeError, IndexError) as error:
        raise CheckpointError("the file's text tower is not that of a CLIP; give a file of one of timm's") from error
    return tower.eval()


def _layer(width: int, activation: Callable[[Tensor], Tensor]) -> nn.TransformerEncoderLayer:
    heads, hidden = width // _HEAD, 4 * width
    return nn.TransformerEncoderLayer(width, heads, hidden, 0.0, activation, batch_first=True, norm_first=True)


def _renamed(name: str) -> str:
    number, _, rest = name.removeprefix(_LAYER).partition(".")
    for theirs, ours in _NAMES.items():
        if rest.startswith(theirs):
            return f"layers.{number}.{ours}{rest.removeprefix(theirs)}"
    raise KeyError(name)
