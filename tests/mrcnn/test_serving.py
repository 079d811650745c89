"""What is served from a file answers what the model answers, and what Matterport's code answered."""

import argparse
import dataclasses
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import onnxruntime
import oracle
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from test_parity import molded

from mrcnn import Config, MaskRCNN, boxes, export, images, onnx_graph, openvino_trunk, weights
from mrcnn.anchors import normalized_anchors
from mrcnn.serving import Detector
from mrcnn.train import open_any
from mrcnn.weights import WeightsError

ROOT = Path(__file__).parents[2]
CLASSES = ("circle", "square")
PICTURE = oracle.picture("syn:100:170:4")


@pytest.fixture(scope="module")
def small() -> MaskRCNN:
    """The small backbone at 128 pixels, random weights, all that it finds."""
    config = Config(
        backbone="small",
        num_classes=3,
        fpn_classif_fc_layers_size=32,
        top_down_pyramid_size=16,
        rpn_conv_size=16,
        mask_conv_size=16,
        rpn_anchor_scales=(8, 16, 32, 64, 128),
        image_min_dim=0,
        image_max_dim=128,
        pre_nms_limit=500,
        post_nms_rois_inference=200,
        detection_max_instances=30,
        detection_min_confidence=0,
    )
    made = MaskRCNN(config, CLASSES)
    oracle.fill(made.network, 2)
    return made


