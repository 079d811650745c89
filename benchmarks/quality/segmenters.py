"""The segmenters, with the product's masks: precision on drawn scenes, recall on painted ones.

The truth on painted pictures is re-rendered: `ldm.painted` paints drawn scenes over (autoencoded, or noised
by a third to six tenths and painted anew; in half of them some things are repainted in windows of their own),
so that each thing is where its scene has it. Of pictures painted from text alone nobody knows the masks.
"""

import contextlib
import io
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from ldm.data import draw_labelled
from ldm.painted import SCALE, paint_over
from mrcnn.evaluate import encode
from mrcnn.serving import Detector
from pipeline.masks import follow_edges

from .figures import BUCKETS, Figure, Record, bucket, measure, share
from .judges import overlap
from .studio import SCENE_SEEDS, Files, open_studio

KINDS = ("drawn", "painted")
PARTS = ("surface", "detail")
_SURE = 0.7  # the product's least score; precision counts from the detector's own least score on
_LEAST = 0.05
_VISIBLE = 0.0005  # of the picture: the product leaves smaller objects out, and so does recall


def run(files: Files, folder: Path, cases: int, workers: int) -> list[Record]:
    """Look at so many drawn and so many painted pictures with both weights."""
    jobs = [f"{kind} {part} {n}" for n in range(cases) for kind in KINDS for part in PARTS]
    return measure(folder / "segmenters.jsonl", jobs, partial(look, files), workers, "segmenters")


@cache
def _detector(path: Path) -> Detector:
    from dataclasses import replace

    from mrcnn.weights import read_description

    config, classes = read_description(path)
    return Detector.from_file(path, replace(config, detection_min_confidence=_LEAST), classes, threads=1)


def look(files: Files, key: str) -> Record:
    """Detect in one picture; keep the truth and what was found."""
    kind, part, number = key.split(" ")
    seed = SCENE_SEEDS + int(number)
    scene = draw_labelled(seed, SCALE)
    image = scene.image if kind == "drawn" else paint_over(open_studio(files).model, scene, seed)
    detector = _detector(files.surface if part == "surface" else files.detail)
    found = detector.detect([image])[0]
    labels = [detector.classes[i - 1] for i in found["class_ids"]]
    masks = [follow_edges(image, found["masks"][:, :, i]) for i in range(len(labels))]
    sure = [i for i, score in enumerate(found["scores"]) if score >= _SURE]
    objects = []
    for label, mask in zip(scene.labels, scene.masks, strict=True):
        if label in detector.classes:
            best = max((overlap(mask, masks[i]) for i in sure if labels[i] == label), default=0.0)
            objects.append({"label": label, "area": int(mask.sum()), "iou": best, "mask": encode(mask)})
    return {
        "key": key,
        "kind": kind,
        "part": part,
        "classes": list(detector.classes),
        "size": list(image.shape[:2]),
        "truth": objects,
        "found": [
            {"label": label, "score": float(score), "mask": encode(mask)}
            for label, score, mask in zip(labels, found["scores"], masks, strict=True)
        ],
    }


def precision(records: Sequence[Record]) -> tuple[float, dict[str, float]]:
    """Give the masks' AP50, of all classes and of each, as COCO counts it."""
    from faster_coco_eval import COCO, COCOeval_faster
    from faster_coco_eval.core import mask as coder

    classes = records[0]["classes"]

    def coded(mask: dict[str, Any]) -> Any:
        return coder.frPyObjects(mask, *mask["size"])

    pictures, truth, found = [], [], []
    for number, record in enumerate(records, 1):
        pictures.append({"id": number, "height": record["size"][0], "width": record["size"][1]})
        for item in record["truth"]:
            mask = coded(item["mask"])
            truth.append(
                {
                    "id": len(truth) + 1,
                    "image_id": number,
                    "category_id": classes.index(item["label"]) + 1,
                    "iscrowd": 0,
                    "area": item["area"],
                    "bbox": [float(v) for v in coder.toBbox(mask)],
                    "segmentation": mask,
                }
            )
        found += [
            {
                "image_id": number,
                "category_id": classes.index(item["label"]) + 1,
                "score": item["score"],
                "segmentation": coded(item["mask"]),
            }
            for item in record["found"]
        ]
    categories = [{"id": i, "name": name} for i, name in enumerate(classes, 1)]
    with contextlib.redirect_stdout(io.StringIO()):
        answers = COCO({"images": pictures, "annotations": truth, "categories": categories})
        check = COCOeval_faster(answers, answers.loadRes(found), "segm")
        check.evaluate()
        check.accumulate()
    table = check.eval["precision"][0, :, :, 0, -1]  # [recall, class] at IoU 0.5
    each = {
        name: float(column[column > -1].mean())
        for name, column in zip(classes, table.T, strict=True)
        if (column > -1).any()
    }
    return float(np.mean(list(each.values()))), each


def figures(records: Sequence[Record], resamples: int = 40) -> list[Figure]:
    """Sum up both weights; the interval of a precision is bootstrapped over pictures."""
    out = []
    for part in PARTS:
        for kind in KINDS:
            mine = [r for r in records if r["part"] == part and r["kind"] == kind]
            if not mine:
                continue
            value, _ = precision(mine)
            rng = np.random.default_rng(0)
            again = [
                precision([mine[int(i)] for i in rng.integers(len(mine), size=len(mine))])[0]
                for _ in range(resamples)
            ]
            low, high = (float(v) for v in np.percentile(again, (2.5, 97.5)))
            target = (0.9, 1.0) if kind == "drawn" else None
            out.append(Figure(f"{part}: mask AP50, {kind}", value, low, high, len(mine), target))
            objects = [item for r in mine for item in r["truth"] if _counts(r, item)]
            target = (0.75, 1.0) if kind == "painted" else None
            out.append(share(f"{part}: recall, {kind}", [o["iou"] >= 0.5 for o in objects], target))
            for name in BUCKETS:
                some = [o["iou"] >= 0.5 for o in objects if bucket(o["area"]) == name]
                out.append(share(f"  {part}: recall, {kind}, {name}", some))
    return out


def _counts(record: Record, item: Record) -> bool:
    height, width = record["size"]
    return item["area"] >= _VISIBLE * height * width


def by_class(records: Sequence[Record]) -> dict[str, list[Figure]]:
    """Give each class' recall on drawn and on painted pictures."""
    out = {}
    for part in PARTS:
        for label in next((r["classes"] for r in records if r["part"] == part), []):
            out[f"{part} {label}"] = [
                share(
                    f"recall, {kind}",
                    [
                        item["iou"] >= 0.5
                        for r in records
                        if r["part"] == part and r["kind"] == kind
                        for item in r["truth"]
                        if item["label"] == label and _counts(r, item)
                    ],
                )
                for kind in KINDS
            ]
    return {name: row for name, row in out.items() if any(figure.count for figure in row)}
