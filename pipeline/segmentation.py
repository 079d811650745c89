"""Mask R-CNN behind an Executor: pictures go in as PNG, masks come back as packed bits."""

from __future__ import annotations

import asyncio
import functools
import io
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
from numpy.typing import NDArray
from PIL import Image

from pipeline.domain import Box, Detection, Mask
from pipeline.errors import BackendError, ConfigurationError, SegmentationError
from pipeline.masks import follow_edges

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SegmentParams:
    """What runs the weights, how, and which detections are kept: areas are shares of the picture."""

    min_score: float = 0.7
    min_area: float = 0.0005
    max_area: float = 0.9
    max_objects: int = 6
    instances: Literal["separate", "merged"] = "separate"
    engine: Literal["onnx", "openvino", "tensorflow"] = "onnx"
    memory: int = 2048  # MB of weights that a worker keeps ready


@dataclass(frozen=True, slots=True)
class PackedDetections:
    """Detections as they cross a process border: masks [N, H, W] in `np.packbits` order, rows after rows."""

    labels: tuple[str, ...]
    scores: tuple[float, ...]
    height: int
    width: int
    bits: bytes


Worker = Callable[[bytes, str, SegmentParams], PackedDetections]


class MaskRCNNSegmenter:
    """Find objects with the weights of each depth; the deepest entry serves all deeper ones.

    `weights` are files by depth, looked for in the working folder and then in `root`; `weights_at` names them
    as they were given, for pictures tell it to everybody. The executor is the caller's: it is not shut down
    here. Raise ConfigurationError for a file that is not there.
    """

    def __init__(
        self,
        executor: Executor,
        weights: Mapping[int, str],
        *,
        root: Path = Path(),
        params: SegmentParams | None = None,
        worker: Worker | None = None,
    ) -> None:
        if 0 not in weights:
            raise ConfigurationError("SEGMENTERS names no weights for depth 0, as in 0:weights/surface.h5.")
        self._names = dict(weights)
        self._files: dict[str, str] = {}  # by name: workers need not be in our folder
        for depth, name in weights.items():
            found = next((path for path in (Path(name), root / name) if path.is_file()), None)
            if found is None:
                raise ConfigurationError(
                    f"SEGMENTERS names {name} for depth {depth}, and there is no such file."
                )
            self._files[name] = str(found.resolve())
        self._executor = executor
        self._params = params or SegmentParams()
        self._worker = worker or segment_png

    def weights_at(self, depth: int) -> str:
        return self._names[max((level for level in self._names if level <= depth), default=0)]

    async def segment(self, png: bytes, *, depth: int) -> Sequence[Detection]:
        """Find the objects of a picture, the largest first; raise SegmentationError."""
        path = self._files[self.weights_at(depth)]
        try:
            future = self._executor.submit(self._worker, png, path, self._params)
            packed = await asyncio.wrap_future(future)
        except ConfigurationError:
            raise
        except asyncio.CancelledError as err:
            task = asyncio.current_task()
            if task is None or task.cancelling():  # we were asked to stop
                raise
            raise SegmentationError("Finding objects was interrupted; try again.", retryable=True) from err
        except BackendError as err:
            raise SegmentationError(f"Finding objects failed: {err}", retryable=err.retryable) from err
        except Exception as err:
            log.exception("Finding objects failed.")
            raise SegmentationError("Finding objects failed; the log says why.") from err
        return await asyncio.to_thread(unpack, packed)

    async def aclose(self) -> None:
        """Do nothing: the executor is shared, and closed by whoever opened it."""


# -- in the worker -------------------------------------------------------------------------------


def segment_png(png: bytes, weights: str, params: SegmentParams) -> PackedDetections:
    """Run Mask R-CNN on a picture. The only function here that needs the model."""
    with Image.open(io.BytesIO(png)) as opened:
        image = np.asarray(opened.convert("RGB"))  # uint8 [H, W, 3]
    model = _models().get(weights, params.engine, params.memory << 20)
    found = model.detect([image])[0]
    # class_ids are 1-based: 0 is the background, which the weights' own list leaves out.
    labels = [str(model.classes[int(class_id) - 1]) for class_id in found["class_ids"]]
    scores = [float(score) for score in found["scores"]]
    masks = np.moveaxis(np.asarray(found["masks"], dtype=np.bool_), -1, 0)  # [H, W, N] -> [N, H, W]
    # Here and not in the detector, whose masks are to be Matterport's.
    sharp = [
        follow_edges(image, m) if s >= params.min_score else m for m, s in zip(masks, scores, strict=True)
    ]
    return pack(choose(labels, scores, np.array(sharp).reshape(masks.shape), params), image.shape[:2])