@pytest.fixture(scope="module")
def saved(small: MaskRCNN, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "small.h5"
    small.save_weights(path)
    return path


def same(found: dict[str, NDArray], want: dict[str, NDArray]) -> None:
    """Hold what a Detector found against what the model found.

    A last bit may decide whether one of two overlapping boxes is suppressed: one in ten may differ.
    """
    assert len(want["scores"]) > 10
    near = np.abs(want["rois"][:, None] - found["rois"][None]).max(axis=2) <= 1  # [want, found]
    near &= want["class_ids"][:, None] == found["class_ids"][None]
    near &= np.abs(want["scores"][:, None] - found["scores"][None]) < 1e-5
    assert near.any(axis=1).mean() >= 0.9
    pairs = [
        (found["masks"][..., near[i].argmax()], want["masks"][..., i]) for i in np.flatnonzero(near.any(1))
    ]
    assert np.mean([(a != b).mean() for a, b in pairs]) < 1e-3
    assert [found[k].dtype for k in ("rois", "class_ids", "scores", "masks")] == [
        want[k].dtype for k in ("rois", "class_ids", "scores", "masks")
    ]


@pytest.mark.parametrize("suffix", [".h5", ".onnx", ".pb"])
def test_the_same_answer_as_the_model(small: MaskRCNN, saved: Path, tmp_path: Path, suffix: str) -> None:
    path = saved if suffix == ".h5" else export.export(saved, tmp_path / f"small{suffix}")
    detector = Detector.from_file(path, threads=2)
    assert detector.classes == CLASSES
    assert detector.config == small.config
    other = oracle.picture("syn:90:60:2")
    first, second, again = detector.detect([PICTURE, other, PICTURE])
    same(first, small.detect([PICTURE])[0])
    same(second, small.detect([other])[0])
    assert all(np.array_equal(first[key], again[key]) for key in first)


def exact_trunk(
    path: Path, beside: Path, threads: int
) -> Callable[[NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
    """Run the trunk exactly, in OpenVINO's place."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = list(onnx_graph.TRUNK)
    return lambda image: dict(zip(names, session.run(names, {"image": image[None]}), strict=True))  # type: ignore[arg-type]


def test_two_models_answer_as_one(small: MaskRCNN, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_trunk, "Trunk", exact_trunk)
    found = Detector.from_file(saved, engine="openvino").detect([PICTURE])[0]
    same(found, small.detect([PICTURE])[0])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells where files are mapped")
def test_pages_that_are_let_go_can_be_read_again(tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    np.arange(100_000, dtype=np.float32).tofile(file)
    assert openvino_trunk.release(file) == 0
    mapped = np.memmap(file, np.float32, "r")
    changed = np.memmap(file, np.float32, "c")
    changed[:] = 7  # in memory only: letting go would lose it
    assert mapped.max() == 99_999  # all of it is read
    assert mapped.nbytes <= openvino_trunk.release(file) < 2 * mapped.nbytes
    file.unlink()
    assert mapped.nbytes <= openvino_trunk.release(file) < 2 * mapped.nbytes
    assert np.array_equal(mapped, np.arange(100_000))
    assert (changed == 7).all()


def test_bfloat16_where_it_can_be_had() -> None:
    """On the shipped weights and drawn scenes; elsewhere OpenVINO is refused, and the refusal is held."""
    path = ROOT / "weights" / "surface.h5"
    try:
        fast = Detector.from_file(path, engine="openvino", threads=2)
    except ModuleNotFoundError:
        assert importlib.util.find_spec("openvino") is None
        return
    except openvino_trunk.NoBfloat16Error:
        assert not {"avx512_bf16", "amx_bf16"} & openvino_trunk._flags()
        return
    assert sys.modules["openvino_telemetry"] is None
    exact, scenes = Detector.from_file(path, threads=2), open_any("scenes:500-504")
    for i in range(5):
        image = scenes.load(i).image
        want, found = exact.detect([image])[0], fast.detect([image])[0]
        again = fast.detect([image])[0]
        assert all(np.array_equal(found[key], again[key]) for key in found)
        assert any(not np.array_equal(want[key], found[key]) for key in ("scores", "masks"))
        sure = np.flatnonzero(want["scores"] > 0.8)
        assert len(sure)
        for k in sure:
            both = (found["masks"] & want["masks"][..., k : k + 1]).sum(axis=(0, 1))
            either = (found["masks"] | want["masks"][..., k : k + 1]).sum(axis=(0, 1))
            overlap = np.where(found["class_ids"] == want["class_ids"][k], both / either, 0)
            assert overlap.max() > 0.8
            assert abs(found["scores"][overlap.argmax()] - want["scores"][k]) < 0.1


@pytest.mark.parametrize(
    ("capabilities", "flags", "native"),
    [
        ({"FP32", "BF16"}, {"avx512f", "avx512_bf16"}, True),
        ({"FP32", "BF16", "FP16"}, {"amx_bf16"}, True),
        ({"FP32", "BF16"}, {"avx512f"}, False),  # imitated
        ({"FP32"}, {"avx2"}, False),
        ({"FP32", "BF16", "FP16"}, set(), True),  # not Linux: no flags
        ({"FP32", "BF16"}, set(), False),
        ({"FP32", "FP16"}, set(), False),
    ],
)
def test_who_multiplies_bfloat16(capabilities: set[str], flags: set[str], native: bool) -> None:
    assert openvino_trunk.multiplies_bfloat16(capabilities, flags) is native


def test_matterports_answer(tmp_path: Path) -> None:
    """ResNet-50 with the weights and the picture of a recorded case."""
    with np.load(oracle.DATA / "syn256-r50.npz") as file:
        case = dict(file)
    raw = json.loads(str(case["case"]))["config"]
    config = Config(
        backbone="resnet50",
        num_classes=17,
        detection_min_confidence=0,
        **{k.lower(): v for k, v in raw.items()},
    )
    layout = json.loads((oracle.DATA / "layout-resnet50-17c.json").read_text())
    groups = {
        group: [
            oracle.weight(leaf.split("/")[0], leaf.split("/")[1].removesuffix(":0"), tuple(shape), 0)
            for leaf, shape in arrays
        ]
        for group, arrays in layout
    }
    path = tmp_path / "resnet50.onnx"
    model = onnx_graph.build(groups, config, ["thing"] * 16)
    path.write_bytes(model.SerializeToString())
    assert not any(groups.values())  # taken out, not copied

    image, window = molded(case, config), tuple(int(n) for n in case["windows"][0])
    *levels, logits, deltas, rois = inside(model, image, normalized_anchors(config, *image.shape[:2]), window)
    for level, values in zip(("P2", "P3", "P4", "P5", "P6"), levels, strict=True):
        want = case[f"{level}_sample"]
        sample = values.transpose(0, 2, 3, 1)[
            tuple(slice(None, None, int(n)) for n in case[f"{level}_stride"])
        ]
        assert np.abs(sample - want).max() < 5e-5 * np.abs(want).max(), level
    step = int(case["rpn_stride"])
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = odds / odds.sum(axis=1, keepdims=True)
    assert np.abs(probabilities[::step] - case["rpn_class_sample"][0]).max() < 1e-4
    assert np.abs(deltas[::step] - case["rpn_bbox_sample"][0]).max() < 3e-4
    want = case["rpn_rois"][0]
    want = want[want.any(axis=1)]
    assert (np.abs(want[:, None] - rois[None]).max(axis=2).min(axis=1) < 1e-3).mean() >= 0.99

    detections, soft = Detector.from_file(path).detect_molded(image, window)  # type: ignore[arg-type]
    want = case["detections"][0]
    want = want[want[:, 4] > 0]
    near = np.abs(want[:, None, :5] - detections[None, :, :5]).max(axis=2) < 1e-3
    assert near.any(axis=1).mean() >= 0.97
    assert np.abs(want[:, 5] - detections[near.argmax(axis=1), 5])[near.any(axis=1)].max() < 1e-4

    original = int(case["image_meta"][0, 1]), int(case["image_meta"][0, 2])
    result = images.unmold(detections, soft, original, image.shape[:2], window)  # type: ignore[arg-type]
    height, width, count = case["masks0_shape"]
    masks = np.unpackbits(case["masks0_packed"])[: height * width * count].reshape(count, height, width)
    overlaps = []
    for i in range(count):
        same = np.abs(result["rois"] - case["rois0"][i]).max(axis=1) <= 1
        for j in np.flatnonzero(same & (result["class_ids"] == case["class_ids0"][i]))[:1]:
            mine, theirs = result["masks"][:, :, j], masks[i].astype(bool)
            overlaps.append((mine & theirs).sum() / max(1, (mine | theirs).sum()))
    assert len(overlaps) >= 0.97 * count
    assert np.mean(overlaps) >= 0.99


def inside(
    model: onnx.ModelProto, image: NDArray[np.float32], anchors: NDArray[np.float32], window: tuple[int, ...]
) -> list[NDArray[np.float32]]:
    """Return what the graph has on its way: P2 to P6, the regions' logits, deltas and proposals."""
    nodes = list(model.graph.node)

    def after(output: str, kind: str) -> str:
        """Return the output of the first node of a kind that takes `output`."""
        return next(node.output[0] for node in nodes if node.op_type == kind and output in node.input)

    names = [node.input[0] for node in nodes if "rpn_conv_shared/kernel" in node.input]
    assert len(names) == 5
    names += [n.output[0] for n in nodes if n.op_type == "Concat" and len(n.input) == 5]
    chosen = next(node.output[0] for node in nodes if node.op_type == "NonMaxSuppression")
    names.append(after(after(after(chosen, "Slice"), "Squeeze"), "Gather"))
    for name in names:
        model.graph.output.add(name=name)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    frame = boxes.normalize(np.array(window), image.shape[:2])
    return session.run(names, {"image": image[None], "anchors": anchors, "window": frame})  # type: ignore[return-value]


SIZES = [(1, 1), (1, 300), (300, 1), (7, 500), (129, 127), (64, 64), (2000, 31)]


def test_pictures_of_any_size_in_one_batch(small: MaskRCNN, saved: Path) -> None:
    """Down to one pixel, and so thin that they shrink below one: every answer lies in its picture."""
    pictures = [oracle.picture(f"syn:{height}:{width}:{i}") for i, (height, width) in enumerate(SIZES)]
    both = Detector.from_file(saved, threads=1).detect(pictures), small.detect(pictures)
    for (height, width), found, want in zip(SIZES, *both, strict=True):
        assert found["masks"].shape == (height, width, len(found["scores"]))
        assert abs(len(found["scores"]) - len(want["scores"])) <= 0.1 * len(want["scores"])
        assert (found["rois"][:, :2] >= 0).all()
        assert (found["rois"][:, 2:] <= (height, width)).all()
        assert (found["rois"][:, 2:] > found["rois"][:, :2]).all()
        outside = found["masks"].copy()
        for i, (y1, x1, y2, x2) in enumerate(found["rois"]):
            outside[y1:y2, x1:x2, i] = False
        assert not outside.any()
    assert sum(len(found["scores"]) for found in both[0]) > 20


def test_boxes_of_one_pixel() -> None:
    """A box that rounds to one pixel has a mask of that pixel, and one that rounds to none is dropped."""
    unit = 1 / 127
    detections = np.array(
        [[0.5, 0.5, 0.5 + 0.4 * unit, 0.5 + 0.4 * unit, 1, 0.9], [0.5, 0.5, 0.5 - unit, 0.5, 2, 0.8]],
        np.float32,
    )
    soft = np.ones((2, 28, 28), np.float32)
    found = images.unmold(detections, soft, (128, 128), (128, 128), (0, 0, 128, 128))
    assert found["class_ids"].tolist() == [1]
    (y1, x1, y2, x2), mask = found["rois"][0], found["masks"][..., 0]
    assert (y2 - y1, x2 - x1) == (1, 1)
    assert mask.sum() == mask[y1, x1] == 1


def test_sides_that_the_network_cannot_halve(small: MaskRCNN, saved: Path) -> None:
    config = dataclasses.replace(small.config, image_resize_mode="none")
    model = MaskRCNN(config, CLASSES)
    model.load_weights(saved)
    detector = Detector.from_file(saved, config, CLASSES)
    for one in (model, detector):
        assert one.detect([oracle.picture("syn:64:128:3")])[0]["masks"].shape[:2] == (64, 128)
        with pytest.raises(ValueError, match="170 x 100: image_resize_mode 'none' takes multiples of 64"):
            one.detect([PICTURE])


@pytest.mark.parametrize(
    "settings",
    [
        {"image_min_scale": 1.3, "image_max_dim": 256},
        {"image_resize_mode": "pad64", "image_min_dim": 128, "image_min_scale": 1.5},
        {"image_resize_mode": "pad64", "image_min_dim": 64},
        {"rpn_anchor_stride": 2},
        {"detection_max_instances": 1},
        {"detection_min_confidence": 0.5},
        {"post_nms_rois_inference": 500, "rpn_nms_threshold": 0.1},  # fewer are found: empty boxes fill up
    ],
    ids=str,
)
def test_other_settings(small: MaskRCNN, saved: Path, settings: dict[str, object]) -> None:
    config = dataclasses.replace(small.config, **settings)
    model = MaskRCNN(config, CLASSES)
    model.load_weights(saved)
    found = Detector.from_file(saved, config, CLASSES, threads=1).detect([PICTURE])[0]
    want = model.detect([PICTURE])[0]
    assert len(want["scores"]) > 0
    assert np.array_equal(found["class_ids"], want["class_ids"])
    assert found["scores"] == pytest.approx(want["scores"], abs=1e-5)
    assert np.abs(found["rois"] - want["rois"]).max() <= 1


@pytest.mark.parametrize("suffix", [".h5", ".pb"])
def test_nothing_found(small: MaskRCNN, saved: Path, tmp_path: Path, suffix: str) -> None:
    config = dataclasses.replace(small.config, detection_min_confidence=1.0)
    path = saved if suffix == ".h5" else export.export(saved, tmp_path / "none.pb", config, CLASSES)
    found = Detector.from_file(path, config, CLASSES).detect([PICTURE])[0]
    assert found["masks"].shape == (100, 170, 0)
    assert found["rois"].shape == (0, 4)


def test_a_graph_of_tensorflow_1_by_matterports_names(tmp_path: Path) -> None:
    """Its masks are of all classes, and empty rows end the detections."""
    detections = np.zeros((1, 5, 6), np.float32)
    detections[0, :2] = [0.3, 0.1, 0.5, 0.5, 2, 0.9], [0.3, 0.2, 0.7, 0.9, 1, 0.8]
    masks = np.zeros((1, 5, 28, 28, 3), np.float32)
    masks[0, 0, ..., 2] = masks[0, 1, :14, :, 1] = 1
    with tf.Graph().as_default() as graph:
        v1 = tf.compat.v1
        image = v1.placeholder(tf.float32, [None, 128, 128, 3], name="input_image")
        meta = v1.placeholder(tf.float32, [None, None], name="input_image_meta")
        anchors = v1.placeholder(tf.float32, [None, None, 4], name="input_anchors")
        # Scores tell what was fed: the window's height, the number of anchors.
        fed = (meta[0, 9] - meta[0, 7]) * 1e-3 + 0 * tf.reduce_sum(image) + 0 * tf.reduce_sum(anchors)
        with tf.name_scope("mrcnn_detection"):
            tf.reshape(tf.constant(detections[..., :5]), [5, 5])  # mrcnn_detection/Reshape
            scored = tf.concat([detections[..., :5], tf.reshape(detections[..., 5:], [1, 5, 1]) * 0 + fed], 2)
            tf.reshape(scored, [1, 5, 6])
        with tf.name_scope("mrcnn_mask"):
            tf.reshape(tf.constant(masks), [-1, 28, 28, 3])
            tf.reshape(tf.constant(masks), [1, 5, 28, 28, 3])
    path = tmp_path / "theirs.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    with pytest.raises(ValueError, match="holds no settings"):
        Detector.from_file(path)
    config = Config(num_classes=3, image_min_dim=0, image_max_dim=128)
    found = Detector.from_file(path, config, CLASSES).detect([np.zeros((64, 128, 3), np.uint8)])[0]
    assert list(found["class_ids"]) == [2, 1]
    assert found["scores"] == pytest.approx([0.064, 0.064])
    full, half = (found["masks"][..., i].sum() for i in range(2))
    heights, widths = (found["rois"][:, 2 + i] - found["rois"][:, i] for i in range(2))
    assert full == pytest.approx(heights[0] * widths[0], rel=0.2)
    assert half == pytest.approx(heights[1] * widths[1] / 2, rel=0.2)


def test_weights_are_served_without_tensorflow(saved: Path) -> None:
    code = (
        "import sys, numpy as np\n"
        "from mrcnn.serving import Detector\n"
        f"found = Detector.from_file({str(saved)!r}).detect([np.zeros((64, 64, 3), np.uint8)])\n"
        "assert found[0]['masks'].shape[:2] == (64, 64)\n"
        "print({'tensorflow', 'keras', 'scipy'} & set(sys.modules))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == "set()", ran.stderr


def test_half_precision_weights(small: MaskRCNN, saved: Path, tmp_path: Path) -> None:
    small.save_weights(tmp_path / "half.h5", "float16")
    found = Detector.from_file(tmp_path / "half.h5").detect([PICTURE])[0]
    want = Detector.from_file(saved).detect([PICTURE])[0]
    assert found["scores"][:3] == pytest.approx(want["scores"][:3], abs=0.02)


def test_weights_that_do_not_fit_are_listed(small: MaskRCNN, saved: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.h5"
    broken.write_bytes(saved.read_bytes())
    with h5py.File(broken, "r+") as opened:
        file: Any = opened
        del file["fpn_p4"].attrs["weight_names"]
        group = file["bn_conv1"]
        group.attrs["weight_names"] = group.attrs["weight_names"][:3]
        file.create_group("extra").attrs["weight_names"] = [b"extra/kernel:0"]
        file["extra"].create_dataset("extra/kernel:0", data=np.zeros(2, np.float32))
        file.attrs["layer_names"] = np.append(file.attrs["layer_names"], b"extra")
    with pytest.raises(
        WeightsError, match=r"(?s)bn_conv1: has .*missing: fpn_p4.*left over: extra"
    ) as caught:
        Detector.from_file(broken)
    assert "broken.h5" in str(caught.value)
    with pytest.raises(WeightsError, match=r"(?s)bn_conv1.*fpn_p4.*left over: extra"):
        export.export(broken, tmp_path / "broken.pb")
    wider = dataclasses.replace(small.config, num_classes=4)
    with pytest.raises(WeightsError, match="mrcnn_class_logits"):
        Detector.from_file(saved, wider)


def test_files_that_are_none(saved: Path, tmp_path: Path) -> None:
    for name, words in (
        ("a.onnx", "cannot open it"),
        ("a.pb", "not a frozen graph"),
        ("a.h5", "not an HDF5"),
    ):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(ValueError, match=words):
            Detector.from_file(tmp_path / name)
    with pytest.raises(ValueError, match=r"\.onnx or \.pb"):
        export.export(saved, tmp_path / "a.tflite")
    (tmp_path / "empty.pb").write_bytes(tf.Graph().as_graph_def().SerializeToString())
    with pytest.raises(ValueError, match="not a Mask R-CNN"):
        Detector.from_file(tmp_path / "empty.pb")
    with pytest.raises(ValueError, match="uint8"):
        Detector.from_file(saved).detect([np.zeros((4, 4, 3), np.float32)])  # type: ignore[list-item]


def test_the_command(small: MaskRCNN, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights that hold no settings, as Matterport's, are described by arguments."""
    bare = tmp_path / "bare.h5"
    small.save_weights(bare)
    with h5py.File(bare, "r+") as file:
        del file.attrs["mrcnn_config"]
    parser = argparse.ArgumentParser()
    export.add_arguments(parser)
    with pytest.raises(WeightsError, match="holds no settings"):
        export.run(parser.parse_args([str(bare), str(tmp_path / "a.onnx")]))
    settings = json.loads(small.config.to_json())
    del settings["backbone"], settings["num_classes"]
    described = ["--backbone", "small", "--classes", "circle, square", "--config", json.dumps(settings)]
    written = []
    for name in ("a.onnx", "b.onnx"):
        export.run(parser.parse_args([str(bare), str(tmp_path / name), *described]))
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]
    assert "b.onnx" in capsys.readouterr().out
    detector = Detector.from_file(tmp_path / "a.onnx")
    assert (detector.config, detector.classes) == (small.config, CLASSES)
    assert weights.read_groups(bare).keys()
