"""From labelled pictures to what one step of training needs, prepared ahead of the network."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mrcnn import boxes, images
from mrcnn.anchors import pixel_anchors
from mrcnn.augment import augment
from mrcnn.config import Config
from mrcnn.data import Dataset, Example
from mrcnn.schedule import Schedule
from mrcnn.targets import rpn_targets
from mrcnn.tensors import Tensor


class Batch(NamedTuple):
    """B examples, ready for the network; G is max_gt_instances, padded with class 0.

    `image` uint8 [B, H, W, 3]; `match` int32 [B, A]; `deltas` float32 [B, T, 4]; `class_ids` int32 [B, G];
    `truth` float32 [B, G, 4] normalised; `masks` bool [B, G, h, w].
    """

    image: Tensor
    match: Tensor
    deltas: Tensor
    class_ids: Tensor
    truth: Tensor
    masks: Tensor


_TYPES = (tf.uint8, tf.int32, tf.float32, tf.int32, tf.float32, tf.bool)


def side(config: Config) -> int:
    """Return the side of the square that pictures of one batch share; ValueError if they share none."""
    if config.image_resize_mode == "square":
        return config.image_max_dim
    if config.image_resize_mode == "crop":
        return config.image_min_dim
    raise ValueError(
        f"image_resize_mode {config.image_resize_mode!r} is for detection; train with 'square' or 'crop'"
    )


def prepare(example: Example, config: Config, anchors: NDArray, rng: np.random.Generator) -> Batch:
    """Turn an example at the network's size into targets, without the leading B."""
    rois = boxes.around_masks(example.masks.transpose(1, 2, 0))
    # A mask of one row or column of pixels has no box to learn.
    keep = np.flatnonzero(((rois[:, 2] - rois[:, 0]) > 1) & ((rois[:, 3] - rois[:, 1]) > 1))
    if len(keep) > config.max_gt_instances:
        keep = np.sort(rng.choice(keep, config.max_gt_instances, replace=False))
    rois, ids, masks = rois[keep], example.class_ids[keep], example.masks[keep]
    match, deltas = rpn_targets(anchors, rois[ids > 0], rois[ids < 0], config, rng)
    shape = example.image.shape[:2]
    if config.use_mini_mask:
        small = images.shrink_masks(masks.transpose(1, 2, 0), rois, config.mini_mask_shape).transpose(2, 0, 1)
    else:
        small = masks
    limit = config.max_gt_instances
    class_ids, truth = np.zeros(limit, np.int32), np.zeros((limit, 4), np.float32)
    padded = np.zeros((limit, *small.shape[1:]), bool)
    class_ids[: len(ids)], truth[: len(ids)], padded[: len(ids)] = ids, boxes.normalize(rois, shape), small
    return Batch(example.image, match, deltas, class_ids, truth, padded)


def batches(dataset: Dataset, config: Config, schedule: Schedule, start: int) -> Iterator[Batch]:
    """Yield the batches from step `start` on; each is a function of the seed and its step alone.

    A tf.data pipeline, two pictures at a time, works ahead of the network. What goes wrong with a picture is
    raised as it was.
    """
    size = (side(config), side(config))
    anchors = pixel_anchors(config, *size)
    errors: list[Exception] = []

    def example(index: int) -> Batch:
        rng = np.random.default_rng([schedule.seed, index])
        turn, place = divmod(index, dataset.size)
        # Every turn goes through the data in an order of its own.
        loaded = dataset.load(_shuffled(place, dataset.size, schedule.seed + turn))
        if schedule.augment:
            loaded = augment(loaded, size, rng)
        else:
            resized = images.resize_image(loaded.image, config, rng)
            masks = images.resize_masks(loaded.masks.transpose(1, 2, 0), resized).transpose(2, 0, 1)
            loaded = Example(resized.image, masks, loaded.class_ids)
        return prepare(loaded, config, anchors, rng)

    def guarded(index: NDArray[np.int64]) -> list[NDArray]:
        try:
            return list(example(int(index)))
        except Exception as err:
            errors.append(err)  # TensorFlow passes on its words alone
            raise

    count = config.images_per_gpu
    source = tf.data.Dataset.range(start * count, schedule.steps * count)
    source = source.map(
        lambda index: tf.numpy_function(guarded, [index], _TYPES), num_parallel_calls=2, deterministic=True
    )
    try:
        for parts in source.batch(count).prefetch(2):
            yield Batch(*parts)
    except tf.errors.OpError as err:
        raise (errors[0] if errors else err) from err


def _shuffled(place: int, size: int, seed: int) -> int:
    """Return where `place` of 0..size-1 stands in a shuffled order, without writing the order down."""
    step = 0x9E3779B1 + 2 * seed
    while np.gcd(step, size) != 1:
        step += 1
    return (place * step + seed) % size