def classes_of(weights: str, params: SegmentParams) -> tuple[str, ...]:
    """Load weights, try them on a grey picture, and return the classes that they know."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "grey").save(buffer, "PNG")
    segment_png(buffer.getvalue(), weights, params)
    return tuple(map(str, _load(weights, params.engine).classes))


@functools.cache
def _models() -> _Models:
    """Return the models of this worker."""
    return _Models()


class _Models:
    """Models that stay loaded. Where they take too much memory, the one not used for longest goes."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[str, str], tuple[Any, int]] = OrderedDict()  # the last used last

    def get(self, weights: str, engine: str, limit: int) -> Any:
        """Return the model of a file, loaded if it is not here; all together hold at most `limit` bytes.

        A single model may take more. What one takes is how much the process grew while it was loaded.
        """
        key = (weights, engine)
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key][0]
        with suppress(OSError):  # what is not there, loading says better
            self._make_room(limit - Path(weights).stat().st_size, stay=0)
        process = psutil.Process()
        before = process.memory_info().rss
        model = _load(weights, engine)
        grown = process.memory_info().rss - before
        self._held[key] = model, max(grown, Path(weights).stat().st_size)
        self._make_room(limit)
        return model

    def _make_room(self, limit: int, stay: int = 1) -> None:
        """Let models go until those left hold at most `limit` bytes; the `stay` used last do stay."""
        while len(self._held) > stay and sum(size for _, size in self._held.values()) > limit:
            self._held.popitem(last=False)


def _load(weights: str, engine: str) -> Any:
    """Load a model. An exported file says by itself what runs it."""
    try:
        if engine == "tensorflow" and Path(weights).suffix == ".h5":
            from mrcnn import MaskRCNN  # TensorFlow comes with it: only workers import it

            return MaskRCNN.from_file(weights)
        from mrcnn.serving import Detector

        if engine == "openvino" and Path(weights).suffix == ".h5":
            return _load_openvino(weights)
        return Detector.from_file(weights)
    except ImportError as err:
        raise ConfigurationError(
            f"SEGMENTERS names {Path(weights).name}, and {err.name} is not installed to run it; "
            "SEGMENTER_ENGINE may name another."
        ) from err
    except (OSError, KeyError, ValueError) as err:
        raise ConfigurationError(
            f"SEGMENTERS names {Path(weights).name}, which cannot be loaded as Mask R-CNN weights."
        ) from err


def _load_openvino(weights: str) -> Any:
    from mrcnn.openvino_trunk import NoBfloat16Error
    from mrcnn.serving import Detector

    try:
        return Detector.from_file(weights, engine="openvino")
    except ModuleNotFoundError as err:
        if err.name != "openvino":
            raise
        raise ConfigurationError(
            "SEGMENTER_ENGINE is openvino, which is not installed: uv sync --extra openvino, or take onnx."
        ) from err
    except NoBfloat16Error as err:
        raise ConfigurationError(
            f"SEGMENTER_ENGINE is openvino, but {err}; onnx is as fast here, and exact."
        ) from err


Found = tuple[str, float, Mask]  # label, score, mask [H, W]


def choose(
    labels: Sequence[str], scores: Sequence[float], masks: NDArray[np.bool_], params: SegmentParams
) -> list[Found]:  # masks [N, H, W]
    """Keep what is sure and of a fit size, the largest first.

    Merged instances are united per class first, with the best of their scores: parts of a class that are too
    small on their own may be large enough together.
    """
    found: list[Found] = [
        (label, score, mask)
        for label, score, mask in zip(labels, scores, masks, strict=True)
        if score >= params.min_score
    ]
    if params.instances == "merged":
        united: dict[str, Found] = {}
        for label, score, mask in found:
            _, best, whole = united.get(label, (label, score, np.zeros_like(mask)))
            united[label] = (label, max(best, score), whole | mask)
        found = list(united.values())
    sized = [(int(mask.sum()), label, score, mask) for label, score, mask in found]
    pixels = masks.shape[1] * masks.shape[2]
    fit = [
        entry
        for entry in sized
        if entry[0] and params.min_area * pixels <= entry[0] <= params.max_area * pixels
    ]
    fit.sort(key=lambda entry: (-entry[0], -entry[2], entry[1]))  # equal in size: the surer first
    return [(label, score, mask) for _, label, score, mask in fit[: params.max_objects]]


def pack(found: Sequence[Found], shape: tuple[int, ...]) -> PackedDetections:
    """Pack detections for the way; `shape` is (H, W, …) of the picture."""
    height, width = shape[:2]
    masks = np.array([mask for _, _, mask in found], dtype=np.bool_).reshape(len(found), height, width)
    return PackedDetections(
        labels=tuple(label for label, _, _ in found),
        scores=tuple(score for _, score, _ in found),
        height=height,
        width=width,
        bits=np.packbits(masks).tobytes(),
    )


# -- in the parent -------------------------------------------------------------------------------


def unpack(packed: PackedDetections) -> list[Detection]:
    """Unpack detections; boxes are those of the masks, half-open."""
    shape = (len(packed.labels), packed.height, packed.width)
    bits = np.frombuffer(packed.bits, np.uint8)
    masks = np.unpackbits(bits, count=int(np.prod(shape))).astype(np.bool_).reshape(shape)  # [N, H, W]
    return [
        Detection(label, score, box_of(mask), mask)
        for label, score, mask in zip(packed.labels, packed.scores, masks, strict=True)
    ]


def box_of(mask: Mask) -> Box:
    """Give the smallest box around a mask [H, W] that has a True pixel."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
