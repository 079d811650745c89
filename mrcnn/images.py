"""Pictures in and masks out: resizing, padding and cropping as Matterport's code does it, in NumPy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrcnn import boxes
from mrcnn.config import Config

# A value within this distance below a whole number is that number: keeps truncation from rounding noise.
_WHOLE = 1e-6


@dataclass(frozen=True, slots=True)
class Resized:
    """A picture brought to the network's size, and what is needed to find the way back.

    `image` [H, W, 3]; `window` (y1, x1, y2, x2) is where the picture lies in it; `padding` is
    ((top, bottom), (left, right), (0, 0)); `crop` is (y, x, height, width) or None.
    """

    image: NDArray
    window: tuple[int, int, int, int]
    scale: float
    padding: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    crop: tuple[int, int, int, int] | None = None


def _taps(size: int, target: int) -> tuple[NDArray, NDArray]:
    """Return the left neighbour of `target` samples, counted from one pixel outside, and their shares."""
    centre = (np.arange(target) + 0.5) * (size / target) - 0.5
    left = np.floor(centre)
    return left.astype(np.int64) + 1, centre - left


def resize(image: NDArray, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Resample [H, W, ...] bilinearly to `shape` (height, width); pixel centres at halves, outside is 0.

    The result stays between the least and the greatest value of `image`.
    """
    source = np.asarray(image, np.float64)
    tail = (1,) * (source.ndim - 2)
    padded = np.pad(source, [(1, 1), (1, 1)] + [(0, 0)] * (source.ndim - 2))
    row, share = _taps(source.shape[0], shape[0])
    share = share.reshape(-1, 1, *tail)
    rows = padded[row] * (1 - share) + padded[row + 1] * share
    column, share = _taps(source.shape[1], shape[1])
    share = share.reshape(1, -1, *tail)
    resampled = rows[:, column] * (1 - share) + rows[:, column + 1] * share
    return np.clip(resampled, source.min(), source.max(), out=resampled)


def _spread(size: int, target: int) -> tuple[int, int]:
    """Split the padding that centres `size` in `target`; the odd pixel goes to the end."""
    before = (target - size) // 2
    return before, target - size - before


