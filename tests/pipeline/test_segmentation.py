"""Finding objects: what is kept, how it travels, what happens when it fails."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.domain import Box, Segmenter
from pipeline.errors import ConfigurationError, SegmentationError, WorkerError
from pipeline.executors import ProcessExecutor
from pipeline.segmentation import (
    MaskRCNNSegmenter,
    PackedDetections,
    SegmentParams,
    choose,
    pack,
    segment_png,
    unpack,
)

H, W = 45, 83  # no multiples of 8, nor is their product


def rectangle(box: Box) -> NDArray[np.bool_]:
    mask = np.zeros((H, W), np.bool_)
    mask[box.y1 : box.y2, box.x1 : box.x2] = True
    return mask


SKY, LEFT, RIGHT, TINY = Box(0, 0, 20, W), Box(20, 5, 40, 20), Box(22, 60, 42, 80), Box(44, 0, 45, 1)
EVERYTHING = Box(0, 0, H, W)
LABELS = ["Shoe", "Sky", "Hat", "Shoe", "Jacket"]
SCORES = [0.9, 0.95, 0.99, 0.8, 0.6]
MASKS = np.stack([rectangle(box) for box in (LEFT, SKY, TINY, RIGHT, LEFT)])  # [N, H, W]


def png(width: int = W, height: int = H, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height), "red" if mode == "RGB" else 0).save(buffer, "PNG")
    return buffer.getvalue()


def labels_of(**params: object) -> list[str]:
    return [label for label, _, _ in choose(LABELS, SCORES, MASKS, SegmentParams(**params))]  # type: ignore[arg-type]


def test_what_is_kept_and_in_which_order() -> None:
    assert labels_of() == ["Sky", "Shoe", "Shoe"]  # the right shoe is larger
    assert labels_of(min_area=0.0) == ["Sky", "Shoe", "Shoe", "Hat"]
    assert labels_of(min_score=0.0) == ["Sky", "Shoe", "Shoe", "Jacket"]
    assert labels_of(max_area=0.3) == ["Shoe", "Shoe"]
    assert labels_of(max_objects=1) == ["Sky"]
    assert labels_of(min_score=0.96) == []
    found = choose(LABELS, SCORES, MASKS, SegmentParams())
    assert [score for _, score, _ in found] == [0.95, 0.8, 0.9]


def test_merged_instances() -> None:
    found = choose(LABELS, SCORES, MASKS, SegmentParams(instances="merged"))
    assert [(label, score) for label, score, _ in found] == [("Sky", 0.95), ("Shoe", 0.9)]
    assert np.array_equal(found[1][2], MASKS[0] | MASKS[3])
    # Both shoes together are large enough, though neither is alone.
    alone = MASKS[0].mean() + 0.05
    merged = choose(LABELS, SCORES, MASKS, SegmentParams(instances="merged", min_area=alone))
    assert [label for label, _, _ in merged] == ["Sky", "Shoe"]
    assert np.array_equal(MASKS[0], rectangle(LEFT)), "the given masks are not written to"


def test_an_empty_mask_is_no_object() -> None:
    masks = np.zeros((1, H, W), np.bool_)
    assert choose(["Hat"], [1.0], masks, SegmentParams(min_area=0.0)) == []
    assert choose([], [], masks[:0], SegmentParams()) == []


def test_packed_and_unpacked() -> None:
    found = choose(LABELS, SCORES, MASKS, SegmentParams())
    packed = pack(found, (H, W, 3))
    assert len(packed.bits) == -(-3 * H * W // 8)
    detections = unpack(packed)
    assert [(d.label, d.score) for d in detections] == [("Sky", 0.95), ("Shoe", 0.8), ("Shoe", 0.9)]
    assert [d.box for d in detections] == [SKY, RIGHT, LEFT]
    for detection, (_, _, mask) in zip(detections, found, strict=True):
        assert detection.mask.dtype == np.bool_
        assert np.array_equal(detection.mask, mask)
    assert unpack(pack([], (H, W))) == []


class TinyModel:
    """A Mask R-CNN of one idea: whatever is reddish is a Shoe, the whole picture is Sky."""

    classes = ("Sky", "Shoe")

    @staticmethod
    def from_file(path: str) -> TinyModel:
        if Path(path).read_bytes() == b"broken":
            raise ValueError("no layers in it")
        return TinyModel()

    def detect(self, images: list[NDArray[np.uint8]]) -> list[dict[str, NDArray[np.generic]]]:
        (image,) = images
        assert image.dtype == np.uint8
        assert image.ndim == 3
        red = image[..., 0] > 200
        masks = np.stack([red, np.ones_like(red)], axis=-1)  # [H, W, N]
        return [
            {
                "rois": np.zeros((2, 4), np.int32),
                "class_ids": np.array([2, 1], np.int32),
                "scores": np.array([0.9, 0.8], np.float32),
                "masks": masks,
            }
        ]


@pytest.fixture
def mrcnn(monkeypatch: pytest.MonkeyPatch) -> None:
    module, serving = ModuleType("mrcnn"), ModuleType("mrcnn.serving")
    module.MaskRCNN = serving.Detector = TinyModel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mrcnn", module)
    monkeypatch.setitem(sys.modules, "mrcnn.serving", serving)


@pytest.mark.usefixtures("mrcnn")
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_the_worker_function(tmp_path: Path, mode: str) -> None:
    weights = tmp_path / f"{mode}.h5"
    weights.write_bytes(b"good")
    detections = unpack(segment_png(png(mode=mode), str(weights), SegmentParams(max_area=1.0)))
    labels = [detection.label for detection in detections]
    assert labels == (["Shoe", "Sky"] if mode == "RGB" else ["Sky"])
    assert detections[0].box == EVERYTHING


@pytest.mark.usefixtures("mrcnn")
def test_weights_that_are_none(tmp_path: Path) -> None:
    weights = tmp_path / "broken.h5"
    weights.write_bytes(b"broken")
    for engine in ("onnx", "tensorflow"):
        with pytest.raises(ConfigurationError, match=r"SEGMENTERS names broken\.h5"):
            segment_png(png(), str(weights), SegmentParams(engine=engine))  # type: ignore[arg-type]


def test_a_worker_lets_go_of_what_it_has_no_memory_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models count as large as their files, at the least; the one not used for longest goes."""
    loaded: list[str] = []

    class Counted(TinyModel):
        @staticmethod
        def from_file(path: str) -> TinyModel:
            loaded.append(Path(path).stem)
            return TinyModel()

    module, serving = ModuleType("mrcnn"), ModuleType("mrcnn.serving")
    module.MaskRCNN = serving.Detector = Counted  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mrcnn", module)
    monkeypatch.setitem(sys.modules, "mrcnn.serving", serving)

    def run(names: str, megabytes: int) -> str:
        loaded.clear()
        for name in names:
            file = tmp_path / f"{name}.onnx"
            with file.open("wb") as opened:
                opened.truncate(200 << 20)  # a hole: it takes no space
            segment_png(png(), str(file), SegmentParams(memory=megabytes))
        return "".join(loaded)

    assert run("abab", 500) == "ab"
    assert run("cabab", 500) == "cab"  # a left for c, b for a, c for b
    assert run("ab", 100) == "", "what is there is used"
    assert run("cc", 100) == "c", "one may always stay"
    assert run("abca", 1000) == "ab"


