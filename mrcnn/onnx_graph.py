"""The whole of inference as one ONNX graph, written from the weights alone: no TensorFlow, no Keras.

It answers what `MaskRCNN.detect_molded` answers. Batch normalisation is folded into the convolutions, the
mask head ends in the detected class alone, and the empty boxes that Matterport fills up with go through the
heads once.
"""

import json
import math
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from mrcnn.config import Config
from mrcnn.onnx_writer import Graph, Weights
from mrcnn.weights import Groups

# What the trunk (backbone, pyramid, proposals' network) makes of an image: P2 to P5, each [1, C, h, w], and
# the logits [A, 2] and deltas [A, 4] of all anchors.
TRUNK = ("p2", "p3", "p4", "p5", "logits", "deltas")
_STAGE4_BLOCKS = {"resnet50": 6, "resnet101": 23}
# Stage, channels, blocks.
_SMALL_STAGES = ((2, 32, 1), (3, 64, 2), (4, 112, 2), (5, 160, 2))


def _resnet(g: Graph, x: str, architecture: str) -> list[tuple[str, int]]:
    """Return C2 to C5 with their channels."""
    x = g.relu(g.conv(x, "conv1", 7, 3, 64, "bn_conv1", 2, 3))
    x = g.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
    stages, channels = [], 64
    for stage, width, blocks in (
        (2, 64, 3),
        (3, 128, 4),
        (4, 256, _STAGE4_BLOCKS[architecture]),
        (5, 512, 3),
    ):
        for i in range(blocks):
            block = f"{stage}{chr(ord('a') + i)}_branch"
            strides = 2 if i == 0 and stage > 2 else 1
            y = g.relu(g.conv(x, f"res{block}2a", 1, channels, width, f"bn{block}2a", strides))
            y = g.relu(g.conv(y, f"res{block}2b", 3, width, width, f"bn{block}2b"))
            y = g.conv(y, f"res{block}2c", 1, width, 4 * width, f"bn{block}2c")
            if i == 0:
                x = g.conv(x, f"res{block}1", 1, channels, 4 * width, f"bn{block}1", strides)
            x, channels = g.relu(g.op("Add", y, x)), 4 * width
        stages.append((x, channels))
    return stages


def _small(g: Graph, x: str) -> list[tuple[str, int]]:
    """Return C2 to C5 with their channels."""
    x = g.relu(g.conv(x, "conv1", 3, 3, 24, "bn_conv1", 2))
    x = g.relu(g.conv(x, "conv1b", 3, 24, 32, "bn_conv1b", 2))
    stages, channels = [], 32
    for stage, filters, blocks in _SMALL_STAGES:
        for i in range(blocks):
            block = f"{stage}{chr(ord('a') + i)}_branch"
            strides = 2 if i == 0 and stage > 2 else 1
            y = g.relu(g.conv(x, f"res{block}2a", 3, channels, filters, f"bn{block}2a", strides))
            y = g.conv(y, f"res{block}2b", 3, filters, filters, f"bn{block}2b")
            if strides > 1 or channels != filters:
                x = g.conv(x, f"res{block}1", 1, channels, filters, f"bn{block}1", strides)
            x, channels = g.relu(g.op("Add", y, x)), filters
        stages.append((x, channels))
    return stages


