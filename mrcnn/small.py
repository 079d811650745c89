"""A small residual backbone for weights of a few megabytes; its layers are named like ResNet's."""

import keras

from mrcnn.layers import Maker

# Stage, channels, blocks.
_STAGES = ((2, 32, 1), (3, 64, 2), (4, 112, 2), (5, 160, 2))


def _basic(x: keras.KerasTensor, make: Maker, filters: int, block: str, strides: int) -> keras.KerasTensor:
    """Add one residual block of two 3x3; the shortcut has a 1x1 where the shape changes."""
    y = make.conv(filters, 3, f"res{block}_branch2a", strides)(x)
    y = make.relu(make.norm(f"bn{block}_branch2a")(y))
    y = make.conv(filters, 3, f"res{block}_branch2b")(y)
    y = make.norm(f"bn{block}_branch2b")(y)
    if strides > 1 or x.shape[-1] != filters:
        x = make.norm(f"bn{block}_branch1")(make.conv(filters, 1, f"res{block}_branch1", strides)(x))
    return make.relu(make.add(y, x), f"res{block}_out")


def small(image: keras.KerasTensor, make: Maker) -> list[keras.KerasTensor]:
    """Return C2 to C5 of a molded image [B, H, W, 3]: strides 4, 8, 16, 32; 32 to 160 channels."""
    x = make.relu(make.norm("bn_conv1")(make.conv(24, 3, "conv1", 2)(image)))
    x = make.relu(make.norm("bn_conv1b")(make.conv(32, 3, "conv1b", 2)(x)))
    stages = []
    for stage, filters, blocks in _STAGES:
        for i in range(blocks):
            x = _basic(x, make, filters, f"{stage}{chr(ord('a') + i)}", 2 if i == 0 and stage > 2 else 1)
        stages.append(x)
    return stages