def resize_image(image: NDArray[np.uint8], config: Config, rng: np.random.Generator | None = None) -> Resized:
    """Bring a picture [H, W, 3] to the network's size by the config's `image_resize_mode`.

    `crop` cuts a random square, for training, and needs `rng`. Values are truncated to uint8.
    """
    height, width = image.shape[:2]
    none = ((0, 0), (0, 0), (0, 0))
    if config.image_resize_mode == "none":
        return Resized(image, (0, 0, height, width), 1.0, none)
    scale = max(1.0, config.image_min_dim / min(height, width)) if config.image_min_dim else 1.0
    scale = max(scale, config.image_min_scale)
    square = config.image_resize_mode == "square"
    if square and round(max(height, width) * scale) > config.image_max_dim:
        scale = config.image_max_dim / max(height, width)
    if scale != 1:
        # A picture a hundred times as wide as high keeps a row.
        exact = resize(image, (max(1, round(height * scale)), max(1, round(width * scale))))
        image = (exact + _WHOLE).astype(np.uint8)
    height, width = image.shape[:2]
    if config.image_resize_mode == "crop":
        if rng is None:
            raise ValueError("image_resize_mode 'crop' is for training; detect with 'square' or 'pad64'")
        side = config.image_min_dim
        y, x = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
        return Resized(image[y : y + side, x : x + side], (0, 0, side, side), scale, none, (y, x, side, side))
    if square:
        target = (config.image_max_dim, config.image_max_dim)
    else:
        target = (-(-height // 64) * 64, -(-width // 64) * 64)
    padding = (_spread(height, target[0]), _spread(width, target[1]), (0, 0))
    top, left = padding[0][0], padding[1][0]
    return Resized(np.pad(image, padding), (top, left, top + height, left + width), scale, padding)


def resize_masks(masks: NDArray[np.bool_], resized: Resized) -> NDArray[np.bool_]:
    """Bring masks [H, W, N] to where `resize_image` brought their picture (nearest, corners on corners)."""
    if masks.shape[-1] and resized.scale != 1:
        from scipy import ndimage  # only training comes here, and SciPy takes half a second to import

        zoomed = ndimage.zoom(masks.astype(np.uint8), (resized.scale, resized.scale, 1), order=0)
        masks = np.asarray(zoomed) > 0
    if resized.crop:
        y, x, h, w = resized.crop
        return masks[y : y + h, x : x + w]
    return np.pad(masks, resized.padding)


def mold(image: NDArray[np.uint8], config: Config) -> NDArray[np.float32]:
    """Subtract the mean pixel from RGB [H, W, 3]: what the network sees.

    Raise ValueError for sides that are no multiples of 64, as `image_resize_mode` "none" lets them through.
    """
    if image.shape[0] % 64 or image.shape[1] % 64:
        size = f"{image.shape[1]} x {image.shape[0]}"
        raise ValueError(f"a picture of {size}: image_resize_mode 'none' takes multiples of 64 only")
    return (image.astype(np.float32) - np.array(config.mean_pixel)).astype(np.float32)


def shrink_masks(
    masks: NDArray[np.bool_], rois: NDArray[np.int32], shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Cut each mask of [H, W, N] to its box of [N, 4] and resample it to `shape`: the mini-masks.

    Raises ValueError for an empty box.
    """
    out = np.zeros((*shape, masks.shape[-1]), bool)
    for i, (y1, x1, y2, x2) in enumerate(rois):
        part = masks[y1:y2, x1:x2, i]
        if part.size == 0:
            raise ValueError(f"mask {i} is empty")
        out[:, :, i] = np.around(resize(part, shape)).astype(bool)
    return out


def place_mask(
    mask: NDArray[np.floating], box: NDArray[np.int32], shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Paste a soft mask [h, w] into its `box` of an empty picture of `shape` (height, width), cut at 0.5."""
    y1, x1, y2, x2 = box
    out = np.zeros(shape, bool)
    out[y1:y2, x1:x2] = resize(mask, (int(y2 - y1), int(x2 - x1))) >= 0.5
    return out


def unmold(
    detections: NDArray[np.float32],
    soft_masks: NDArray[np.float32],
    original: tuple[int, int],
    molded: tuple[int, int],
    window: tuple[int, int, int, int],
) -> dict[str, NDArray]:
    """Bring detections back into the picture's own frame.

    `detections` [D, (y1, x1, y2, x2, class, score)], normalised to the `molded` (height, width), end at the
    first class 0; `soft_masks` [>= detections, h, w] are each detection's own class. Returns `rois` int32
    [N, (y1, x1, y2, x2)], `class_ids` int32 [N], `scores` float32 [N], `masks` bool [H, W, N].
    """
    empty = np.flatnonzero(detections[:, 4] == 0)
    count = empty[0] if len(empty) else len(detections)
    detections, soft_masks = detections[:count], soft_masks[:count]
    frame = boxes.normalize(np.array(window), molded)
    # A window one pixel high has no height from its first to its last pixel.
    origin, size = np.tile(frame[:2], 2), np.maximum(np.tile(frame[2:] - frame[:2], 2), 1e-9)
    rois = boxes.denormalize((detections[:, :4] - origin) / size, original)
    keep = np.flatnonzero((rois[:, 2] - rois[:, 0]) * (rois[:, 3] - rois[:, 1]) > 0)
    masks = np.empty(
        (len(keep), *original), bool
    )  # one mask after the other in memory: N is last only in name
    for i, k in enumerate(keep):
        masks[i] = place_mask(soft_masks[k], rois[k], original)
    return {
        "rois": rois[keep],
        "class_ids": detections[keep, 4].astype(np.int32),
        "scores": detections[keep, 5],
        "masks": masks.transpose(1, 2, 0),
    }
