"""COCO's average precision of detections, for boxes and masks, in all and for each class."""

import contextlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mrcnn.data import Dataset
from mrcnn.model import MaskRCNN


@dataclass(frozen=True, slots=True)
class Precision:
    """Average precision of boxes or masks; nan where there was nothing to find.

    `ap` over IoU 0.50 to 0.95, `ap50`, `ap75`, over small, medium and large objects; `classes` gives each
    class's (ap, ap50, objects).
    """

    ap: float
    ap50: float
    ap75: float
    small: float
    medium: float
    large: float
    classes: dict[str, tuple[float, float, int]]


def encode(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return a mask [H, W] as COCO's uncompressed run lengths: down the columns, first a run of 0."""
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat.size and flat[0] else counts}


def _box(y1: int, x1: int, y2: int, x2: int) -> list[int]:
    return [int(x1), int(y1), int(x2 - x1), int(y2 - y1)]


def found_in(result: dict[str, NDArray], image_id: int) -> list[dict[str, Any]]:
    """Return one picture's detections as COCO results."""
    return [
        {
            "image_id": image_id,
            "category_id": int(result["class_ids"][i]),
            "bbox": _box(*result["rois"][i]),
            "score": float(result["scores"][i]),
            "segmentation": encode(result["masks"][:, :, i]),
        }
        for i in range(len(result["scores"]))
    ]


def evaluate(model: MaskRCNN, dataset: Dataset, indices: Iterable[int]) -> tuple[Precision, Precision]:
    """Detect in the examples at `indices`; return the precision of boxes and of masks."""
    from faster_coco_eval import COCO
    from faster_coco_eval.core import mask as coder

    if dataset.classes != model.classes:
        raise ValueError(
            f"the model finds {', '.join(model.classes)}; the data has {', '.join(dataset.classes)}"
        )
    pictures, truth, found = [], [], []
    for image_id, index in enumerate(indices, start=1):
        example = dataset.load(index)
        height, width = example.image.shape[:2]
        pictures.append({"id": image_id, "height": height, "width": width, "file_name": str(index)})
        for mask, class_id in zip(example.masks, example.class_ids, strict=True):
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            truth.append(
                {
                    "id": len(truth) + 1,
                    "image_id": image_id,
                    "category_id": abs(int(class_id)),
                    "iscrowd": int(class_id < 0),
                    "area": int(mask.sum()),
                    "bbox": _box(rows[0], columns[0], rows[-1] + 1, columns[-1] + 1),
                    "segmentation": coder.encode(np.asfortranarray(mask.astype(np.uint8))),
                }
            )
        found += found_in(model.detect([example.image])[0], image_id)
    for item in found:
        item["segmentation"] = coder.frPyObjects(item["segmentation"], *item["segmentation"]["size"])
    categories = [{"id": i, "name": name} for i, name in enumerate(dataset.classes, start=1)]
    with contextlib.redirect_stdout(io.StringIO()):
        answers = COCO({"images": pictures, "annotations": truth, "categories": categories})
    return _precision(answers, found, "bbox", dataset.classes), _precision(
        answers, found, "segm", dataset.classes
    )


def _precision(
    answers: Any, found: list[dict[str, Any]], kind: Literal["bbox", "segm"], classes: tuple[str, ...]
) -> Precision:
    """Evaluate results of one kind, "bbox" or "segm"."""
    from faster_coco_eval import COCOeval_faster

    counts = [
        sum(a["category_id"] == i for a in answers.dataset["annotations"]) for i in range(1, len(classes) + 1)
    ]
    if not found:
        return Precision(0, 0, 0, 0, 0, 0, {n: (0.0, 0.0, c) for n, c in zip(classes, counts, strict=True)})
    with contextlib.redirect_stdout(io.StringIO()):
        run = COCOeval_faster(answers, answers.loadRes(found), kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    table = run.eval["precision"]  # [IoU, recall, class, area, limit]

    def mean(values: NDArray) -> float:
        values = values[values > -1]
        return float(values.mean()) if values.size else float("nan")

    each = {
        name: (mean(table[:, :, i, 0, -1]), mean(table[0, :, i, 0, -1]), counts[i])
        for i, name in enumerate(classes)
    }
    return Precision(*(float(v) if v > -1 else float("nan") for v in run.stats[:6]), classes=each)
