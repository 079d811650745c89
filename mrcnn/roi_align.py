"""RoI align over the pyramid: each region is cut from the level that fits its size."""

import math
from collections.abc import Sequence

import tensorflow as tf

from mrcnn.tensors import Tensor


def levels(boxes: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return the level 2..5 of each normalised box [N, 4] in an input of `shape` (height, width).

    A box of 224 x 224 pixels belongs to level 4; one without area to level 2.
    """
    size = boxes[:, 2:] - boxes[:, :2]
    side = tf.sqrt(size[:, 0] * size[:, 1])
    level = tf.math.log(side / (224.0 / math.sqrt(shape[0] * shape[1]))) / math.log(2.0)
    # The logarithm of an empty box is minus infinity: clip before the cast.
    return tf.cast(tf.clip_by_value(4 + tf.round(level), 2, 5), tf.int32)


def roi_align(
    features: Sequence[Tensor], boxes: Tensor, images: Tensor, size: int, shape: tuple[int, int]
) -> Tensor:
    """Cut boxes [N, 4] (normalised) out of P2..P5, each [B, h, w, C]: float32 [N, size, size, C].

    `images` int32 [N] says which of the B images a box lies in, `shape` is the input's (height, width).
    One sample a bin, on the bins' corners; no gradient flows into the boxes.
    """
    boxes = tf.stop_gradient(boxes)
    level = levels(boxes, shape)
    places, pieces = [], []
    for i, feature in enumerate(features):
        place = tf.where(level == i + 2)[:, 0]
        feature = tf.cast(feature, tf.float32)
        places.append(place)
        pieces.append(
            tf.image.crop_and_resize(feature, tf.gather(boxes, place), tf.gather(images, place), [size, size])
        )
    order = tf.math.invert_permutation(tf.concat(places, axis=0))
    return tf.gather(tf.concat(pieces, axis=0), order)
