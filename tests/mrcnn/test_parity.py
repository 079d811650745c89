"""The whole network against what Matterport's own code answered, from the same weights and pictures."""

import json
import zlib

import numpy as np
import oracle
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from mrcnn import Config, MaskRCNN, images
from mrcnn.anchors import normalized_anchors
from mrcnn.batches import Batch
from mrcnn.model import propose
from mrcnn.report import LOSSES
from mrcnn.schedule import Schedule
from mrcnn.train import Trainer


@pytest.fixture(scope="module")
def model() -> MaskRCNN:
    """ResNet-50, 17 classes: one network for both cases, whose settings differ in the input alone."""
    made = MaskRCNN(Config(backbone="resnet50", num_classes=17))
    oracle.fill(made.network, 0)
    return made


def molded(case: dict[str, NDArray], settings: Config) -> NDArray[np.float32]:
    """Return the network's exact input there: ours, less the grey level lost where a value was whole."""
    resized = images.resize_image(oracle.picture(json.loads(str(case["case"]))["images"][0]), settings)
    y1, x1, y2, x2 = resized.window
    assert (y1, x1, y2, x2) == tuple(case["windows"][0])
    inner = resized.image[y1:y2, x1:x2]
    less = np.unpackbits(case["padded0_tie_bits"])[: inner.size].reshape(inner.shape)
    image = resized.image.copy()
    image[y1:y2, x1:x2] -= less
    assert zlib.crc32(image[None].tobytes()) == case["padded_crc32"]
    return images.mold(image, settings)


def sampled(values: tf.Tensor, stride: NDArray) -> NDArray:
    return values.numpy()[tuple(slice(None, None, int(s)) for s in stride)]


@pytest.mark.parametrize("name", ["syn256-r50", "pad64-r50"])
def test_the_same_features_proposals_and_detections(model: MaskRCNN, name: str) -> None:
    with np.load(oracle.DATA / f"{name}.npz") as file:
        case = dict(file)
    raw = json.loads(str(case["case"]))["config"]
    settings = Config(
        backbone="resnet50",
        num_classes=17,
        detection_min_confidence=0,
        **{k.lower(): v for k, v in raw.items()},
    )
    model.config = settings
    image = molded(case, settings)
    shape = image.shape[:2]
    anchors = normalized_anchors(settings, *shape)
    assert zlib.crc32(anchors.tobytes()) == case["anchors_crc32"]

    *levels, logits, deltas = model.network.trunk(image[None], training=False)
    for level, values in zip(("P2", "P3", "P4", "P5", "P6"), levels, strict=True):
        want = case[f"{level}_sample"]
        assert np.abs(sampled(values, case[f"{level}_stride"]) - want).max() < 5e-5 * np.abs(want).max()
    step = int(case["rpn_stride"])
    probabilities = tf.nn.softmax(logits)
    assert np.abs(probabilities.numpy()[:, ::step] - case["rpn_class_sample"]).max() < 1e-4
    assert np.abs(deltas.numpy()[:, ::step] - case["rpn_bbox_sample"]).max() < 3e-4
    rois = propose(probabilities[0, :, 1], deltas[0], tf.constant(anchors), settings, 1000).numpy()
    want = case["rpn_rois"][0]
    want = want[want.any(axis=1)]
    nearest = np.abs(want[:, None] - rois[None]).max(axis=2).min(axis=1)
    assert (nearest < 1e-3).mean() >= 0.99

    detections, soft = model.detect_molded(image, tuple(case["windows"][0]))
    want = case["detections"][0]
    want = want[want[:, 4] > 0]
    match = np.abs(want[:, None, :5] - detections[None, :, :5]).max(axis=2) < 1e-3
    assert match.any(axis=1).mean() >= 0.97

    original = int(case["image_meta"][0, 1]), int(case["image_meta"][0, 2])
    result = images.unmold(detections, soft, original, shape, tuple(case["windows"][0]))
    height, width, count = case["masks0_shape"]
    masks = np.unpackbits(case["masks0_packed"])[: height * width * count].reshape(count, height, width)
    overlaps = []
    for i in range(count):
        same = (result["class_ids"] == case["class_ids0"][i]) & (
            np.abs(result["rois"] - case["rois0"][i]).max(axis=1) <= 1
        )
        for j in np.flatnonzero(same)[:1]:
            mine, theirs = result["masks"][:, :, j], masks[i].astype(bool)
            overlaps.append((mine & theirs).sum() / max(1, (mine | theirs).sum()))
    assert len(overlaps) >= 0.97 * count
    assert np.mean(overlaps) >= 0.99


def test_three_training_steps() -> None:
    """Losses, gradients and weights of three steps of stochastic gradient descent on one batch."""
    with np.load(oracle.DATA / "trainstep.npz") as file:
        case = dict(file)
    settings = Config(
        backbone="resnet50",
        num_classes=4,
        image_min_dim=128,
        image_max_dim=128,
        rpn_anchor_scales=(8, 16, 32, 64, 128),
        train_rois_per_image=100,
        roi_positive_ratio=0.5,
        learning_rate=0.01,
    )
    trainer = Trainer(settings, Schedule(steps=3, learning_rate=0.01), ("a", "b", "c"))
    oracle.fill(trainer.network, 5)
    named = {
        f"{leaf.name}/{v.name}:0": v
        for _, ls in trainer.network.named_layers()
        for leaf in ls
        for v in leaf.weights
    }
    before = {name: v.numpy() for name, v in named.items()}
    batch = Batch(
        image=case["in_image"],
        match=case["in_rpn_match"][..., 0].astype(np.int32),
        deltas=case["in_rpn_bbox"].astype(np.float32),
        class_ids=case["in_gt_class_ids"],
        truth=normalized(case["in_gt_boxes"]),
        masks=case["in_gt_masks"].transpose(0, 3, 1, 2),
    )
    rois = normalized(case["in_rois"])
    history = [trainer.train_step(batch, rois) for _ in range(3)]
    want = case["metrics_steps"][:, 1:]
    assert list(case["metrics_names"][1:]) == [f"{name}_loss" for name in LOSSES]
    assert np.array(history) == pytest.approx(want, rel=2e-3)
    moved = np.array([np.linalg.norm(named[str(n)].numpy() - before[str(n)]) for n in case["delta_names"]])
    assert moved == pytest.approx(case["delta_norm_after3"], rel=2e-2, abs=1e-5)
    for key in (k for k in case if k.startswith("after3:")):
        name = key.removeprefix("after3:")
        assert (
            np.abs(named[name].numpy() - case[key]).max()
            < 5e-2 * np.abs(case[key] - before[name]).max() + 1e-6
        )


def normalized(boxes: NDArray) -> NDArray[np.float32]:
    """Normalise boxes [B, N, 4] of a 128-pixel picture; padding stays zero."""
    out = ((boxes - np.array([0, 0, 1, 1])) / 127).astype(np.float32)
    return np.where(boxes.any(axis=-1, keepdims=True), out, 0).astype(np.float32)
