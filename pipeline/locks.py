"""Objects that members keep as they are: which are kept at a picture, and what that means for the next one.

A wish to keep an object, or to keep it no longer, stands at the step in whose picture it was expressed and
holds for all that is made from that picture. Later pictures are segmented anew, so a kept object is known
again by its label and place. What a step then leaves untouched is written down with its objects (`locked`):
it goes on and is replayed with that, whatever members wish meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from pipeline import masks
from pipeline.domain import Mask, SceneObject

SAME = 0.5  # intersection over union from which two masks of one label are taken for one object
LEFT = 0.25  # an object of which less than this share lies outside what is kept is part of it


def kept_after(wishes: Iterable[SceneObject]) -> tuple[SceneObject, ...]:
    """Return what is kept after these wishes, the oldest picture's first; a later one overrules."""
    kept: list[SceneObject] = []
    for item in wishes:
        kept = [one for one in kept if not same(one, item)]
        if item.kept:
            kept.append(item)
    return tuple(kept)


def lock(objects: Sequence[SceneObject], kept: Sequence[SceneObject]) -> tuple[SceneObject, ...]:
    """Put what is kept among the objects of a picture, in place of what was found of it, numbers unchanged.

    A kept object has the mask that it was kept with, so that it cannot drift from picture to picture. One
    that was not found again comes last: it is in the picture all the same. What lies nearly whole within
    the kept ones is a part of them, whatever its label.
    """
    waiting = [replace(item, repaint=False, painted=False, locked=True, kept=None) for item in kept]
    protect = protected(waiting)
    if protect is None:
        return tuple(objects)
    result: list[SceneObject] = []
    for item in objects:
        match = max(
            (one for one in waiting if same(one, item)), key=lambda one: overlap(one, item), default=None
        )
        if match is not None:
            waiting.remove(match)
            result.append(replace(match, number=item.number))
        else:
            result.append(replace(item, locked=share_outside(item, protect) < LEFT))
    result += [replace(item, number=len(result) + extra) for extra, item in enumerate(waiting, start=1)]
    return tuple(result)


def protected(objects: Iterable[SceneObject]) -> Mask | None:
    """Return the pixels that locked objects keep, bool [H, W], None if nothing is locked.

    A detector's mask ends a little inside its object: the rim that a repaint would take is kept too.
    """
    kept = [masks.grown(item.detection.mask, item.params.grow) for item in objects if item.locked]
    return np.logical_or.reduce(kept) if kept else None


def same(one: SceneObject, other: SceneObject) -> bool:
    """Tell whether objects of two pictures are one: the label, and where it is."""
    return one.detection.label == other.detection.label and overlap(one, other) >= SAME


def overlap(one: SceneObject, other: SceneObject) -> float:
    """Return the intersection over union of two objects' masks."""
    first, second = one.detection.mask, other.detection.mask
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 0.0


def share_outside(item: SceneObject, protect: Mask) -> float:
    """Return the share of an object's mask that is not protected."""
    mask = item.detection.mask
    return np.count_nonzero(mask & ~protect) / max(1, np.count_nonzero(mask))
