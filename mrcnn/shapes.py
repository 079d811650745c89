"""Drawn pictures of squares, circles and triangles: a data set that needs no files and trains in minutes."""

import numpy as np
from numpy.typing import NDArray

from mrcnn import boxes
from mrcnn.data import Dataset, Example

CLASSES = ("square", "circle", "triangle")
_EDGE = 20  # centres stay this far from the border, and no shape is smaller in any direction


def draw(seed: int, side: int = 128) -> Example:
    """Draw one to four shapes of plain colours on a plain ground: [side, side, 3], from `seed` alone.

    Later shapes cover earlier ones, and masks are of what is seen. Where boxes overlap by more than an IoU of
    0.3 the earlier shape stays away. What sticks out of the picture is cut off.
    """
    rng = np.random.default_rng([seed, 128])
    ground, count = rng.integers(0, 256, 3), int(rng.integers(1, 5))
    kinds = rng.integers(1, 4, count).astype(np.int32)
    places = np.concatenate(
        [rng.integers(_EDGE, side - _EDGE, (count, 2)), rng.integers(_EDGE, side // 4 + 1, (count, 1))],
        axis=1,
    )  # [count, (y, x, half the size)]
    colours = rng.integers(0, 256, (count, 3))
    masks = np.array(
        [_shape(kind, y, x, half, side) for kind, (y, x, half) in zip(kinds, places, strict=True)]
    )
    keep = _apart(boxes.around_masks(masks.transpose(1, 2, 0)))
    masks, kinds, colours = masks[keep], kinds[keep], colours[keep]
    image = np.full((side, side, 3), ground, np.uint8)
    for mask, colour in zip(masks, colours, strict=True):
        image[mask] = colour
    for i in range(len(masks) - 1):
        masks[i] &= ~masks[i + 1 :].any(axis=0)
    seen = masks.any(axis=(1, 2))
    return Example(image, masks[seen], kinds[seen])


def _shape(kind: int, cy: int, cx: int, half: int, side: int) -> NDArray[np.bool_]:
    """Return the mask [side, side] of a shape around (cy, cx) that reaches `half` pixels to every side."""
    y, x = np.mgrid[:side, :side]
    if kind == 1:
        return (abs(y - cy) <= half) & (abs(x - cx) <= half)
    if kind == 2:
        return (y - cy) ** 2 + (x - cx) ** 2 <= half**2
    # A triangle of equal sides stands on its base: from the top it widens by a full side over its height.
    height = 2 * half * np.sin(np.pi / 3)
    down = y - (cy - half)
    return (down >= 0) & (down <= height) & (abs(x - cx) <= down * half / height)


def _apart(rois: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return which boxes [N, 4] stay if the later of two that overlap does, in their order."""
    overlaps = boxes.overlaps(rois, rois)
    kept: list[int] = []
    for i in reversed(range(len(rois))):
        if all(overlaps[i, j] <= 0.3 for j in kept):
            kept.insert(0, i)
    return np.array(kept, np.int64)


def dataset(name: str, first: int, last: int) -> Dataset:
    """Return the pictures of the seeds `first` to `last`."""
    return Dataset(name, CLASSES, last - first + 1, lambda index: draw(first + index))
