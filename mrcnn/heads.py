"""The two heads that look at one region at a time: what is it, and which of its pixels."""

from typing import Any

import keras
from keras import layers

from mrcnn.config import Config
from mrcnn.layers import Maker


def classifier(config: Config, make: Maker) -> keras.Model:
    """Return the box head.

    It maps pooled [N, 7, 7, C] to logits and probabilities [N, classes], deltas [N, classes, 4].
    """
    pooled = keras.Input((config.pool_size, config.pool_size, config.top_down_pyramid_size))
    width = config.fpn_classif_fc_layers_size
    x = make.conv(width, config.pool_size, "mrcnn_class_conv1", padding="valid")(pooled)
    x = make.relu(make.norm("mrcnn_class_bn1")(x))
    x = make.conv(width, 1, "mrcnn_class_conv2", padding="valid")(x)
    x = make.relu(make.norm("mrcnn_class_bn2")(x))
    x = layers.Reshape((width,), name="pool_squeeze", dtype="float32")(x)
    dense: dict[str, Any] = {"dtype": "float32", "kernel_initializer": make.initializer}
    logits = layers.Dense(config.num_classes, name="mrcnn_class_logits", **dense)(x)
    probs = layers.Activation("softmax", name="mrcnn_class", dtype="float32")(logits)
    deltas = layers.Dense(4 * config.num_classes, name="mrcnn_bbox_fc", **dense)(x)
    deltas = layers.Reshape((config.num_classes, 4), name="mrcnn_bbox", dtype="float32")(deltas)
    return keras.Model(pooled, [logits, probs, deltas], name="classifier")


def mask_head(config: Config, make: Maker) -> keras.Model:
    """Return the mask head: pooled [N, 14, 14, C] to mask logits [N, 28, 28, classes]."""
    pooled = keras.Input((config.mask_pool_size, config.mask_pool_size, config.top_down_pyramid_size))
    x = pooled
    for i in (1, 2, 3, 4):
        x = make.conv(config.mask_conv_size, 3, f"mrcnn_mask_conv{i}")(x)
        x = make.relu(make.norm(f"mrcnn_mask_bn{i}")(x))
    x = layers.Conv2DTranspose(
        config.mask_conv_size,
        2,
        strides=2,
        activation="relu",
        name="mrcnn_mask_deconv",
        dtype=make.dtype,
        kernel_initializer=make.initializer,
    )(x)
    x = make.conv(config.num_classes, 1, "mrcnn_mask")(x)
    return keras.Model(pooled, layers.Activation("linear", dtype="float32")(x), name="mask_head")