def _pyramid(g: Graph, stages: list[tuple[str, int]], width: int) -> list[str]:
    """Return P2 to P6."""
    merged: list[str] = []
    for i, (x, channels) in enumerate(reversed(stages)):
        level = 5 - i
        side = g.conv(x, f"fpn_c{level}p{level}", 1, channels, width)
        if merged:
            scales = g.constant([1, 1, 2, 2])
            up = g.op(
                "Resize",
                merged[0],
                "",
                scales,
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
            side = g.op("Add", up, side)
        merged.insert(0, side)
    levels = [g.conv(x, f"fpn_p{i + 2}", 3, width, width) for i, x in enumerate(merged)]
    return [*levels, g.op("MaxPool", levels[3], kernel_shape=[1, 1], strides=[2, 2])]


def _rpn(g: Graph, levels: list[str], config: Config) -> tuple[str, str]:
    """Return the logits [A, 2] and deltas [A, 4] of all anchors."""
    width, per_place = config.rpn_conv_size, len(config.rpn_anchor_ratios)
    pyramid = config.top_down_pyramid_size
    shared, shared_bias, to_logits, logits_bias, to_deltas, deltas_bias = g.weights.take(
        "rpn_model",
        (3, 3, pyramid, width),
        (width,),
        (1, 1, width, 2 * per_place),
        (2 * per_place,),
        (1, 1, width, 4 * per_place),
        (4 * per_place,),
    )
    # One convolution answers both: the map that it reads is the largest of all.
    both = np.concatenate([to_logits, to_deltas], axis=-1)
    both_bias = np.concatenate([logits_bias, deltas_bias])
    strides = config.rpn_anchor_stride
    logits, deltas = [], []
    for level in levels:
        x = g.relu(g.convolve(level, "rpn_conv_shared", shared, shared_bias, strides))
        x = g.op("Transpose", g.convolve(x, "rpn_both", both, both_bias), perm=[0, 2, 3, 1])
        logits.append(g.op("Reshape", g.columns(x, 0, 2 * per_place), g.constant([-1, 2], np.int64)))
        deltas.append(
            g.op("Reshape", g.columns(x, 2 * per_place, 6 * per_place), g.constant([-1, 4], np.int64))
        )
    return g.op("Concat", *logits, axis=0), g.op("Concat", *deltas, axis=0)


def _moved(g: Graph, boxes: str, deltas: str, spread: Sequence[float], window: str) -> str:
    """Move boxes [N, 4] by deltas [N, 4] times `spread`, and clip them to `window` [4]."""
    deltas = g.op("Mul", deltas, g.constant(spread))
    low = g.columns(boxes, 0, 2)
    size = g.op("Sub", g.columns(boxes, 2, 4), low)
    half = g.constant(0.5)
    centre = g.op("Add", low, g.op("Mul", half, size))
    centre = g.op("Add", centre, g.op("Mul", g.columns(deltas, 0, 2), size))
    size = g.op("Mul", size, g.op("Exp", g.columns(deltas, 2, 4)))
    corner = g.op("Sub", centre, g.op("Mul", half, size))
    moved = g.op("Concat", corner, g.op("Add", corner, size), axis=1)
    first, last = g.columns(window, 0, 2), g.columns(window, 2, 4)
    moved = g.op("Min", moved, g.op("Concat", last, last, axis=0))
    return g.op("Max", moved, g.op("Concat", first, first, axis=0))


def _best(g: Graph, values: str, limit: int) -> tuple[str, str]:
    """Return the at most `limit` greatest of a vector, greatest first, and their places."""
    count = g.op("Min", g.constant([limit], np.int64), g.rows(values))
    best, places = g.ops("TopK", 2, values, count, axis=0)
    return best, places


def _propose(g: Graph, logits: str, deltas: str, anchors: str, config: Config) -> str:
    """Return at most `post_nms_rois_inference` boxes [N, 4], best first."""
    scores = g.op("Squeeze", g.columns(g.op("Softmax", logits, axis=1), 1, 2), g.constant([1], np.int64))
    scores, places = _best(g, scores, config.pre_nms_limit)
    moved = _moved(
        g,
        g.op("Gather", anchors, places),
        g.op("Gather", deltas, places),
        config.rpn_bbox_std_dev,
        g.constant([0, 0, 1, 1]),
    )
    chosen = g.op(
        "NonMaxSuppression",
        g.op("Unsqueeze", moved, g.constant([0], np.int64)),
        g.op("Unsqueeze", scores, g.constant([0, 1], np.int64)),
        g.constant([config.post_nms_rois_inference], np.int64),
        g.constant([config.rpn_nms_threshold]),
    )
    places = g.op("Squeeze", g.columns(chosen, 2, 3), g.constant([1], np.int64))
    return g.op("Gather", moved, places)


def _roi_align(g: Graph, levels: Sequence[str], boxes: str, shape: str, size: int) -> tuple[str, str]:
    """Cut boxes [N, 4] out of P2..P5: [N, C, size, size], level after level, and the order that is.

    `shape` is the input's (height, width), float32 [2]. One sample a bin, on the bins' corners.
    """
    low, high = g.columns(boxes, 0, 2), g.columns(boxes, 2, 4)
    sides = g.op("Sub", high, low)
    area = g.op("Mul", g.columns(sides, 0, 1), g.columns(sides, 1, 2))
    whole = g.op("ReduceProd", shape, keepdims=0)
    unit = g.op("Div", g.constant(224.0), g.op("Sqrt", whole))
    level = g.op("Log", g.op("Div", g.op("Sqrt", area), unit))
    level = g.op("Round", g.op("Div", level, g.constant(math.log(2.0))))
    level = g.op("Clip", g.op("Add", level, g.constant(4.0)), g.constant(2.0), g.constant(5.0))
    level = g.op("Squeeze", level, g.constant([1], np.int64))
    places, pieces = [], []
    for i, feature in enumerate(levels):
        place = g.where(g.op("Equal", level, g.constant(float(i + 2))))
        # RoiAlign samples the middle of each bin. From corner to corner there are size - 1 steps: bins as
        # long as a step, half a step outwards, have their middles on the corners.
        grid = g.op(
            "Sub", g.op("Cast", g.op("Shape", feature, start=2, end=4), to=TensorProto.FLOAT), g.constant(1.0)
        )
        first = g.op("Mul", g.op("Gather", low, place), grid)
        last = g.op("Mul", g.op("Gather", high, place), grid)
        half = g.op("Mul", g.op("Sub", last, first), g.constant(0.5 / (size - 1)))
        first = g.op("Add", g.op("Sub", first, half), g.constant(0.5))
        last = g.op("Add", g.op("Add", last, half), g.constant(0.5))
        y1, x1 = g.columns(first, 0, 1), g.columns(first, 1, 2)
        y2, x2 = g.columns(last, 0, 1), g.columns(last, 1, 2)
        regions = g.op("Concat", x1, y1, x2, y2, axis=1)
        pieces.append(
            g.op(
                "RoiAlign",
                feature,
                regions,
                g.op("Mul", place, g.constant([0], np.int64)),
                coordinate_transformation_mode="half_pixel",
                mode="avg",
                output_height=size,
                output_width=size,
                sampling_ratio=1,
                spatial_scale=1.0,
            )
        )
        places.append(place)
    return g.op("Concat", *pieces, axis=0), g.op("Concat", *places, axis=0)


def _ordered(g: Graph, values: str, order: str) -> str:
    """Undo `_roi_align`'s order: row i of `values` goes to place order[i]."""
    count = g.rows(order)
    back = g.op("ScatterElements", order, order, g.upto(count), axis=0)
    return g.op("Gather", values, back)


def _classify(g: Graph, pooled: str, config: Config) -> tuple[str, str]:
    """Return the class probabilities [N, classes] and deltas [N, classes * 4] of pooled regions."""
    size, channels, width = config.pool_size, config.top_down_pyramid_size, config.fpn_classif_fc_layers_size
    classes = config.num_classes

    def dense(x: str, name: str, kernel: NDArray, bias: NDArray) -> str:
        weight = g.array(f"{name}/kernel", kernel)
        return g.op("Gemm", x, weight, g.array(f"{name}/bias", bias))

    # A convolution as large as its input is one matrix product.
    kernel, bias = g.kernel("mrcnn_class_conv1", size, channels, width, "mrcnn_class_bn1")
    kernel = kernel.transpose(2, 0, 1, 3).reshape(-1, width)
    x = g.relu(dense(g.op("Flatten", pooled), "mrcnn_class_conv1", kernel, bias))
    kernel, bias = g.kernel("mrcnn_class_conv2", 1, width, width, "mrcnn_class_bn2")
    x = g.relu(dense(x, "mrcnn_class_conv2", kernel[0, 0], bias))
    logits = dense(
        x, "mrcnn_class_logits", *g.weights.take("mrcnn_class_logits", (width, classes), (classes,))
    )
    deltas = dense(x, "mrcnn_bbox_fc", *g.weights.take("mrcnn_bbox_fc", (width, 4 * classes), (4 * classes,)))
    return g.op("Softmax", logits, axis=1), deltas


def _detect(g: Graph, rois: str, probs: str, deltas: str, window: str, config: Config) -> list[str]:
    """Return boxes [D, 4], classes int64 [D] and scores [D], best first."""
    axis0, axis1 = g.constant([0], np.int64), g.constant([1], np.int64)
    classes = g.op("ArgMax", probs, axis=1, keepdims=0)
    scores = g.op("ReduceMax", probs, axes=[1], keepdims=0)
    kept = g.op("Greater", classes, g.constant(0, np.int64))
    if config.detection_min_confidence:
        sure = g.op("GreaterOrEqual", scores, g.constant(config.detection_min_confidence))
        kept = g.op("And", kept, sure)
    place = g.where(kept)
    rois, classes, scores, deltas = (g.op("Gather", x, place) for x in (rois, classes, scores, deltas))
    deltas = g.op("Reshape", deltas, g.constant([-1, config.num_classes, 4], np.int64))
    own = g.op("Unsqueeze", classes, axis1)  # [N, 1]
    boxes = _moved(g, rois, g.op("GatherND", deltas, own, batch_dims=1), config.bbox_std_dev, window)
    # The suppression goes class by class over scores [1, classes, N], 0 where a box is of another class.
    every = g.op("Unsqueeze", g.upto(g.constant([config.num_classes], np.int64)), axis1)  # [classes, 1]
    same = g.op("Cast", g.op("Equal", every, g.op("Unsqueeze", classes, axis0)), to=TensorProto.FLOAT)
    chosen = g.op(
        "NonMaxSuppression",
        g.op("Unsqueeze", boxes, axis0),
        g.op("Unsqueeze", g.op("Mul", same, g.op("Unsqueeze", scores, axis0)), axis0),
        g.constant([config.detection_max_instances], np.int64),
        g.constant([config.detection_nms_threshold]),
        g.constant([0.0]),
    )
    place = g.op("Squeeze", g.columns(chosen, 2, 3), axis1)
    # Equal scores keep the order of the regions: back to it before the best are taken.
    _, order = g.ops("TopK", 2, place, g.rows(place), axis=0, largest=0)
    place = g.op("Gather", place, order)
    _, order = _best(g, g.op("Gather", scores, place), config.detection_max_instances)
    place = g.op("Gather", place, order)
    return [g.op("Gather", x, place) for x in (boxes, classes, scores)]


def _masks(g: Graph, pooled: str, classes: str, config: Config) -> str:
    """Return the soft masks [D, h, w] of pooled detections [D, C, h / 2, w / 2], of `classes` [D]."""
    channels, width = config.top_down_pyramid_size, config.mask_conv_size
    x = pooled
    for i in (1, 2, 3, 4):
        x = g.relu(g.conv(x, f"mrcnn_mask_conv{i}", 3, channels, width, f"mrcnn_mask_bn{i}"))
        channels = width
    # A transposed convolution of 2 x 2, stride 2, is four 1 x 1 side by side: [2, 2, out, in].
    kernel, bias = g.weights.take("mrcnn_mask_deconv", (2, 2, width, width), (width,))
    kernel = kernel.transpose(3, 0, 1, 2).reshape(1, 1, width, 4 * width)
    x = g.relu(g.convolve(x, "mrcnn_mask_deconv", kernel, np.tile(bias, 4)))
    # Of the last convolution only the detected class's row is multiplied.
    side = config.mask_pool_size
    kernel, bias = g.weights.take("mrcnn_mask", (1, 1, width, config.num_classes), (config.num_classes,))
    rows = g.array("mrcnn_mask/rows", kernel[0, 0].T)
    row = g.op("Unsqueeze", g.op("Gather", rows, classes), g.constant([1, 2], np.int64))  # [D, 1, 1, width]
    x = g.op("MatMul", row, g.op("Reshape", x, g.constant([-1, 4, width, side * side], np.int64)))
    x = g.op("Reshape", x, g.constant([-1, 2, 2, side, side], np.int64))
    x = g.op("Transpose", x, perm=[0, 3, 1, 4, 2])
    x = g.op("Reshape", x, g.constant([-1, 2 * side, 2 * side], np.int64))
    bias = g.op("Gather", g.array("mrcnn_mask/bias", bias), classes)
    return g.op("Sigmoid", g.op("Add", x, g.op("Unsqueeze", bias, g.constant([1, 2], np.int64))))


def _value(name: str, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _inputs() -> list[onnx.ValueInfoProto]:
    """Return `anchors` and `window`."""
    return [_value("anchors", "anchors", 4), _value("window", 4)]


def _outputs(config: Config, values: tuple[str, str]) -> dict[str, onnx.ValueInfoProto]:
    """Return what `values` (detections, masks) leave the model as."""
    infos = _value("detections", "found", 6), _value("masks", "found", *config.mask_shape)
    return dict(zip(values, infos, strict=True))


def _image() -> onnx.ValueInfoProto:
    return _value("image", 1, "height", "width", 3)


def _trunk(g: Graph, config: Config) -> list[str]:
    """Return `TRUNK`'s values of the input `image`."""
    x = g.op("Transpose", "image", perm=[0, 3, 1, 2])
    stages = _small(g, x) if config.backbone == "small" else _resnet(g, x, config.backbone)
    levels = _pyramid(g, stages, config.top_down_pyramid_size)
    return [*levels[:4], *_rpn(g, levels, config)]


def _regions(g: Graph, trunk: Sequence[str], shape: str, config: Config) -> tuple[str, str]:
    """Return detections [D, 6] and masks [D, 28, 28] of `TRUNK`'s values and the image's `shape`."""
    if config.mask_shape != (2 * config.mask_pool_size,) * 2:
        raise ValueError(
            f"mask_shape {config.mask_shape} is not twice mask_pool_size {config.mask_pool_size}"
        )
    *levels, logits, deltas = trunk
    axis1 = g.constant([1], np.int64)
    rois = _propose(g, logits, deltas, "anchors", config)
    # Matterport fills up with empty boxes, which may be detected too. They are all alike: one goes through
    # the heads and is counted as often.
    count = g.rows(rois)
    missing = g.op("Sub", g.constant([config.post_nms_rois_inference], np.int64), count)
    rois = g.op("Concat", rois, g.constant([[0, 0, 0, 0]]), axis=0)
    pooled, order = _roi_align(g, levels, rois, shape, config.pool_size)
    probs, deltas = (_ordered(g, answer, order) for answer in _classify(g, pooled, config))
    rows = g.op("Concat", g.upto(count), g.op("Expand", count, missing), axis=0)
    rois, probs, deltas = (g.op("Gather", values, rows) for values in (rois, probs, deltas))
    boxes, ids, scores = _detect(g, rois, probs, deltas, "window", config)
    columns = [
        boxes,
        *(g.op("Unsqueeze", g.op("Cast", v, to=TensorProto.FLOAT), axis1) for v in (ids, scores)),
    ]
    detections = g.op("Concat", *columns, axis=1)
    pooled, order = _roi_align(g, levels, boxes, shape, config.mask_pool_size)
    masks = _ordered(g, _masks(g, pooled, g.op("Gather", ids, order), config), order)
    return detections, masks


def build(
    groups: Groups,
    config: Config,
    classes: Sequence[str],
    *,
    name: str = "the file",
    beside: BinaryIO | None = None,
) -> onnx.ModelProto:
    """Return the model of a weights file's `groups`.

    Inputs: `image` float32 [1, H, W, 3], molded; `anchors` float32 [A, 4] and `window` float32 [4],
    normalised. Outputs: `detections` [D, (y1, x1, y2, x2, class, score)], best first, `masks` [D, 28, 28].
    Large arrays are written to the file `beside`, if it is given: ONNX Runtime maps it into memory, and needs
    half of what it takes to read them from the model. It must lie in the model's folder. `groups` is emptied
    on the way. Raises WeightsError with a list of what does not fit the file `name`.
    """
    weights = Weights(groups)
    g = Graph(weights, beside)
    shape = g.op("Cast", g.op("Shape", "image", start=1, end=3), to=TensorProto.FLOAT)
    found = _regions(g, _trunk(g, config), shape, config)
    weights.check(name)
    model = g.model([_image(), *_inputs()], _outputs(config, found))
    description = {"mrcnn_config": config.to_json(), "mrcnn_classes": json.dumps(list(classes))}
    helper.set_model_props(model, description)
    return model


def build_parts(
    groups: Groups, config: Config, *, name: str, beside: BinaryIO
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Return the same as two models, so that the first may be run in another precision.

    The first makes `TRUNK` of `image`. The second takes `TRUNK`, `anchors`, `window` and `shape`, the image's
    (height, width) as float32 [2], and answers as `build`'s model does.
    """
    weights = Weights(groups)
    trunk, regions = Graph(weights, beside), Graph(weights, beside)
    values = _trunk(trunk, config)
    found = _regions(regions, TRUNK, "shape", config)
    weights.check(name)
    width = config.top_down_pyramid_size
    between = [
        *(_value(level, 1, width, f"height_{level}", f"width_{level}") for level in TRUNK[:4]),
        _value("logits", "anchors", 2),
        _value("deltas", "anchors", 4),
    ]
    return (
        trunk.model([_image()], dict(zip(values, between, strict=True))),
        regions.model([*between, *_inputs(), _value("shape", 2)], _outputs(config, found)),
    )
