"""What results are ordered by, and whether queries are expanded: rules that a checkpoint chooses on validation
categories and keeps in its configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from model.errors import ConfigurationError
from model.stored_numbers import Count, Finite, NotNegative, Positive, Share

QueryKind = Literal["sketch", "sketch_and_more", "text", "photo"]
"""What searches: a sketch alone; a sketch beside words or photos; words without a sketch; photos alone."""


@dataclass(frozen=True)
class ExpansionRule:
    """How the recall stage widens a query by its own first hits (`model/ranking/expansion.py`).

    Attributes:
        neighbours: first hits that are read; 0 searches once, with the sketch's descriptor alone.
        weight: of their mean direction beside the sketch's.
    """

    neighbours: Count = 0
    weight: Finite = 1.0

    def __post_init__(self) -> None:
        if self.neighbours < 0 or self.weight < 0:
            raise ConfigurationError(f"query expansion needs neighbours and a weight of at least 0, not {self}")


@dataclass(frozen=True)
class Standard:
    """What is usual among a query's candidates, on validation categories; scores are standardised with it
    (`model/ranking/score.py`).

    Attributes:
        logit_mean, logit_deviation: of relation logits.
        recall_mean, recall_deviation: of recall scores.
        count: how many candidates these weigh as much as, beside a query's own.
    """

    logit_mean: Finite = 0.0
    logit_deviation: NotNegative = 0.0
    recall_mean: Finite = 0.0
    recall_deviation: NotNegative = 0.0
    count: Positive = 5.0

    @property
    def used(self) -> bool:
        """Whether scores are standardised at all; earlier checkpoints' are not."""
        return self.logit_deviation > 0 and self.recall_deviation > 0


@dataclass(frozen=True)
class ContextRule:
    """How a query's candidates change each other's scores (`model/ranking/context.py`).

    Attributes:
        neighbours: candidates that look most like a photo, towards whose scores its own moves; 0 leaves scores alone.
        carried: how much of a score comes from the neighbours in one round.
        own: share of the score as it was in the result.
        place: among the results, from 2 on, that is kept for the best photo without query expansion; 0 keeps none.
        relation_share: of the relation logit in what that photo is chosen by; the rest is the recall score without
            expansion. Both are standardised.
    """

    neighbours: Count = 0
    carried: Share = 0.9
    own: Share = 0.5
    place: Count = 0
    relation_share: Share = 0.5

    @property
    def used(self) -> bool:
        """Whether it changes any score."""
        return bool(self.neighbours or self.place)

    def __post_init__(self) -> None:
        if self.place == 1:
            raise ConfigurationError("the first place belongs to the best score; keep another one, or 0 for none")


@dataclass(frozen=True)
class ScoreRule:
    """What results are ordered by: sigmoid(relation_weight * logit + recall_weight * cosine + bias).

    The default is the relation score itself. A fusion is calibrated on validation categories, never on test categories,
    and stored with the checkpoint, and so is whether the recall stage expands queries. The cosine is the recall score
    of the descriptor that searched last: less where a photo's descriptor is shorter than 1
    (`model/layers/familiarity.py`).

    Attributes:
        relation_weight, recall_weight, bias: as above.
        expansion: of queries in the recall stage.
        standard: where it is used, logit and cosine are first standardised within a query's candidates.
        level: then weighs how near the candidates are on the whole, so that a query that nothing resembles scores low.
        context: how the candidates' scores then change each other. Only with a relation.
    """

    relation_weight: Finite = 1.0
    recall_weight: Finite = 0.0
    bias: Finite = 0.0
    expansion: ExpansionRule = field(default_factory=ExpansionRule)
    standard: Standard = field(default_factory=Standard)
    level: Finite = 0.0
    context: ContextRule = field(default_factory=ContextRule)

    @property
    def keeps_recall_order(self) -> bool:
        """Whether relating changes no order, so that it only explains."""
        return not self.relation_weight and self.recall_weight > 0


@dataclass(frozen=True)
class KindRules:
    """Rules for queries that are more than a sketch, or none. Each was chosen on validation categories.

    Attributes:
        sketch_and_more: for a sketch beside words or photos; None takes the rule for a sketch alone.
        text, photo: for words, perhaps with photos, and for photos alone. Nothing is related then, so they weigh the
            recall score alone. None leaves the recall score as it is.
    """

    sketch_and_more: ScoreRule | None = None
    text: ScoreRule | None = None
    photo: ScoreRule | None = None

    def __post_init__(self) -> None:
        if any(rule is not None and not rule.keeps_recall_order for rule in (self.text, self.photo)):
            raise ConfigurationError("words and photos relate nothing, so their rules must keep the order of recall")


@dataclass(frozen=True)
class LikelyRule:
    """How likely a result is right: sigmoid(weight * shared + bias), of what the query and the photo share
    with the first results (`model/ranking/likely.py`). Unlike a score, it is not standardised among the candidates.

    Attributes:
        weight, bias: as above, calibrated on validation categories in galleries of many kinds.
    """

    weight: Positive
    bias: Finite


@dataclass(frozen=True)
class LikelyRules:
    """Which results are likely, for each kind of query; None where nothing was calibrated."""

    sketch: LikelyRule | None = None
    sketch_and_more: LikelyRule | None = None
    text: LikelyRule | None = None
    photo: LikelyRule | None = None

    def of(self, kind: QueryKind) -> LikelyRule | None:
        """The rule for one kind of query."""
        rule: LikelyRule | None = getattr(self, kind)
        return rule
