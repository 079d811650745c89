"""What the network should have answered: targets of the region proposal network and of the heads."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mrcnn import boxes
from mrcnn.config import Config
from mrcnn.tensors import Tensor


def rpn_targets(
    anchors: NDArray[np.float64],
    truth: NDArray[np.int32],
    crowds: NDArray[np.int32],
    config: Config,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Match pixel anchors [A, 4] to the boxes of objects `truth` [N, 4] and of `crowds` [K, 4].

    Returns match [A] (1 object, -1 background, 0 neither) and the deltas [rpn_train_anchors_per_image, 4] of
    the matching anchors in their order, zero-padded. An anchor matches from IoU 0.7, or as an object's best.
    """
    match = np.zeros(len(anchors), np.int32)
    deltas = np.zeros((config.rpn_train_anchors_per_image, 4), np.float32)
    free = np.ones(len(anchors), bool)
    if len(crowds):
        free = boxes.overlaps(anchors, crowds).max(axis=1) < 0.001
    overlaps = boxes.overlaps(anchors, truth) if len(truth) else np.zeros((len(anchors), 1))
    own = overlaps.argmax(axis=1)
    best = overlaps[np.arange(len(anchors)), own]
    match[(best < 0.3) & free] = -1
    if len(truth):
        match[(overlaps == overlaps.max(axis=0)).any(axis=1) & (best > 0)] = 1
        match[best >= 0.7] = 1
    half = config.rpn_train_anchors_per_image // 2
    positive = np.flatnonzero(match == 1)
    if len(positive) > half:
        match[rng.choice(positive, len(positive) - half, replace=False)] = 0
    negative = np.flatnonzero(match == -1)
    wanted = config.rpn_train_anchors_per_image - int((match == 1).sum())
    if len(negative) > wanted:
        match[rng.choice(negative, len(negative) - wanted, replace=False)] = 0
    positive = np.flatnonzero(match == 1)
    # An anchor forced by one object still moves to the object that it overlaps most.
    if len(positive):
        moved = boxes.refinement(anchors[positive], truth[own[positive]]) / np.array(config.rpn_bbox_std_dev)
        deltas[: len(positive)] = moved
    return match, deltas


class HeadTargets(NamedTuple):
    """One image's regions for the heads: P positives, then background, then one empty region.

    `rois` [N, 4] normalised; `class_ids` int32 [N], 0 is background; `weight` float32 [N] says how often a
    region counts; `deltas` [P, 4] and `masks` [P, 28, 28] of the positives. Matterport fills up to
    train_rois_per_image with empty regions, all alike and background: here one counts as often.
    """

    rois: Tensor
    class_ids: Tensor
    weight: Tensor
    deltas: Tensor
    masks: Tensor


def _overlaps(a: Tensor, b: Tensor) -> Tensor:
    """Return the IoU [A, B] of boxes [A, 4] and [B, 4]."""
    inner = tf.maximum(
        tf.minimum(a[:, None, 2:], b[None, :, 2:]) - tf.maximum(a[:, None, :2], b[None, :, :2]), 0
    )
    inner = inner[..., 0] * inner[..., 1]
    area_a = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])
    area_b = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    return tf.math.divide_no_nan(inner, area_a[:, None] + area_b[None, :] - inner)


def _refinement(rois: Tensor, truth: Tensor) -> Tensor:
    """Return the deltas [N, 4] from rois [N, 4] to their objects [N, 4]."""
    size, truth_size = rois[:, 2:] - rois[:, :2], truth[:, 2:] - truth[:, :2]
    centre, truth_centre = rois[:, :2] + 0.5 * size, truth[:, :2] + 0.5 * truth_size
    return tf.concat([(truth_centre - centre) / size, tf.math.log(truth_size / size)], axis=1)


def head_targets(
    proposals: Tensor,
    class_ids: Tensor,
    truth: Tensor,
    masks: Tensor,
    config: Config,
    seed: Tensor,
) -> HeadTargets:
    """Sample one image's regions from `proposals` [R, 4] against its objects.

    `class_ids` int32 [N] (0 padding, negative a crowd), `truth` [N, 4] normalised, `masks` [N, h, w] the
    mini-masks, or whole masks if the config has none. Regions from IoU 0.5 are positive; others are
    background unless they touch a crowd. `seed` int32 [2] decides the choice.
    """
    shuffle: Any = tf.random.experimental.stateless_shuffle  # type: ignore[attr-defined]
    area = (proposals[:, 2] - proposals[:, 0]) * (proposals[:, 3] - proposals[:, 1])
    proposals = tf.boolean_mask(proposals, area > 0)
    crowd = tf.boolean_mask(truth, class_ids < 0)
    real = class_ids > 0
    ids, truth, masks = (tf.boolean_mask(x, real) for x in (class_ids, truth, masks))
    # A column of zeros keeps the maximum defined where there is no object, or no crowd.
    nothing = tf.zeros([tf.shape(proposals)[0], 1])
    overlaps = _overlaps(proposals, truth)
    best = tf.reduce_max(tf.concat([overlaps, nothing], axis=1), axis=1)
    in_crowd = tf.reduce_max(tf.concat([_overlaps(proposals, crowd), nothing], axis=1), axis=1) >= 0.001
    positive = shuffle(tf.where(best >= 0.5)[:, 0], seed)
    positive = positive[: int(config.train_rois_per_image * config.roi_positive_ratio)]
    count = tf.cast(tf.shape(positive)[0], tf.float32)
    wanted = tf.cast(count / config.roi_positive_ratio, tf.int32) - tf.shape(positive)[0]
    negative = shuffle(tf.where((best < 0.5) & tf.logical_not(in_crowd))[:, 0], seed)[:wanted]
    rois = tf.gather(proposals, positive)
    matched = tf.argmax(
        tf.concat([tf.gather(overlaps, positive), tf.fill([tf.shape(rois)[0], 1], -1.0)], 1), axis=1
    )
    boxes_ = tf.gather(truth, matched)
    deltas = _refinement(rois, boxes_) / tf.constant(config.bbox_std_dev)
    windows = rois
    if config.use_mini_mask:  # the mini-mask's frame is its object's box
        low, size = boxes_[:, :2], boxes_[:, 2:] - boxes_[:, :2]
        windows = (rois - tf.tile(low, [1, 2])) / tf.tile(size, [1, 2])
    pictures = tf.cast(tf.gather(masks, matched), tf.float32)[..., None]
    cut = tf.image.crop_and_resize(pictures, windows, tf.range(tf.shape(rois)[0]), config.mask_shape)
    found = tf.shape(positive)[0] + tf.shape(negative)[0]
    missing = tf.cast(tf.maximum(config.train_rois_per_image - found, 0), tf.float32)
    return HeadTargets(
        rois=tf.concat([rois, tf.gather(proposals, negative), tf.zeros([1, 4])], axis=0),
        class_ids=tf.concat(
            [tf.gather(ids, matched), tf.zeros([tf.shape(negative)[0] + 1], tf.int32)], axis=0
        ),
        weight=tf.concat([tf.ones([found]), missing[None]], axis=0),
        deltas=deltas,
        masks=tf.round(cut[..., 0]),
    )
