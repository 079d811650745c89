"""ResNet-50 and ResNet-101 under Matterport's layer names: version 1, the stride in the first 1x1."""

import keras
from keras import layers

from mrcnn.layers import Maker

_STAGE4_BLOCKS = {"resnet50": 6, "resnet101": 23}


def _bottleneck(
    x: keras.KerasTensor, make: Maker, filters: tuple[int, int, int], block: str, strides: int, project: bool
) -> keras.KerasTensor:
    """Add one residual block of 1x1, 3x3, 1x1; `project` gives the shortcut its own 1x1."""
    conv, norm = f"res{block}_branch", f"bn{block}_branch"
    y = make.conv(filters[0], 1, f"{conv}2a", strides, "valid")(x)
    y = make.relu(make.norm(f"{norm}2a")(y))
    y = make.conv(filters[1], 3, f"{conv}2b")(y)
    y = make.relu(make.norm(f"{norm}2b")(y))
    y = make.conv(filters[2], 1, f"{conv}2c", padding="valid")(y)
    shortcut = make.conv(filters[2], 1, f"{conv}1", strides, "valid")(x) if project else x
    y = make.norm(f"{norm}2c")(y)
    if project:
        shortcut = make.norm(f"{norm}1")(shortcut)
    return make.relu(make.add(y, shortcut), f"res{block}_out")


def resnet(image: keras.KerasTensor, make: Maker, architecture: str) -> list[keras.KerasTensor]:
    """Return C2 to C5 of a molded image [B, H, W, 3]: strides 4, 8, 16, 32; 256 to 2048 channels."""
    x = layers.ZeroPadding2D(3, dtype=make.dtype)(image)
    x = make.conv(64, 7, "conv1", 2, "valid")(x)
    x = make.relu(make.norm("bn_conv1")(x))
    # SAME pads below and to the right only.
    x = layers.MaxPooling2D(3, strides=2, padding="same", dtype=make.dtype)(x)
    stages = []
    for stage, width, blocks in (
        (2, 64, 3),
        (3, 128, 4),
        (4, 256, _STAGE4_BLOCKS[architecture]),
        (5, 512, 3),
    ):
        for i in range(blocks):
            strides = 2 if i == 0 and stage > 2 else 1
            name = f"{stage}{chr(ord('a') + i)}"
            x = _bottleneck(x, make, (width, width, 4 * width), name, strides, project=i == 0)
        stages.append(x)
    return stages
