"""From the heads' answer on all regions to the detections."""

import tensorflow as tf

from mrcnn.config import Config
from mrcnn.proposals import apply_deltas, clip
from mrcnn.tensors import Tensor


def _overlaps(boxes: Tensor) -> Tensor:
    """Return the IoU [N, N] among boxes [N, 4]; with an empty box it is 0."""
    inner = tf.maximum(
        tf.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
        - tf.maximum(boxes[:, None, :2], boxes[None, :, :2]),
        0,
    )
    inner = inner[..., 0] * inner[..., 1]
    size = boxes[:, 2:] - boxes[:, :2]
    area = size[:, 0] * size[:, 1]
    return tf.math.divide_no_nan(inner, area[:, None] + area[None, :] - inner)


def detect(rois: Tensor, probs: Tensor, deltas: Tensor, window: Tensor, config: Config) -> Tensor:
    """Return detections [D, (y1, x1, y2, x2, class, score)], best first, D <= detection_max_instances.

    `rois` [N, 4] normalised, `probs` [N, classes], `deltas` [N, classes, 4], `window` (y1, x1, y2, x2)
    normalised. Boxes of no area are never suppressed and count towards the limit, as in Matterport's layer.
    """
    classes = tf.argmax(probs, axis=1, output_type=tf.int32)
    scores = tf.reduce_max(probs, axis=1)
    kept = classes > 0
    if config.detection_min_confidence:
        kept &= scores >= config.detection_min_confidence
    kept = tf.where(kept)[:, 0]
    rois, classes, scores = tf.gather(rois, kept), tf.gather(classes, kept), tf.gather(scores, kept)
    chosen = tf.gather(tf.gather(deltas, kept), classes, batch_dims=1)
    boxes = clip(apply_deltas(rois, chosen * tf.constant(config.bbox_std_dev)), window)
    # One suppression for all classes: boxes of different classes count as apart.
    same = tf.cast(classes[:, None] == classes[None, :], tf.float32)
    best = tf.image.non_max_suppression_overlaps(
        _overlaps(boxes) * same, scores, config.detection_max_instances, config.detection_nms_threshold
    )
    columns = [boxes, tf.cast(classes, tf.float32)[:, None], scores[:, None]]
    return tf.gather(tf.concat(columns, axis=1), best)
