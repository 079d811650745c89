"""What the stored answers of Matterport's code were made from: weights and pictures, from a seed.

Both come from NumPy's legacy generator, whose bits never change, so nothing large has to be stored.
"""

import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mrcnn.network import Network

DATA = Path(__file__).parents[1] / "data" / "mrcnn"

# Standard deviation of a kernel times the root of its fan-in; others have He's root of 2.
_GAIN = {
    "mrcnn_class_logits": 2.0,
    "mrcnn_mask": 2.0,
    "rpn_class_raw": 1.0,
    "rpn_bbox_pred": 1.0,
    "mrcnn_bbox_fc": 1.0,
}
_RANGES = {
    "bias": (-0.1, 0.1),
    "beta": (-0.1, 0.1),
    "gamma": (0.8, 1.2),
    "moving_mean": (-0.1, 0.1),
    "moving_variance": (0.5, 1.5),
}


def weight(layer: str, name: str, shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """Return the weight `name` of `layer`.

    Kernels of an even number of input channels have opposite values on neighbouring channels: each filter
    sums to zero, and a network of a hundred random layers stays lively.
    """
    generator = np.random.RandomState(zlib.crc32(f"{seed}:{layer}/{name}".encode()))

    def uniform(size: tuple[int, ...], low: float, high: float) -> NDArray[np.float32]:
        values = generator.random_sample(math.prod(size)).reshape(size)
        return (low + (high - low) * values).astype(np.float32)

    if name != "kernel":
        low, high = _RANGES[name]
        factor = 1.0
        if name == "gamma" and layer.startswith("bn") and layer.endswith("_branch2c"):
            factor = 0.3
        if layer == "bn_conv1":
            factor = {"moving_mean": 200.0, "moving_variance": 8000.0}.get(name, factor)
        return uniform(shape, low * factor, high * factor)
    inputs = -1 if layer == "mrcnn_mask_deconv" else -2  # a transposed kernel is (h, w, out, in)
    fan_in = shape[-1] if inputs == -1 else math.prod(shape) // shape[-1]
    gain = 1.0 if layer.startswith("fpn_") else _GAIN.get(layer, math.sqrt(2))
    limit = gain * np.sqrt(3.0) / np.sqrt(float(fan_in))
    if shape[inputs] % 2:
        return uniform(shape, -limit, limit)
    half = list(shape)
    half[inputs] //= 2
    values = uniform(tuple(half), -limit, limit)
    return np.stack([values, -values], axis=len(shape) + inputs + 1).reshape(shape)


def fill(network: Network, seed: int) -> None:
    """Give every layer of `network` its weights."""
    for _, leaves in network.named_layers():
        for leaf in leaves:
            for variable in leaf.weights:
                variable.assign(weight(leaf.name, variable.name, tuple(variable.shape), seed))


def picture(spec: str) -> NDArray[np.uint8]:
    """Return the picture [H, W, 3] of "syn:HEIGHT:WIDTH:SEED": a slope of colour, twelve shapes, noise."""
    height, width, seed = (int(part) for part in spec.split(":")[1:])
    generator = np.random.RandomState(zlib.crc32(f"image:{seed}".encode()))

    def whole(low: int, high: int) -> int:
        return low + int(generator.random_sample() * (high - low))

    y, x = np.mgrid[0:height, 0:width]
    canvas = np.zeros((height, width, 3), np.int64)
    for channel in range(3):
        down, right, base = whole(-120, 121), whole(-120, 121), whole(60, 196)
        canvas[..., channel] = base + down * y // height + right * x // width
    for _ in range(12):
        colour = [whole(0, 256) for _ in range(3)]
        cy, cx = whole(0, height), whole(0, width)
        size = max(3, whole(min(height, width) // 16, min(height, width) // 3 + 1))
        kind = whole(0, 3)
        if kind == 0:
            inside = (abs(y - cy) <= size) & (abs(x - cx) <= size * whole(1, 5) // 2)
        elif kind == 1:
            inside = (y - cy) ** 2 + (x - cx) ** 2 <= size**2
        else:
            inside = (y <= cy + size) & (y - cy + size >= 2 * abs(x - cx))
        canvas[inside] = colour
    noise = (generator.random_sample((height, width, 3)) * 17).astype(np.int64) - 8
    return np.clip(canvas + noise, 0, 255).astype(np.uint8)
