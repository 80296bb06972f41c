"""Random numbers for a batch, one per image, from one torch.Generator: the same on every device."""

from __future__ import annotations

import torch
from torch import Tensor


class Draws:
    """Draws random numbers for a batch of B images.

    Numbers are drawn on the generator's own device and then moved, so a CPU generator gives the same augmentation on
    the CPU and on a GPU, up to rounding.
    """

    def __init__(self, batch: int, generator: torch.Generator, device: torch.device) -> None:
        self.batch = batch
        self.generator = generator
        self.device = device

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """[B, *shape] float32, uniform in [low, high)."""
        drawn = torch.rand((self.batch, *shape), generator=self.generator, device=self.generator.device)
        return drawn.mul_(high - low).add_(low).to(self.device)

    def normal(self, *shape: int) -> Tensor:
        """[B, *shape] float32, standard normal."""
        drawn = torch.randn((self.batch, *shape), generator=self.generator, device=self.generator.device)
        return drawn.to(self.device)

    def chance(self, probability: float, *shape: int) -> Tensor:
        """[B, *shape] bool, True with `probability`."""
        return self.uniform(0.0, 1.0, *shape) < probability

    def log_uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """[B, *shape] float32 in [low, high), uniform in the logarithm; both bounds positive."""
        bounds = torch.tensor([low, high]).log()
        return self.uniform(float(bounds[0]), float(bounds[1]), *shape).exp()

    def choice(self, count: int) -> Tensor:
        """[B] int64, uniform in 0 ... count - 1."""
        return self.uniform(0.0, float(count)).long().clamp_(max=count - 1)
