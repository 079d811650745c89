"""The feature pyramid: every level sees fine detail and wide surroundings."""

import keras
from keras import layers

from mrcnn.layers import Maker


def pyramid(stages: list[keras.KerasTensor], make: Maker, width: int) -> list[keras.KerasTensor]:
    """Return P2 to P6, each of `width` channels, from C2 to C5."""
    c2, c3, c4, c5 = stages

    def up(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return layers.UpSampling2D(2, interpolation="nearest", name=name, dtype=make.dtype)(x)

    p5 = make.conv(width, 1, "fpn_c5p5")(c5)
    p4 = make.add(up(p5, "fpn_p5upsampled"), make.conv(width, 1, "fpn_c4p4")(c4), "fpn_p4add")
    p3 = make.add(up(p4, "fpn_p4upsampled"), make.conv(width, 1, "fpn_c3p3")(c3), "fpn_p3add")
    p2 = make.add(up(p3, "fpn_p3upsampled"), make.conv(width, 1, "fpn_c2p2")(c2), "fpn_p2add")
    # The last convolutions come in the order of Matterport's files.
    p5 = make.conv(width, 3, "fpn_p5")(p5)
    p2 = make.conv(width, 3, "fpn_p2")(p2)
    p3 = make.conv(width, 3, "fpn_p3")(p3)
    p4 = make.conv(width, 3, "fpn_p4")(p4)
    p6 = layers.MaxPooling2D(1, strides=2, name="fpn_p6", dtype=make.dtype)(p5)
    return [p2, p3, p4, p5, p6]
