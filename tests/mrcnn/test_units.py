"""Single functions against what Matterport's own code (TensorFlow 1.13, Keras 2.0.8) answered."""

import numpy as np
import oracle
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from mrcnn import Config, boxes, images, losses
from mrcnn.anchors import level_anchors
from mrcnn.detection import detect
from mrcnn.proposals import propose
from mrcnn.roi_align import roi_align
from mrcnn.targets import head_targets, rpn_targets


@pytest.fixture(scope="module")
def units() -> dict[str, NDArray]:
    with np.load(oracle.DATA / "units.npz") as file:
        return dict(file)


def part(units: dict[str, NDArray], name: str) -> dict[str, NDArray]:
    return {k.removeprefix(f"{name}/"): v for k, v in units.items() if k.startswith(f"{name}/")}


def config(**settings: object) -> Config:
    return Config(**{"backbone": "resnet50", "num_classes": 5, **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize("i", [0, 1, 2, 4, 5, 6, 7, 8, 9])
def test_pictures_and_masks_are_resized_alike(units: dict[str, NDArray], i: int) -> None:
    case = part(units, f"resize_image_{i}")
    mode = str(case["in_mode"])
    settings = config(
        image_resize_mode=mode,
        image_min_dim=int(case["in_min_dim"]),
        image_max_dim=int(case["in_max_dim"]),
        image_min_scale=float(case["in_min_scale"]),
    )
    picture = oracle.picture(str(case["in_image_spec"]))
    resized = images.resize_image(picture, settings)
    assert resized.window == tuple(case["out_window"])
    assert resized.scale == case["out_scale"]
    assert np.array_equal(resized.padding, case["out_padding"])
    difference = resized.image.astype(int) - case["out_image"]
    # An exact whole number may have been truncated to one less there.
    assert set(np.unique(difference)) <= {0, 1}
    if resized.scale != 1:
        y1, x1, y2, x2 = resized.window
        exact = images.resize(picture, (y2 - y1, x2 - x1))[difference[y1:y2, x1:x2] != 0]
        assert np.abs(exact - np.round(exact)).max(initial=0) < 1e-9
    masks = part(units, f"resize_mask_{i}")
    if mode == "none":  # nothing to do, and nothing was recorded
        return
    assert np.array_equal(images.resize_masks(masks["in_mask"], resized), masks["out_mask"])


def test_mini_masks(units: dict[str, NDArray]) -> None:
    case = part(units, "mini_mask")
    rois = boxes.around_masks(case["in_mask"])
    assert np.array_equal(rois, case["out_bboxes"])
    mini = images.shrink_masks(case["in_mask"], rois, tuple(case["in_mini_shape"]))
    assert np.array_equal(mini, case["out_mini"])


@pytest.mark.parametrize("i", range(5))
def test_a_soft_mask_is_pasted_into_its_box(units: dict[str, NDArray], i: int) -> None:
    case = part(units, f"unmold_mask_{i}")
    mask = images.place_mask(case["in_mask"], case["in_bbox"], tuple(case["in_image_shape"][:2]))
    assert np.array_equal(mask, case["out_mask"])


def test_box_arithmetic(units: dict[str, NDArray]) -> None:
    case = part(units, "compute_overlaps")
    assert boxes.overlaps(case["in_boxes1"], case["in_boxes2"]) == pytest.approx(case["out_overlaps"])
    case = part(units, "box_refinement")
    assert boxes.refinement(case["in_box"], case["in_gt"]) == pytest.approx(case["out_deltas"], abs=1e-6)
    case = part(units, "norm_boxes")
    shape = tuple(case["in_shape"])
    assert np.array_equal(boxes.normalize(case["in_boxes"], shape), case["out_norm"])
    assert np.array_equal(boxes.denormalize(case["out_norm"], shape), case["out_denorm"])


@pytest.mark.parametrize("i", range(3))
def test_anchors(units: dict[str, NDArray], i: int) -> None:
    case = part(units, f"anchors_{i}")
    made = np.concatenate(
        [
            level_anchors(
                scale, tuple(case["in_ratios"]), tuple(shape), stride, int(case["in_anchor_stride"])
            )
            for scale, shape, stride in zip(
                case["in_scales"], case["in_feature_shapes"], case["in_strides"], strict=True
            )
        ]
    )
    assert len(made) == case["out_count"]
    assert made[::7] == pytest.approx(case["out_every7"], abs=1e-9)
    assert (
        np.abs(boxes.normalize(made, tuple(case["in_shape"]))[::7] - case["out_normalized_every7"]).max()
        < 1e-7
    )


@pytest.mark.parametrize("name", ["proposals_a", "proposals_c"])
def test_proposals(units: dict[str, NDArray], name: str) -> None:
    case = part(units, name)
    settings = config(rpn_nms_threshold=float(case["in_threshold"]))
    limit = int(case["in_count"])
    found = propose(case["in_fg"][0], case["in_deltas"][0], case["in_anchors"][0], settings, limit).numpy()
    want = case["out_rois"][0]
    assert np.abs(found - want[: len(found)]).max() < 1e-5
    assert not want[len(found) :].any()


@pytest.mark.parametrize(
    ("name", "shape"), [("256", (256, 256)), ("1024", (1024, 1024)), ("rect", (128, 512))]
)
def test_roi_align(units: dict[str, NDArray], name: str, shape: tuple[int, int]) -> None:
    case, want = part(units, "roi_align"), part(units, f"roi_align_{name}")["out_pooled"]
    count = case["in_rois"].shape[1]
    features = [tf.constant(case[f"in_P{level}"]) for level in (2, 3, 4, 5)]
    pooled = roi_align(
        features,
        tf.constant(case["in_rois"].reshape(-1, 4)),
        tf.constant(np.repeat([0, 1], count), tf.int32),
        7,
        shape,
    )
    assert np.abs(pooled.numpy().reshape(want.shape) - want).max() < 1e-5


@pytest.mark.parametrize("name", ["noconf", "conf7", "max20", "none"])
def test_detections(units: dict[str, NDArray], name: str) -> None:
    case = part(units, f"detection_{name}")
    meta = case["in_meta"][0]
    window = boxes.normalize(meta[7:11], (int(meta[4]), int(meta[5])))
    settings = config(
        detection_min_confidence=float(case["in_min_confidence"]),
        detection_max_instances=int(case["in_max_instances"]),
    )
    found = detect(
        tf.constant(case["in_rois"][0]),
        tf.constant(case["in_probs"][0]),
        tf.constant(case["in_deltas"][0]),
        tf.constant(window),
        settings,
    ).numpy()
    want = case["out_detections"][0]
    assert np.abs(found - want[: len(found)]).max(initial=0) < 1e-5
    assert not want[len(found) :].any()


def test_detections_come_back_into_the_picture(units: dict[str, NDArray]) -> None:
    case = part(units, "unmold_detections")
    result = images.unmold(
        case["in_detections"],
        case["in_mask_top"],
        tuple(case["in_original_shape"][:2]),
        tuple(case["in_image_shape"][:2]),
        tuple(case["in_window"]),
    )
    assert np.array_equal(result["rois"], case["out_boxes"])
    assert np.array_equal(result["class_ids"], case["out_class_ids"])
    assert np.array_equal(result["scores"], case["out_scores"])
    assert np.array_equal(result["masks"], case["out_masks"])


@pytest.mark.parametrize("i", [0, 1])
def test_rpn_targets(units: dict[str, NDArray], i: int) -> None:
    case = part(units, f"rpn_targets_nosample_{i}")
    shapes = [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]
    anchors = np.concatenate(
        [
            level_anchors(scale, (0.5, 1, 2), shape, stride, 1)
            for scale, shape, stride in zip((8, 16, 32, 64, 128), shapes, (4, 8, 16, 32, 64), strict=True)
        ]
    )
    ids, truth = case["in_gt_class_ids"], case["in_gt_boxes"]
    everything = config(rpn_train_anchors_per_image=2 * len(anchors))
    match, deltas = rpn_targets(anchors, truth[ids > 0], truth[ids < 0], everything, np.random.default_rng(0))
    assert np.array_equal(match, case["out_match"])
    assert deltas[: len(case["out_bbox"])] == pytest.approx(case["out_bbox"], abs=1e-5)


def test_rpn_targets_are_sampled_half_and_half_at_most() -> None:
    anchors = level_anchors(32, (0.5, 1, 2), (64, 64), 4, 1)
    truth = np.array([[y, x, y + 40, x + 40] for y in range(0, 200, 20) for x in range(0, 200, 20)], np.int32)
    settings = config(rpn_train_anchors_per_image=64)
    match, deltas = rpn_targets(anchors, truth, truth[:0], settings, np.random.default_rng(1))
    assert (match == 1).sum() == 32
    assert (match == -1).sum() == 32
    assert np.abs(deltas[:32]).max(axis=1).all()
    assert not deltas[32:].any()
    nothing, _ = rpn_targets(anchors, truth[:0], truth[:0], settings, np.random.default_rng(1))
    assert (nothing == -1).sum() == 64


def test_head_targets(units: dict[str, NDArray]) -> None:
    case = part(units, "detection_targets_mini")
    found = head_targets(
        tf.constant(case["in_proposals"]),
        tf.constant(case["in_gt_class_ids"]),
        tf.constant(case["in_gt_boxes"]),
        tf.constant(case["in_gt_masks"].transpose(2, 0, 1)),
        config(train_rois_per_image=1000),
        tf.constant([0, 0]),
    )
    count = len(found.deltas)
    assert count == len(case["out_positive_rois"])
    assert len(found.rois) - count - 1 == case["out_negatives"]
    assert found.weight.numpy()[-1] == 1000 - count - case["out_negatives"]
    mine, theirs = (np.lexsort(r.T) for r in (found.rois.numpy()[:count], case["out_positive_rois"]))
    assert np.array_equal(found.rois.numpy()[:count][mine], case["out_positive_rois"][theirs])
    assert np.array_equal(found.class_ids.numpy()[:count][mine], case["out_class_ids"][theirs])
    assert np.abs(found.deltas.numpy()[mine] - case["out_deltas"][theirs]).max() < 1e-4
    assert (found.masks.numpy()[mine] != case["out_masks"][theirs]).mean() < 1e-4


def test_losses(units: dict[str, NDArray]) -> None:
    case = part(units, "loss_rpn_class")
    loss = losses.rpn_class(case["in_match"][..., 0], case["in_logits"])
    assert float(loss) == pytest.approx(float(case["out_loss"]), 1e-5)
    case = part(units, "loss_rpn_bbox")
    loss = losses.rpn_bbox(case["in_match"][..., 0], case["in_target"], case["in_pred"])
    assert float(loss) == pytest.approx(float(case["out_loss"]), 1e-5)
    case = part(units, "loss_class")
    loss = losses.head_class(
        case["in_target"].ravel(),
        case["in_logits"].reshape(-1, 5),
        tf.constant(case["in_active"][0]),
        tf.ones(60),
    )
    assert float(loss) == pytest.approx(float(case["out_loss"]), 1e-5)
    case = part(units, "loss_bbox")
    ids = case["in_target_class"].ravel()
    some = ids > 0
    loss = losses.head_bbox(
        case["in_target_bbox"].reshape(-1, 4)[some], ids[some], case["in_pred"].reshape(-1, 5, 4)[some]
    )
    assert float(loss) == pytest.approx(float(case["out_loss"]), 1e-5)
    case = part(units, "loss_mask")
    ids = case["in_target_class"].ravel()
    some = ids > 0
    probabilities = case["in_pred"].reshape(-1, 7, 7, 5)[some]
    logits = np.log(probabilities / (1 - probabilities))
    truth = case["in_target_mask"].reshape(-1, 7, 7)[some].astype(np.float32)
    assert float(losses.head_mask(truth, ids[some], logits)) == pytest.approx(float(case["out_loss"]), 1e-4)


def test_losses_of_nothing_are_zero() -> None:
    none = tf.zeros([2, 30], tf.int32)
    assert losses.rpn_class(none, tf.ones([2, 30, 2])) == 0
    assert losses.rpn_bbox(none, tf.ones([2, 8, 4]), tf.ones([2, 30, 4])) == 0
    no_ids = tf.zeros([0], tf.int32)
    assert losses.head_bbox(tf.ones([0, 4]), no_ids, tf.ones([0, 5, 4])) == 0
    assert losses.head_mask(tf.ones([0, 7, 7]), no_ids, tf.ones([0, 7, 7, 5])) == 0
    assert losses.head_class(no_ids, tf.ones([0, 5]), tf.ones(5), tf.ones(0)) == 0
