"""Box arithmetic in NumPy: boxes are [N, (y1, x1, y2, x2)], half-open in pixels."""

import numpy as np
from numpy.typing import NDArray


def normalize(boxes: NDArray, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Map pixel boxes [N, 4] in a picture of `shape` (height, width) to normalised ones.

    The last pixel, not the border after it, is 1: (box - [0, 0, 1, 1]) / (size - 1).
    """
    h, w = shape
    scale = np.array([h - 1, w - 1, h - 1, w - 1])
    return ((boxes - np.array([0, 0, 1, 1])) / scale).astype(np.float32)


def denormalize(boxes: NDArray, shape: tuple[int, int]) -> NDArray[np.int32]:
    """Map normalised boxes [N, 4] to whole pixels of a picture of `shape` (height, width)."""
    h, w = shape
    scale = np.array([h - 1, w - 1, h - 1, w - 1])
    return np.around(boxes * scale + np.array([0, 0, 1, 1])).astype(np.int32)


def overlaps(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    """Return the IoU [A, B] of boxes a [A, 4] and b [B, 4]; two empty boxes have 0."""
    top, left, bottom, right = np.ascontiguousarray(a.T, np.float64)
    area = (bottom - top) * (right - left)
    out = np.zeros((len(b), len(a)))
    # One box at a time: its row stays in the processor's cache.
    for row, (y1, x1, y2, x2) in zip(out, b.astype(np.float64), strict=True):
        height = np.minimum(bottom, y2) - np.maximum(top, y1)
        width = np.minimum(right, x2) - np.maximum(left, x1)
        inner = np.maximum(height, 0, out=height) * np.maximum(width, 0, out=width)
        union = area + (y2 - y1) * (x2 - x1) - inner
        np.divide(inner, union, out=row, where=union > 0)
    return out.T


def refinement(boxes: NDArray, truth: NDArray) -> NDArray[np.float32]:
    """Return the deltas [N, (dy, dx, log dh, log dw)] that move `boxes` [N, 4] onto `truth` [N, 4]."""
    boxes, truth = boxes.astype(np.float32), truth.astype(np.float32)
    size, truth_size = boxes[:, 2:] - boxes[:, :2], truth[:, 2:] - truth[:, :2]
    centre, truth_centre = boxes[:, :2] + 0.5 * size, truth[:, :2] + 0.5 * truth_size
    moved = np.concatenate([(truth_centre - centre) / size, np.log(truth_size / size)], axis=1)
    return moved.astype(np.float32)


def around_masks(masks: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the tight boxes [N, 4] around masks [H, W, N]; an empty mask has the box 0, 0, 0, 0."""
    out = np.zeros((masks.shape[-1], 4), np.int32)
    for i in range(masks.shape[-1]):
        rows = np.flatnonzero(masks[:, :, i].any(axis=1))
        columns = np.flatnonzero(masks[:, :, i].any(axis=0))
        if len(rows):
            out[i] = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    return out
