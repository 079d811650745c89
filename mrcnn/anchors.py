"""Anchors: the boxes that the region proposal network scores and shifts."""

import numpy as np
from numpy.typing import NDArray

from mrcnn import boxes
from mrcnn.config import Config


def level_anchors(
    scale: float, ratios: tuple[float, ...], shape: tuple[int, int], stride: int, anchor_stride: int
) -> NDArray[np.float64]:
    """Return one level's anchors [rows * columns * ratios, (y1, x1, y2, x2)] in pixels.

    Centres stand at i * stride, without half a pixel; a ratio is width / height; none is clipped.
    """
    root = np.sqrt(np.array(ratios, np.float64))
    heights, widths = scale / root, scale * root  # [R]
    y = np.arange(0, shape[0], anchor_stride) * stride
    x = np.arange(0, shape[1], anchor_stride) * stride
    grid = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1)[:, :, None, :]  # [rows, columns, 1, (y, x)]
    half = 0.5 * np.stack([heights, widths], axis=-1)  # [R, (h, w)]
    return np.concatenate([grid - half, grid + half], axis=-1).reshape(-1, 4)


def pixel_anchors(config: Config, height: int, width: int) -> NDArray[np.float64]:
    """Return all anchors [A, 4] in pixels for an input of `height` x `width`, finest level first."""
    shapes = config.feature_shapes(height, width)
    levels = zip(config.rpn_anchor_scales, shapes, config.backbone_strides, strict=True)
    return np.concatenate(
        [
            level_anchors(scale, config.rpn_anchor_ratios, shape, stride, config.rpn_anchor_stride)
            for scale, shape, stride in levels
        ]
    )


def normalized_anchors(config: Config, height: int, width: int) -> NDArray[np.float32]:
    """Return all anchors [A, 4] in normalised coordinates."""
    return boxes.normalize(pixel_anchors(config, height, width), (height, width))
