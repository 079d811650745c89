"""Labelled pictures for training: what a data set is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


class DatasetError(ValueError):
    """A data set cannot be used; the message lists what is wrong and where, `problems` all of it."""

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Example:
    """A picture with its objects.

    `image` uint8 RGB [H, W, 3]; `masks` bool [N, H, W]; `class_ids` int32 [N] from 1, negative for a crowd.
    """

    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    class_ids: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Any number of examples, made when asked for; `classes` are named without the background.

    `warnings` tell what was done about annotations that are odd and yet can be used.
    """

    name: str
    classes: tuple[str, ...]
    size: int
    load: Callable[[int], Example]
    warnings: tuple[str, ...] = ()


def with_classes(dataset: Dataset, classes: Sequence[str], *, absent: bool = False) -> Dataset:
    """Return the data set with these classes only, numbered in this order; other objects are left out.

    A class that the data set does not have raises DatasetError, unless `absent` ones are welcome.
    """
    unknown = [c for c in classes if c not in dataset.classes]
    if unknown and not absent:
        raise DatasetError(
            f"{dataset.name} has no class {', '.join(unknown)}; it has {', '.join(dataset.classes)}"
        )
    number = np.zeros(len(dataset.classes) + 1, np.int32)
    for i, name in enumerate(classes, start=1):
        if name in dataset.classes:
            number[dataset.classes.index(name) + 1] = i
    left_out = [c for c in dataset.classes if c not in classes]
    said = (f"objects of {', '.join(left_out)} are left out",) if left_out else ()

    def load(index: int) -> Example:
        example = dataset.load(index)
        ids = np.sign(example.class_ids) * number[np.abs(example.class_ids)]
        keep = ids != 0
        return Example(example.image, example.masks[keep], ids[keep])

    return Dataset(dataset.name, tuple(classes), dataset.size, load, dataset.warnings + said)


def together(datasets: Sequence[Dataset]) -> Dataset:
    """Return the data sets as one, in turns; their classes must agree."""
    first = datasets[0]
    for other in datasets[1:]:
        if other.classes != first.classes:
            raise DatasetError(
                f"{other.name} has the classes {', '.join(other.classes)}; {first.name} has "
                f"{', '.join(first.classes)}: choose common ones with --classes"
            )
    if len(datasets) == 1:
        return first

    def load(index: int) -> Example:
        turn, which = divmod(index, len(datasets))
        return datasets[which].load(turn % datasets[which].size)

    name = " + ".join(d.name for d in datasets)
    warnings = tuple(f"{d.name}: {warning}" for d in datasets for warning in d.warnings)
    return Dataset(name, first.classes, len(datasets) * max(d.size for d in datasets), load, warnings)
