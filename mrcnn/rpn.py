"""The region proposal network: for each anchor, is something here, and how is its box to move."""

import keras
from keras import layers

from mrcnn.config import Config
from mrcnn.layers import Maker


def rpn_model(config: Config, make: Maker) -> keras.Model:
    """Return what all levels share: features [B, h, w, C] to logits [B, A, 2], deltas [B, A, 4]."""
    per_place = len(config.rpn_anchor_ratios)
    features = keras.Input((None, None, config.top_down_pyramid_size), name="input_rpn_feature_map")
    shared = make.conv(config.rpn_conv_size, 3, "rpn_conv_shared", config.rpn_anchor_stride)(features)
    shared = make.relu(shared)
    logits = make.conv(2 * per_place, 1, "rpn_class_raw", padding="valid")(shared)
    deltas = make.conv(4 * per_place, 1, "rpn_bbox_pred", padding="valid")(shared)
    logits = layers.Reshape((-1, 2), dtype="float32")(logits)  # (background, object)
    deltas = layers.Reshape((-1, 4), dtype="float32")(deltas)  # (dy, dx, log dh, log dw) / rpn_bbox_std_dev
    return keras.Model(features, [logits, deltas], name="rpn_model")
