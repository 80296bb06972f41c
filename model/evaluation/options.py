"""What an evaluation measures."""

from __future__ import annotations

from dataclasses import dataclass

from model.errors import ConfigurationError

ARMS = ("recall", "relation", "two_stage", "fused")


@dataclass(frozen=True)
class EvaluationOptions:
    """What is measured.

    Attributes:
        arms: some of `ARMS`. "fused" fuses over all photos and, where "two_stage" is asked for too, within candidates;
            the latter is measured with "two_stage" alone too where the checkpoint has a rule of its own, since it is
            what a search does.
        candidates: depths k of the two-stage arms.
        expansion: expand queries as the checkpoint declares; otherwise search once, with the sketch's descriptor alone.
        context: let the candidates' scores heed each other as the checkpoint declares; otherwise each counts alone.
        max_sketches: measure with a balanced sample of so many sketches; 0 takes all.
        seed: of that sample.
        batch_size: images encoded at once.
        with_text: move each sketch's descriptor towards the name of its category, as a person who draws and types.
        text_weight: of the name beside the sketch.
        strict: an image that cannot be used is an error; otherwise it is left out, counted and named.
    """

    arms: tuple[str, ...] = ARMS
    candidates: tuple[int, ...] = (25, 50, 100, 200)
    expansion: bool = True
    context: bool = True
    max_sketches: int = 0
    seed: int = 0
    batch_size: int = 64
    with_text: bool = False
    text_weight: float = 1.0
    strict: bool = False

    def __post_init__(self) -> None:
        unknown = [arm for arm in self.arms if arm not in ARMS]
        if unknown or not self.arms:
            raise ConfigurationError(f"unknown arm {', '.join(unknown) or '(none)'}; choose from {', '.join(ARMS)}")
        if not self.candidates or min(self.candidates) < 1 or len(set(self.candidates)) < len(self.candidates):
            raise ConfigurationError("candidates must be different positive numbers, such as 25,50,100,200")
        if not 0 <= self.text_weight <= 10:
            raise ConfigurationError(f"text-weight must be from 0 to 10, not {self.text_weight}")
        if self.max_sketches < 0 or self.batch_size < 1:
            raise ConfigurationError("max-sketches must be 0 or more and batch-size at least 1")
        if not 0 <= self.seed < 2**63:
            raise ConfigurationError("seed must be from 0 to 9223372036854775807 (2 to the power of 63, less 1)")
