"""Write scenes as data sets that others' tools read: COCO, VIA 2, and a contact sheet to look at."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from skimage.measure import approximate_polygon, find_contours

from .palette import CLASSES
from .scene import Scene, draw

_HUES = ((230, 60, 70), (40, 110, 230), (20, 150, 80), (230, 140, 20), (140, 60, 200), (0, 150, 170))


def write_coco(folder: Path, *, count: int, seed: int, height: int, width: int) -> Path:
    """Write images/ and annotations.json as COCO has them, masks run-length coded; give the JSON path."""
    return write_coco_truth(folder, _pictures(folder, count, seed, height, width))


def write_coco_truth(folder: Path, pictures: Iterable[tuple[str, Scene]]) -> Path:
    """Write annotations.json for pictures (file name, scene) that lie in images/; give the JSON's path."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (name, scene) in enumerate(pictures, 1):
        height, width = scene.image.shape[:2]
        images.append(
            {
                "id": number,
                "file_name": f"images/{name}",
                "height": height,
                "width": width,
                "caption": scene.prompt,
            }
        )
        for label, tags, mask, box in zip(scene.labels, scene.tags, scene.masks, scene.boxes, strict=True):
            y1, x1, y2, x2 = (int(v) for v in box)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": CLASSES.index(label) + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": int(mask.sum()),
                    "segmentation": {"size": [height, width], "counts": run_lengths(mask)},
                    "iscrowd": 0,
                    "attributes": {"tags": list(tags)},
                }
            )
    path = folder / "annotations.json"
    categories = [
        {"id": index + 1, "name": name, "supercategory": "street"} for index, name in enumerate(CLASSES)
    ]
    data = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(data, ensure_ascii=False), "utf-8")
    return path


def write_via(folder: Path, *, count: int, seed: int, height: int, width: int) -> Path:
    """Write images and via_region_data.json as VGG Image Annotator 2 exports it; give the JSON's path.

    VIA knows no holes and no split shapes: each visible part of a thing is a region of its own.
    """
    entries: dict[str, Any] = {}
    for name, scene in _pictures(folder, count, seed, height, width, subfolder=""):
        regions = [
            {
                "shape_attributes": {"name": "polygon", "all_points_x": xs, "all_points_y": ys},
                "region_attributes": {"name": label},
            }
            for label, mask in zip(scene.labels, scene.masks, strict=True)
            for xs, ys in outlines(mask)
        ]
        size = (folder / name).stat().st_size
        entries[f"{name}{size}"] = {"filename": name, "size": size, "regions": regions, "file_attributes": {}}
    path = folder / "via_region_data.json"
    path.write_text(json.dumps(entries, ensure_ascii=False), "utf-8")
    return path


def write_sheet(path: Path, *, count: int, seed: int, height: int, width: int, columns: int = 4) -> Path:
    """Write one PNG with each scene beside its outlined, named things."""
    cells = []
    for number in range(count):
        scene = draw(seed + number, height=height, width=width)
        cells.append(np.concatenate([scene.image, overlay(scene)], 1))
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % columns)
    rows = [np.concatenate(cells[start : start + columns], 1) for start in range(0, len(cells), columns)]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows, 0)).save(path)
    return path


def overlay(scene: Scene) -> NDArray[np.uint8]:
    """Paint every thing's mask and name over a scene: uint8 [H, W, 3]."""
    shaded = scene.image.astype(np.float32)
    for index, mask in enumerate(scene.masks):
        shaded[mask] = shaded[mask] * 0.6 + np.asarray(_HUES[index % len(_HUES)], np.float32) * 0.4
    picture = Image.fromarray(shaded.astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for label, (y1, x1, y2, x2) in zip(scene.labels, scene.boxes.tolist(), strict=True):
        pen.rectangle((x1, y1, x2 - 1, y2 - 1), outline=(255, 255, 255))
        pen.text((x1 + 2, y1 + 1), label, fill=(255, 255, 255), stroke_width=1, stroke_fill=(40, 40, 60))
    return np.asarray(picture)


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """Count a mask's runs of 0 and 1 down its columns, beginning with 0, as COCO does."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *runs] if flat[0] else runs


def outlines(mask: NDArray[np.bool_], least: float = 12.0) -> list[tuple[list[int], list[int]]]:
    """Trace a mask's parts as polygons (all x, all y); those under `least` pixels are left out."""
    padded = np.pad(mask, 1).astype(np.float32)
    found = []
    for contour in find_contours(padded, 0.5):
        points = approximate_polygon(contour, 0.6)[:-1] - 1  # [P, (y, x)]
        if len(points) < 3:
            continue
        y, x = points[:, 0], points[:, 1]
        area = 0.5 * float(np.sum(y * np.roll(x, 1) - np.roll(y, 1) * x))
        if area < least:  # holes run the other way round: their area is negative
            continue
        limit_y, limit_x = mask.shape[0] - 1, mask.shape[1] - 1
        xs = np.clip(np.rint(x), 0, limit_x).astype(int).tolist()
        ys = np.clip(np.rint(y), 0, limit_y).astype(int).tolist()
        found.append((xs, ys))
    return found


def _pictures(
    folder: Path, count: int, seed: int, height: int, width: int, subfolder: str = "images"
) -> Iterator[tuple[str, Scene]]:
    (folder / subfolder).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        scene = draw(seed + number, height=height, width=width)
        name = f"scene-{seed + number:08d}.png"
        Image.fromarray(scene.image).save(folder / subfolder / name)
        yield name, scene