def test_the_engine_runs_weights_and_exported_files_choose_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other(TinyModel):
        classes = ("Cloud", "Boot")

        @staticmethod
        def from_file(path: str) -> Other:
            return Other()

    module, serving = ModuleType("mrcnn"), ModuleType("mrcnn.serving")
    module.MaskRCNN, serving.Detector = TinyModel, Other  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mrcnn", module)
    monkeypatch.setitem(sys.modules, "mrcnn.serving", serving)

    def label(name: str, engine: str) -> str:
        (tmp_path / name).touch()
        params = SegmentParams(max_objects=1, max_area=1.0, engine=engine)  # type: ignore[arg-type]
        return unpack(segment_png(png(), str(tmp_path / name), params))[0].label

    assert label("a.h5", "onnx") == "Boot"
    assert label("a.h5", "tensorflow") == "Shoe"
    assert label("a.onnx", "tensorflow") == label("a.pb", "tensorflow") == label("a.pb", "onnx") == "Boot"


def test_what_is_missing_to_run_the_weights_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    weights = tmp_path / "a.onnx"
    weights.touch()
    with pytest.raises(ConfigurationError, match=r"a\.onnx, and onnxruntime is not installed"):
        segment_png(png(), str(weights), SegmentParams())


def test_openvino_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    weights = Path(__file__).parents[2] / "weights" / "surface.h5"
    with pytest.raises(ConfigurationError, match="openvino, which is not installed: uv sync --extra"):
        segment_png(png(), str(weights), SegmentParams(engine="openvino"))


