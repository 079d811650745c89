"""The five losses. Each is a mean over what it looks at, and 0 where there is nothing."""

import tensorflow as tf

from mrcnn.tensors import Tensor


def _mean(x: Tensor) -> Tensor:
    """Return the mean, or 0 of nothing."""
    return tf.math.divide_no_nan(tf.reduce_sum(x), tf.cast(tf.size(x), tf.float32))


def smooth_l1(truth: Tensor, answer: Tensor) -> Tensor:
    """Return the element-wise loss: quadratic below 1, linear above."""
    distance = tf.abs(truth - answer)
    return tf.where(distance < 1, 0.5 * distance**2, distance - 0.5)


def rpn_class(match: Tensor, logits: Tensor) -> Tensor:
    """Compare match [B, A] (1, -1, 0 = not asked) and logits [B, A, 2]."""
    asked = tf.where(match != 0)
    truth = tf.cast(tf.gather_nd(match, asked) == 1, tf.int32)
    return _mean(tf.nn.sparse_softmax_cross_entropy_with_logits(truth, tf.gather_nd(logits, asked)))


def rpn_bbox(match: Tensor, truth: Tensor, deltas: Tensor) -> Tensor:
    """Compare deltas [B, A, 4] of the anchors that match [B, A] with truth [B, T, 4], packed in order."""
    positive = match == 1
    counts = tf.reduce_sum(tf.cast(positive, tf.int32), axis=1)
    packed = tf.boolean_mask(truth, tf.sequence_mask(counts, tf.shape(truth)[1]))
    return _mean(smooth_l1(packed, tf.boolean_mask(deltas, positive)))


def head_class(truth: Tensor, logits: Tensor, active: Tensor, weight: Tensor) -> Tensor:
    """Compare class ids [N] and logits [N, classes], each counted `weight` [N] times.

    An answer whose class is not `active` [classes] does not count.
    """
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(truth, logits)
    weight = weight * tf.gather(active, tf.argmax(logits, axis=1))
    return tf.math.divide_no_nan(tf.reduce_sum(losses * weight), tf.reduce_sum(weight))


def head_bbox(truth: Tensor, class_ids: Tensor, deltas: Tensor) -> Tensor:
    """Compare truth [P, 4] of the positives and deltas [P, classes, 4] at their classes [P]."""
    return _mean(smooth_l1(truth, tf.gather(deltas, class_ids, batch_dims=1)))


def head_mask(truth: Tensor, class_ids: Tensor, logits: Tensor) -> Tensor:
    """Compare masks [P, h, w] of the positives and mask logits [P, h, w, classes] at their classes [P]."""
    chosen = tf.gather(tf.transpose(logits, [0, 3, 1, 2]), class_ids, batch_dims=1)
    return _mean(tf.nn.sigmoid_cross_entropy_with_logits(truth, chosen))
