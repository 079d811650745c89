"""Serve a trained network from a file, without Keras, and where ONNX Runtime does it without TensorFlow."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from mrcnn import boxes, images, weights
from mrcnn.anchors import normalized_anchors
from mrcnn.config import Config

if TYPE_CHECKING:
    import onnxruntime

Window = tuple[int, int, int, int]
# Molded image [H, W, 3], the picture's window in it (pixels) and normalised anchors [A, 4] to detections
# [D, 6] and their soft masks [D, 28, 28], each of its own class.
Run = Callable[
    [NDArray[np.float32], Window, NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.float32]]
]


class Detector:
    """Find objects in pictures, as `MaskRCNN` does, with a file that was made for it.

    `classes` names the classes 1, 2, ... of the detections, without the background.
    """

    def __init__(self, config: Config, classes: Sequence[str], run: Run) -> None:
        if len(classes) != config.num_classes - 1:
            raise ValueError(
                f"{len(classes)} classes, but num_classes is {config.num_classes} with the background"
            )
        self.config = config
        self.classes = tuple(classes)
        self._run = run
        self._anchors: dict[tuple[int, int], NDArray[np.float32]] = {}

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        config: Config | None = None,
        classes: Sequence[str] | None = None,
        *,
        threads: int | None = None,
        engine: Literal["onnx", "openvino"] = "onnx",
    ) -> Detector:
        """Open weights (`.h5`) or an exported `.onnx` on ONNX Runtime, a frozen graph (`.pb`) on TensorFlow.

        With the engine `openvino` the trunk of weights (not of exported files) is computed in bfloat16: on
        processors that multiply it several times faster, and less exact.
        `config` and `classes` are for files of others, which hold neither, such as Matterport's weights or a
        graph that TensorFlow 1 froze. Without `threads` there are as many as `OMP_NUM_THREADS` says, else one
        a core. Raises ValueError for a file that is none of these or does not fit, ImportError for an engine
        that is not installed, and NoBfloat16Error.
        """
        path = Path(path)
        if threads is None:
            given = os.environ.get("OMP_NUM_THREADS", "")
            threads = int(given) if given.isdigit() else 0
        kind = path.suffix.lower()
        if kind == ".pb":
            from mrcnn.frozen import FrozenGraph  # TensorFlow comes with it

            graph = FrozenGraph(path, threads)
            config, classes = _described(path, graph.description, config, classes)
            return cls(config, classes, graph.bound(config))
        if kind == ".onnx":
            session = _session(path, threads)
            config, classes = _described(path, session.get_modelmeta().custom_metadata_map, config, classes)
            return cls(config, classes, _bound(session))
        if config is None:
            config, classes = weights.read_description(path)
        names = _names(config, classes)
        with tempfile.TemporaryDirectory(prefix="mrcnn-", ignore_cleanup_errors=True) as folder:
            # Gone again once it is open: no other way to the engines takes less memory.
            opened = _open_parts if engine == "openvino" else _open_weights
            return cls(config, names, opened(path, config, names, threads, Path(folder)))

    def detect(self, pictures: Sequence[NDArray[np.uint8]]) -> list[dict[str, NDArray]]:
        """Find the objects in RGB pictures, each [H, W, 3] of any size.

        Returns for each: `rois` int32 [N, (y1, x1, y2, x2)], `class_ids` int32 [N], `scores` float32 [N],
        best first, and `masks` bool [H, W, N]. One picture goes after the other: on a processor, all of whose
        cores one picture keeps busy, a batch is no faster and takes more memory.
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
        self, molded: NDArray[np.float32], window: Window
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run the network on one molded image [H, W, 3] whose picture lies in `window` (pixels).

        Returns detections [D, (y1, x1, y2, x2, class, score)] and their soft masks [D, 28, 28].
        """
        height, width = molded.shape[:2]
        if (height, width) not in self._anchors:
            self._anchors[height, width] = normalized_anchors(self.config, height, width)
        return self._run(molded, window, self._anchors[height, width])


def _described(
    path: Path, description: dict[str, str], config: Config | None, classes: Sequence[str] | None
) -> tuple[Config, Sequence[str]]:
    """Return what the caller gives, else what the file holds."""
    if config is not None:
        return config, _names(config, classes)
    try:
        return Config.from_json(description["mrcnn_config"]), json.loads(description["mrcnn_classes"])
    except KeyError:
        raise ValueError(
            f"{path}: holds no settings; give them: Detector.from_file(path, Config(...))"
        ) from None


def _names(config: Config, classes: Sequence[str] | None) -> Sequence[str]:
    return classes if classes is not None else [f"class {i}" for i in range(1, config.num_classes)]


# -- ONNX Runtime --------------------------------------------------------------------------------


def _bound(session: onnxruntime.InferenceSession) -> Run:
    def run(
        molded: NDArray[np.float32], window: Window, anchors: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        frame = boxes.normalize(np.array(window), molded.shape[:2])
        detections, masks = session.run(None, {"image": molded[None], "anchors": anchors, "window": frame})
        return np.asarray(detections), np.asarray(masks)

    return run


def _open_weights(path: Path, config: Config, classes: Sequence[str], threads: int, folder: Path) -> Run:
    from mrcnn import onnx_graph

    file = folder / "model.onnx"
    with (folder / "weights.bin").open("wb") as beside:
        model = onnx_graph.build(weights.read_groups(path), config, classes, name=str(path), beside=beside)
    file.write_bytes(model.SerializeToString())
    return _bound(_session(file, threads))


def _session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # The arena keeps what it once took, rounded up to powers of two: twice the memory for 2 % of the time.
    options.enable_cpu_mem_arena = False
    # Workers share the machine: threads that wait burn no time of others', and take small pieces of work, so
    # that one which was held up holds up no other. What is computed is the same.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.dynamic_block_base", "4")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as err:  # ONNX Runtime's errors have no common base but this
        raise ValueError(f"{path}: ONNX Runtime cannot open it ({err})") from err


# -- OpenVINO ------------------------------------------------------------------------------------


def _open_parts(path: Path, config: Config, classes: Sequence[str], threads: int, folder: Path) -> Run:
    """Run the trunk on OpenVINO; boxes, whose eight bits would be pixels, and the heads stay in float32."""
    from mrcnn import onnx_graph
    from mrcnn.openvino_trunk import Trunk

    files, beside = (folder / "trunk.onnx", folder / "regions.onnx"), folder / "weights.bin"
    with beside.open("wb") as out:
        models = onnx_graph.build_parts(weights.read_groups(path), config, name=str(path), beside=out)
    for file, model in zip(files, models, strict=True):
        file.write_bytes(model.SerializeToString())
    trunk, regions = Trunk(files[0], beside, threads), _session(files[1], threads)

    def run(
        molded: NDArray[np.float32], window: Window, anchors: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        shape = molded.shape[:2]
        frame = boxes.normalize(np.array(window), shape)
        fed = {**trunk(molded), "anchors": anchors, "window": frame, "shape": np.array(shape, np.float32)}
        detections, masks = regions.run(None, fed)
        return np.asarray(detections), np.asarray(masks)

    return run
