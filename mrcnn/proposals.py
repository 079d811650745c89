"""From the region proposal network's answer to the regions that the heads look at."""

import tensorflow as tf

from mrcnn.config import Config
from mrcnn.tensors import Tensor


def apply_deltas(boxes: Tensor, deltas: Tensor) -> Tensor:
    """Move boxes [N, 4] by deltas [N, (dy, dx, log dh, log dw)]."""
    size = boxes[:, 2:] - boxes[:, :2]
    centre = boxes[:, :2] + 0.5 * size + deltas[:, :2] * size
    size *= tf.exp(deltas[:, 2:])
    corner = centre - 0.5 * size
    return tf.concat([corner, corner + size], axis=1)


def clip(boxes: Tensor, window: Tensor) -> Tensor:
    """Clip boxes [N, 4] to `window` (y1, x1, y2, x2)."""
    low, high = tf.tile(window[:2], [2]), tf.tile(window[2:], [2])
    return tf.maximum(tf.minimum(boxes, high), low)


def propose(scores: Tensor, deltas: Tensor, anchors: Tensor, config: Config, limit: int) -> Tensor:
    """Return at most `limit` normalised boxes [n, 4] of one image, best first, without padding.

    `scores` [A] are the object probabilities, `deltas` [A, 4] and `anchors` [A, 4] belong to them.
    """
    best = tf.math.top_k(scores, tf.minimum(config.pre_nms_limit, tf.shape(scores)[0])).indices
    scores = tf.gather(scores, best)
    moved = apply_deltas(
        tf.gather(anchors, best), tf.gather(deltas, best) * tf.constant(config.rpn_bbox_std_dev)
    )
    moved = clip(moved, tf.constant([0.0, 0.0, 1.0, 1.0]))
    kept = tf.image.non_max_suppression(moved, scores, limit, config.rpn_nms_threshold)
    return tf.gather(moved, kept)
