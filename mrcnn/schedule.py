"""How to train: which layers, how long, how fast, and when it is good enough."""

from dataclasses import dataclass

import numpy as np

from mrcnn.data import Dataset

_HEADS = r"mrcnn_.*|rpn_.*|fpn_.*"
STAGES = {
    "heads": _HEADS,
    "3+": rf"(res|bn)[345].*|{_HEADS}",
    "4+": rf"(res|bn)[45].*|{_HEADS}",
    "5+": rf"(res|bn)5.*|{_HEADS}",
    "all": r".*",
}


@dataclass(frozen=True, slots=True)
class Schedule:
    """Say how to train: which layers, how many steps, how fast.

    `optimizer` is sgd (Matterport's) or adam; `decay` lets the learning rate fall to 0 along a cosine.
    `own_objects` puts the true boxes among the regions: the heads learn before the proposals are good.
    """

    steps: int
    layers: str = "all"
    learning_rate: float = 0.001
    optimizer: str = "sgd"
    warmup: int = 0
    decay: bool = False
    own_objects: bool = False
    augment: bool = True
    mixed_precision: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.layers not in STAGES:
            raise ValueError(f"layers {self.layers!r}: one of {', '.join(STAGES)}")
        if self.optimizer not in ("sgd", "adam"):
            raise ValueError(f"optimizer {self.optimizer!r}: sgd or adam")

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        rate = self.learning_rate * min(1.0, (step + 1) / (self.warmup + 1))
        if self.decay:
            rate *= 0.5 * (1 + np.cos(np.pi * min(1.0, step / self.steps)))
        return float(rate)


@dataclass(frozen=True, slots=True)
class Validation:
    """Measure every `every` steps, and after the last, on the first `limit` pictures of `dataset`.

    Training ends early when `patience` measurements in a row were no better than the best, 0 = never.
    """

    dataset: Dataset
    every: int = 500
    patience: int = 0
    limit: int = 50

    def __post_init__(self) -> None:
        if self.every < 1 or self.patience < 0 or self.limit < 1:
            raise ValueError("measure every 1 or more steps, on 1 or more pictures; patience is 0 or more")