def test_openvino_on_a_processor_without_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO says BF16 of such a processor too, and would imitate it."""

    class Core:
        def get_property(self, device: str, name: str) -> list[str]:
            return {("CPU", "OPTIMIZATION_CAPABILITIES"): ["BF16", "FP32"]}[device, name]

    monkeypatch.setattr("mrcnn.openvino_trunk._core", Core)
    monkeypatch.setattr("mrcnn.openvino_trunk._flags", lambda: {"avx512f", "avx512bw"})
    weights = Path(__file__).parents[2] / "weights" / "surface.h5"
    with pytest.raises(ConfigurationError, match=r"has no bfloat16 .* onnx is as fast here"):
        segment_png(png(), str(weights), SegmentParams(engine="openvino"))


def echo(data: bytes, weights: str, params: SegmentParams) -> PackedDetections:
    """Stand in for the model: one object, its label the weights and the thresholds."""
    with Image.open(io.BytesIO(data)) as image:
        mask = np.zeros((image.height, image.width), np.bool_)
    mask[1:3, 2:5] = True
    return pack([(f"{Path(weights).name} {params.max_objects}", 1.0, mask)], mask.shape)


def fail(data: bytes, weights: str, params: SegmentParams) -> PackedDetections:
    raise {"worker": WorkerError("The work lost its worker process.", retryable=True)}.get(
        data.decode(), KeyError("inside")
    )


@pytest.fixture
def files(tmp_path: Path) -> dict[int, str]:
    for name in ("surface.h5", "detail.h5"):
        (tmp_path / name).touch()
    return {0: "surface.h5", 2: "detail.h5"}


@pytest.fixture
def inline() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


async def test_weights_by_depth(files: dict[int, str], tmp_path: Path, inline: Executor) -> None:
    params = SegmentParams(max_objects=3)
    segmenter: Segmenter = MaskRCNNSegmenter(inline, files, root=tmp_path, params=params, worker=echo)
    names = [segmenter.weights_at(depth) for depth in range(5)]
    assert names == ["surface.h5", "surface.h5", "detail.h5", "detail.h5", "detail.h5"]
    (first,), (second,) = [await segmenter.segment(png(), depth=depth) for depth in (1, 7)]
    assert (first.label, second.label) == ("surface.h5 3", "detail.h5 3")
    assert first.box == Box(1, 2, 3, 5)
    await segmenter.aclose()
    assert inline.submit(int, 3).result() == 3, "the executor is not ours to close"


async def test_in_a_worker_process(files: dict[int, str], tmp_path: Path) -> None:
    with ProcessExecutor(1, timeout=60, threads=1) as executor:
        segmenter = MaskRCNNSegmenter(executor, files, root=tmp_path, worker=echo)
        (found,) = await segmenter.segment(png(1280, 720), depth=0)
        assert found.mask.shape == (720, 1280)


def test_missing_files_are_named(files: dict[int, str], tmp_path: Path, inline: Executor) -> None:
    with pytest.raises(ConfigurationError, match=r"SEGMENTERS names gone\.h5 for depth 1"):
        MaskRCNNSegmenter(inline, {**files, 1: "gone.h5"}, root=tmp_path)
    with pytest.raises(ConfigurationError, match="no weights for depth 0"):
        MaskRCNNSegmenter(inline, {1: "detail.h5"}, root=tmp_path)


async def test_failures_are_ours(files: dict[int, str], tmp_path: Path, inline: Executor) -> None:
    segmenter = MaskRCNNSegmenter(inline, files, root=tmp_path, worker=fail)
    with pytest.raises(SegmentationError, match="lost its worker") as caught:
        await segmenter.segment(b"worker", depth=0)
    assert caught.value.retryable
    with pytest.raises(SegmentationError, match="log says why") as caught:
        await segmenter.segment(b"other", depth=0)
    assert not caught.value.retryable
    assert isinstance(caught.value.__cause__, KeyError)
    segmenter = MaskRCNNSegmenter(inline, files, root=tmp_path, worker=echo)
    with pytest.raises(SegmentationError):
        await segmenter.segment(b"not a picture", depth=0)


async def test_a_cancel_of_ours_and_one_of_the_executor(files: dict[int, str], tmp_path: Path) -> None:
    started, gate = threading.Event(), threading.Event()

    def held(data: bytes, weights: str, params: SegmentParams) -> PackedDetections:
        started.set()
        assert gate.wait(20)
        return echo(data, weights, params)

    executor = ThreadPoolExecutor(1)
    segmenter = MaskRCNNSegmenter(executor, files, root=tmp_path, worker=held)
    running = asyncio.create_task(segmenter.segment(png(), depth=0))
    queued = [asyncio.create_task(segmenter.segment(png(), depth=0)) for _ in range(2)]
    assert await asyncio.to_thread(started.wait, 20)
    queued[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await queued[0]
    # Lost without our asking, as when a scheduler goes away: an error that can be tried again.
    executor.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(SegmentationError) as caught:
        await queued[1]
    assert caught.value.retryable
    gate.set()
    assert len(await running) == 1


async def test_a_shut_executor_is_an_error_of_ours(files: dict[int, str], tmp_path: Path) -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(SegmentationError):
        await MaskRCNNSegmenter(executor, files, root=tmp_path, worker=echo).segment(png(), depth=0)


def test_futures_are_all_that_is_asked_of_an_executor(files: dict[int, str], tmp_path: Path) -> None:
    class Here(Executor):
        def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]
            future: Future[object] = Future()
            future.set_result(fn(*args, **kwargs))
            return future

    segmenter = MaskRCNNSegmenter(Here(), files, root=tmp_path, worker=echo)
    assert len(asyncio.run(segmenter.segment(png(), depth=0))) == 1
