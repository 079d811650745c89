"""Mask geometry: which window to show the model, what to repaint in it, and how to put it back.

All lengths scale with the object: its size is the square root of its mask's area, in pixels. A fixed blur
makes small masks vanish (a server rounds the blurred mask to latent cells of 8 px), so nothing is fixed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.domain import Box, Mask

Picture = NDArray[np.uint8]  # [H, W, 3], RGB
Alpha = NDArray[np.float32]  # [H, W], 0..1

MIN_GROW = 1.0  # pixels; a detector's masks end a little inside the object
MIN_FEATHER = 2.0
# Size from which an object's rim grows no wider: more reaches over what stands before a large object, heads
# and roofs before a sky, and the new outline comes to lie beside the old one.
LARGE = 50.0
MIN_PADDING = 16.0

CELLS = 28  # a side of the soft masks that Mask R-CNN stretches over an object's box
_REACH = 2  # of these cells: how far an edge may lie from where the stretched mask has it
_CELL_PIXELS = 8  # pixels a cell that edges are looked for at; more costs time and finds nothing else
_SMOOTHNESS = 1e-3  # variance of colours (0..1) below which a place counts as even


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """One object's repaint, planned: what is sent and where the answer goes.

    `window` lies in the picture; `mask` [window height, window width] is what is asked for; `alpha` of the
    same shape is the feathered share of new paint, 0 on every pixel that must not change. `width` and
    `height` are what the window is enlarged (or shrunk) to for the model.
    """

    window: Box
    mask: Mask
    alpha: Alpha
    width: int
    height: int


def plan_patch(
    mask: Mask,
    *,
    grow: float,
    blur: float,
    padding: float,
    native_size: int,
    multiple: int,
    protect: Mask | None = None,
) -> Patch:
    """Plan the repaint of `mask` [H, W] by a model that paints `native_size` squares best.

    `grow`, `blur` and `padding` are shares of the object's size; for the first two no more than `LARGE` of it
    counts. The window keeps clear of the feathered zone by the padding, is square where the picture allows,
    and is never larger than the picture.
    No pixel of `protect` [H, W] changes. Raises ValueError when the mask is empty.
    """
    area = int(np.count_nonzero(mask))
    if area == 0:
        raise ValueError("an empty mask has nothing to repaint")
    size = math.sqrt(area)
    grow_px = max(grow * min(size, LARGE), MIN_GROW)
    feather_px = max(blur * min(size, LARGE), MIN_FEATHER)
    reach = math.ceil(grow_px + feather_px)
    box = bounding_box(mask)
    window = _window(box, reach + max(padding * size, MIN_PADDING), mask.shape[0], mask.shape[1])
    # The object's surroundings only: a distance transform of the whole picture costs ten times as much.
    inner = mask[window.y1 : window.y2, window.x1 : window.x2]
    distance = _distance_outside(inner)  # [h, w] pixels to the mask, 0 inside
    grown = distance <= grow_px
    # 1 on the grown mask, falling along a half cosine to exactly 0 at the end of the feather.
    fall = np.clip((distance - grow_px) / feather_px, 0.0, 1.0)
    alpha = (0.5 + 0.5 * np.cos(np.pi * fall)).astype(np.float32)
    alpha[fall >= 1.0] = 0.0
    alpha[grown] = 1.0
    if protect is not None:
        alpha[protect[window.y1 : window.y2, window.x1 : window.x2]] = 0.0
    width, height = _model_size(window, native_size, multiple)
    # What the model repaints reaches to the end of the feather, or old paint would show through its rim.
    return Patch(window, alpha > 0, alpha, width, height)


def grown(mask: Mask, share: float) -> Mask:
    """Grow a mask by a share of its size, as `plan_patch` does before it feathers."""
    pixels = max(share * min(math.sqrt(np.count_nonzero(mask)), LARGE), MIN_GROW)
    return _distance_outside(mask) <= pixels if mask.any() else mask


def bounding_box(mask: Mask) -> Box:
    """Return the smallest box around the True pixels of a mask that has some."""
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def cut(picture: Picture, patch: Patch) -> tuple[Picture, Mask]:
    """Cut a patch's window out of the picture, at the model's size: its picture and its mask."""
    box = patch.window
    crop = Image.fromarray(picture[box.y1 : box.y2, box.x1 : box.x2])
    crop = crop.resize((patch.width, patch.height), Image.Resampling.LANCZOS)
    mask = Image.fromarray(patch.mask.astype(np.uint8) * 255)
    mask = mask.resize((patch.width, patch.height), Image.Resampling.BILINEAR)
    return np.asarray(crop), np.asarray(mask) > 0


def paste(picture: Picture, patch: Patch, painted: Picture) -> Picture:
    """Composite a painted window into the picture; pixels where alpha is 0 keep their exact values."""
    box = patch.window
    fresh = Image.fromarray(painted).resize((box.width, box.height), Image.Resampling.LANCZOS)
    old = picture[box.y1 : box.y2, box.x1 : box.x2]
    alpha = patch.alpha[..., None]
    mixed = np.rint(old * (1.0 - alpha) + np.asarray(fresh, np.float32) * alpha).astype(np.uint8)
    result = picture.copy()
    result[box.y1 : box.y2, box.x1 : box.x2] = np.where(alpha > 0, mixed, old)
    return result


def follow_edges(picture: Picture, mask: Mask) -> Mask:
    """Move the border of a detected mask [H, W] to the picture's edges nearby.

    A guided filter (He, Sun, Tang 2010) with the picture as its guide: locally the mask becomes that linear
    function of the colours that fits it best. Its reach follows the coarseness of the detector's masks.
    """
    if not mask.any():
        return mask
    box = bounding_box(mask)
    cell = max(box.height, box.width) / CELLS
    around = math.ceil(3 * _REACH * cell) + 2
    y1, x1 = max(0, box.y1 - around), max(0, box.x1 - around)
    part = np.s_[y1 : box.y2 + around, x1 : box.x2 + around]
    whole, inside = picture[part], mask[part]
    height, width = inside.shape
    scale = min(1.0, _CELL_PIXELS / cell)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    guide = np.asarray(Image.fromarray(whole).resize(size, Image.Resampling.BOX), np.float32) / np.float32(
        255
    )
    coarse = Image.fromarray(inside.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    radius = max(1, round(_REACH * cell * scale))
    slopes, offsets = _guided(guide, np.asarray(coarse, np.float32) / np.float32(255), radius)
    share = _enlarged(offsets, width, height)
    for channel in range(3):
        share += _enlarged(slopes[..., channel], width, height) * (whole[..., channel] / np.float32(255))
    found = np.zeros_like(mask)
    found[part] = share > 0.5
    return found if found.any() else mask


def _guided(
    guide: NDArray[np.float32], mask: NDArray[np.float32], radius: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fit the mask [h, w] by the colours [h, w, 3] around each pixel: slopes [h, w, 3], offsets [h, w]."""
    from scipy.ndimage import uniform_filter

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        size: Any = (2 * radius + 1,) * 2 + (1,) * (values.ndim - 2)
        return np.asarray(uniform_filter(values, size, mode="nearest"), np.float32)

    colour, share = mean(guide), mean(mask)
    together = mean(guide * mask[..., None]) - colour * share[..., None]
    spread = mean(guide[..., :, None] * guide[..., None, :]) - colour[..., :, None] * colour[..., None, :]
    spread += np.eye(3, dtype=np.float32) * _SMOOTHNESS
    slopes = np.linalg.solve(spread, together[..., None])[..., 0]
    return mean(slopes), mean(share - (slopes * colour).sum(-1))


