"""Mask R-CNN for inference."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mrcnn import boxes, images, weights
from mrcnn.anchors import normalized_anchors
from mrcnn.config import Config
from mrcnn.detection import detect
from mrcnn.layers import Maker
from mrcnn.network import build
from mrcnn.proposals import propose
from mrcnn.roi_align import roi_align
from mrcnn.tensors import Tensor


class MaskRCNN:
    """Find objects in pictures: boxes, classes, scores and masks.

    `classes` names the classes 1, 2, ... of the detections, without the background.
    """

    def __init__(self, config: Config, classes: Sequence[str] | None = None) -> None:
        self.config = config
        if classes is None:
            classes = [f"class {i}" for i in range(1, config.num_classes)]
        if len(classes) != config.num_classes - 1:
            raise ValueError(
                f"{len(classes)} classes, but num_classes is {config.num_classes} with the background"
            )
        self.classes = tuple(classes)
        self.network = build(config, Maker())
        self._anchors: dict[tuple[int, int], Tensor] = {}
        # Nothing here branches on a tensor: without AutoGraph the first answer comes seconds sooner.
        self._graph = tf.function(self._forward, autograph=False)

    @classmethod
    def from_file(cls, path: str | Path) -> "MaskRCNN":
        """Open a weights file of ours, which holds its settings and its class list."""
        config, classes = weights.read_description(path)
        model = cls(config, classes)
        model.load_weights(path)
        return model

    def load_weights(self, path: str | Path, exclude: Collection[str] = ()) -> None:
        """Load a Matterport or own `.h5`; raises WeightsError with a list of what does not fit.

        `exclude` names layers to leave as they are, such as `mrcnn.weights.HEADS`.
        """
        weights.load(path, self.network, exclude)

    def save_weights(self, path: str | Path, dtype: str = "float32") -> None:
        """Write weights, settings and class list; Matterport's code reads the float32 file."""
        weights.save(path, self.network, self.config, self.classes, dtype)

    def detect(self, pictures: Sequence[NDArray[np.uint8]]) -> list[dict[str, NDArray]]:
        """Find the objects in RGB pictures, each [H, W, 3] of any size.

        Returns for each: `rois` int32 [N, (y1, x1, y2, x2)], `class_ids` int32 [N], `scores` float32 [N],
        best first, and `masks` bool [H, W, N].
        """
        return [self._detect_one(picture) for picture in pictures]

    def _detect_one(self, picture: NDArray[np.uint8]) -> dict[str, NDArray]:
        if picture.ndim != 3 or picture.shape[-1] != 3 or picture.dtype != np.uint8:
            raise ValueError(f"a picture is uint8 [H, W, 3], not {picture.dtype} {list(picture.shape)}")
        resized = images.resize_image(picture, self.config)
        height, width = resized.image.shape[:2]
        detections, masks = self.detect_molded(images.mold(resized.image, self.config), resized.window)
        return images.unmold(detections, masks, picture.shape[:2], (height, width), resized.window)

    def detect_molded(
        self, molded: NDArray[np.float32], window: tuple[int, int, int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run the network on one molded image [H, W, 3] whose picture lies in `window` (pixels).

        Returns detections [D, (y1, x1, y2, x2, class, score)] and their soft masks [D, 28, 28].
        """
        shape = molded.shape[:2]
        if shape not in self._anchors:
            self._anchors[shape] = tf.constant(normalized_anchors(self.config, *shape))
        frame = boxes.normalize(np.array(window), shape)
        detections, masks = self._graph(tf.constant(molded[None]), self._anchors[shape], tf.constant(frame))
        return detections.numpy(), masks.numpy()

    def _forward(self, image: Tensor, anchors: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
        """Run one image [1, H, W, 3] through the whole network."""
        config, shape = self.config, (image.shape[1], image.shape[2])
        *features, logits, deltas = self.network.trunk(image, training=False)
        scores = tf.nn.softmax(logits[0])[:, 1]
        rois = propose(scores, deltas[0], anchors, config, config.post_nms_rois_inference)
        # Matterport fills up with empty boxes, which go through the heads and may be detected. They are all
        # alike: one goes through and is counted as often.
        missing = config.post_nms_rois_inference - tf.shape(rois)[0]
        rois = tf.concat([rois, tf.zeros([1, 4])], axis=0)
        probs, deltas = self._classify(features[:4], rois, shape)
        row = tf.shape(rois)[0] - 1
        rows = tf.concat([tf.range(row), tf.fill([missing], row)], axis=0)
        detections = detect(
            tf.gather(rois, rows), tf.gather(probs, rows), tf.gather(deltas, rows), window, config
        )
        return detections, self._masks(features[:4], detections, shape)

    def _classify(
        self, features: Sequence[Tensor], rois: Tensor, shape: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return class probabilities [N, classes] and box deltas [N, classes, 4] of rois [N, 4]."""
        pooled = roi_align(
            features, rois, tf.zeros(tf.shape(rois)[:1], tf.int32), self.config.pool_size, shape
        )
        _, probs, deltas = self.network.classifier(pooled, training=False)
        return probs, deltas

    def _masks(self, features: Sequence[Tensor], detections: Tensor, shape: tuple[int, int]) -> Tensor:
        """Return the soft mask [D, 28, 28] of each detection [D, 6], of its own class."""
        images_ = tf.zeros(tf.shape(detections)[:1], tf.int32)
        pooled = roi_align(features, detections[:, :4], images_, self.config.mask_pool_size, shape)
        logits = self.network.mask_head(pooled, training=False)
        chosen = tf.gather(
            tf.transpose(logits, [0, 3, 1, 2]), tf.cast(detections[:, 4], tf.int32), batch_dims=1
        )
        return tf.sigmoid(chosen)
