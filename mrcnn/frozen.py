"""Frozen graphs: inference as a TensorFlow 1 style GraphDef, run in a `tf.compat.v1.Session`.

A graph that TensorFlow 1 froze from Matterport's code has the same inputs and runs here too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray
from tensorflow.python.framework.convert_to_constants import (  # the only public way went with TensorFlow 1
    convert_variables_to_constants_v2,
)

from mrcnn.config import Config
from mrcnn.layers import Maker
from mrcnn.model import MaskRCNN
from mrcnn.network import Network, build
from mrcnn.serving import Run, Window
from mrcnn.tensors import Tensor

_DESCRIPTION = ("mrcnn_config", "mrcnn_classes")
_EPSILON = 1e-3


class _FoldedMaker(Maker):
    """Make layers of a network whose batch normalisations are folded into the convolutions before them."""

    def norm(self, name: str) -> Any:
        return layers.Identity(name=name)


def _norm_of(convolution: str) -> str:
    """Return the name of the normalisation after a convolution, if there is one."""
    if convolution.startswith("conv1"):
        return f"bn_{convolution}"
    return convolution.replace("res", "bn", 1).replace("_conv", "_bn", 1)


def _folded(network: Network, config: Config) -> Network:
    """Return the same network without normalisations: each is folded into the convolution before it."""
    arrays = {
        name: [np.asarray(v, np.float64) for leaf in leaves for v in leaf.weights]
        for name, leaves in network.named_layers()
    }
    folded = build(config, _FoldedMaker())
    for name, leaves in folded.named_layers():
        values = arrays[name]
        if _norm_of(name) in arrays and _norm_of(name) != name:
            gamma, beta, mean, variance = arrays[_norm_of(name)]
            scale = gamma / np.sqrt(variance + _EPSILON)
            values = [values[0] * scale, (values[1] - mean) * scale + beta]
        for variable, value in zip([v for leaf in leaves for v in leaf.weights], values, strict=True):
            variable.assign(value.astype(np.float32))
    return folded


def freeze(path: str | Path, config: Config, classes: Sequence[str]) -> Any:
    """Return the GraphDef of a weights file.

    Inputs, by Matterport's names: `input_image` [1, H, W, 3], molded; `input_image_meta` [1, 12 + classes];
    `input_anchors` [1, A, 4], normalised. Outputs: `detections` [D, (y1, x1, y2, x2, class, score)] and
    `masks` [D, 28, 28], each of its own class. Raises WeightsError.
    """
    if config.image_resize_mode != "square":
        raise ValueError(
            "a frozen graph has one size of input: image_resize_mode must be 'square', or export .onnx"
        )
    model = MaskRCNN(config, classes)
    model.load_weights(path)
    model.network = _folded(model.network, config)
    side = config.image_max_dim

    def forward(
        input_image: Tensor, input_image_meta: Tensor, input_anchors: Tensor
    ) -> tuple[Tensor, Tensor]:
        meta = input_image_meta[0]
        height, width = meta[4], meta[5]
        frame = (meta[7:11] - [0.0, 0.0, 1.0, 1.0]) / (tf.stack([height, width, height, width]) - 1.0)
        detections, masks = model._forward(input_image, input_anchors[0], frame)
        return tf.identity(detections, name="detections"), tf.identity(masks, name="masks")

    concrete = tf.function(forward, autograph=False).get_concrete_function(
        tf.TensorSpec([1, side, side, 3], name="input_image"),
        tf.TensorSpec([1, None], name="input_image_meta"),
        tf.TensorSpec([1, None, 4], name="input_anchors"),
    )
    graph = convert_variables_to_constants_v2(concrete).graph.as_graph_def()
    for name, value in zip(_DESCRIPTION, (config.to_json(), json.dumps(list(classes))), strict=True):
        node = graph.node.add(name=name, op="Const")
        node.attr["dtype"].type = tf.string.as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    keras.backend.clear_session()
    return graph


class FrozenGraph:
    """A graph in a session. `description` holds what `freeze` wrote into it, or nothing."""

    def __init__(self, path: Path, threads: int) -> None:
        definition = tf.compat.v1.GraphDef()
        try:
            definition.ParseFromString(path.read_bytes())
            self._graph = tf.Graph()
            with self._graph.as_default():
                tf.import_graph_def(definition, name="")
        except Exception as err:  # protobuf's and TensorFlow's errors have no common base but this
            raise ValueError(f"{path}: not a frozen graph ({err})") from err
        self.description = {
            node.name: node.attr["value"].tensor.string_val[0].decode()
            for node in definition.node
            if node.name in _DESCRIPTION
        }
        try:
            self._inputs = [
                self._graph.get_tensor_by_name(f"{name}:0")
                for name in ("input_image", "input_image_meta", "input_anchors")
            ]
            self._outputs = [
                self._output("detections", "mrcnn_detection"),
                self._output("masks", "mrcnn_mask"),
            ]
        except KeyError as err:
            raise ValueError(f"{path}: not a Mask R-CNN for inference ({err})") from err
        settings = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=threads, inter_op_parallelism_threads=1
        )
        self._session = tf.compat.v1.Session(graph=self._graph, config=settings)

    def _output(self, ours: str, layer: str) -> Any:
        """Return our output of that name, else what Matterport's layer reshapes last."""
        names = {operation.name for operation in self._graph.get_operations()}
        if ours in names:
            return self._graph.get_tensor_by_name(f"{ours}:0")
        found = {
            int(m[1] or 0): name
            for name in names
            if (m := re.fullmatch(rf"{layer}/Reshape(?:_(\d+))?", name))
        }
        if not found:
            raise KeyError(f"neither {ours} nor {layer}/Reshape_1")
        return self._graph.get_tensor_by_name(f"{found[max(found)]}:0")

    def bound(self, config: Config) -> Run:
        """Return the function that runs it."""

        def run(
            molded: NDArray[np.float32], window: Window, anchors: NDArray[np.float32]
        ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            height, width = molded.shape[:2]
            size = (height, width, 3)
            meta = np.array([0, *size, *size, *window, 1, *[0] * config.num_classes], np.float32)
            feed = dict(zip(self._inputs, (molded[None], meta[None], anchors[None]), strict=True))
            detections, masks = self._session.run(self._outputs, feed)
            if (
                detections.ndim == 3
            ):  # Matterport's: [1, 100, 6] and [1, 100, 28, 28, classes], ended by class 0
                classes = detections[0, :, 4].astype(np.int64)
                count = int(np.argmin(classes > 0)) if not (classes > 0).all() else len(classes)
                rows = np.arange(count)
                detections, masks = detections[0, :count], masks[0, rows, :, :, classes[:count]]
            return detections, masks

        return run