def _enlarged(values: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    return np.array(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR))


def _distance_outside(mask: Mask) -> NDArray[np.float32]:
    from scipy.ndimage import distance_transform_edt

    return np.asarray(distance_transform_edt(~mask), np.float32)


def _window(box: Box, margin: float, height: int, width: int) -> Box:
    side = max(box.height, box.width) + 2 * math.ceil(margin)
    return Box(
        *_interval((box.y1 + box.y2) / 2, side, height)[:1],
        *_interval((box.x1 + box.x2) / 2, side, width)[:1],
        *_interval((box.y1 + box.y2) / 2, side, height)[1:],
        *_interval((box.x1 + box.x2) / 2, side, width)[1:],
    )


def _interval(centre: float, length: int, limit: int) -> tuple[int, int]:
    """Return a half-open range of `length` around `centre`, pushed inside 0..limit."""
    length = min(length, limit)
    start = min(max(round(centre - length / 2), 0), limit - length)
    return start, start + length


def _model_size(window: Box, native_size: int, multiple: int) -> tuple[int, int]:
    """Return (width, height) of the window's shape with the native square's area, in whole multiples."""
    scale = native_size / math.sqrt(window.area)
    return (
        max(multiple, round(window.width * scale / multiple) * multiple),
        max(multiple, round(window.height * scale / multiple) * multiple),
    )
