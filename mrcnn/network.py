"""The network's three parts with their weights; inference and training both run on it."""

from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from mrcnn.config import Config
from mrcnn.fpn import pyramid
from mrcnn.heads import classifier, mask_head
from mrcnn.layers import Maker
from mrcnn.resnet import resnet
from mrcnn.rpn import rpn_model
from mrcnn.small import small


@dataclass(frozen=True, slots=True)
class Network:
    """Hold the trunk and the two heads.

    `trunk`: molded images [B, H, W, 3] to P2..P6, RPN logits [B, A, 2], RPN deltas [B, A, 4].
    `classifier`: pooled [N, 7, 7, C] to logits and probabilities [N, classes], deltas [N, classes, 4].
    `mask_head`: pooled [N, 14, 14, C] to mask logits [N, 28, 28, classes].
    """

    trunk: keras.Model
    classifier: keras.Model
    mask_head: keras.Model

    def named_layers(self) -> list[tuple[str, list[keras.Layer]]]:
        """Return Matterport's groups in the order of its files: name, and the leaf layers with weights."""
        groups = []
        for part in (self.trunk, self.classifier, self.mask_head):
            for layer in part.layers:
                leaves = layer.layers if isinstance(layer, keras.Model) else [layer]
                leaves = [leaf for leaf in leaves if leaf.weights]
                if leaves:
                    groups.append((layer.name, leaves))
        return groups


def build(config: Config, make: Maker) -> Network:
    """Build the network of `config`."""
    image: Any = keras.Input((None, None, 3), name="input_image")
    stages = small(image, make) if config.backbone == "small" else resnet(image, make, config.backbone)
    levels = pyramid(stages, make, config.top_down_pyramid_size)
    rpn = rpn_model(config, make)
    answers = [rpn(level) for level in levels]
    logits = layers.Concatenate(axis=1, name="rpn_class_logits", dtype="float32")([a[0] for a in answers])
    deltas = layers.Concatenate(axis=1, name="rpn_bbox", dtype="float32")([a[1] for a in answers])
    trunk = keras.Model(image, [*levels, logits, deltas], name="trunk")
    return Network(trunk, classifier(config, make), mask_head(config, make))
