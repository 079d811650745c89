"""Annotation files that become data sets: COCO, VIA 1.x and 2.x, LabelMe."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import draw

from mrcnn.data import Dataset, DatasetError, Example


def open_dataset(path: str | Path) -> Dataset:
    """Open a COCO or VIA JSON file, a folder with one beside its pictures, or one of LabelMe files.

    Raises DatasetError with the list of everything wrong: missing files, unknown classes, broken shapes.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(path.glob("*.json"))
        contents = [(file, _read(file)) for file in files]
        labelme = [(file, c) for file, c in contents if isinstance(c, dict) and "shapes" in c]
        if labelme and len(labelme) == len(files):
            return _labelme(path, labelme)
        if len(files) != 1:
            found = ", ".join(f.name for f in files) or "none"
            raise DatasetError(f"{path}: expected one annotation file (*.json), found {found}; name the file")
        path, content = contents[0]
    else:
        content = _read(path)
    if isinstance(content, dict) and "shapes" in content:
        return _labelme(path.parent, [(path, content)])
    if isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys():
        return _coco(path, content)
    if isinstance(content, dict) and (
        "_via_img_metadata" in content or any("regions" in v for v in content.values() if isinstance(v, dict))
    ):
        return _via(path, content)
    kinds = "COCO (images, annotations, categories), VIA (regions) or LabelMe (shapes)"
    raise DatasetError(f"{path}: not {kinds}")


def _read(path: Path) -> Any:
    """Read a JSON file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file or folder") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as err:
        raise DatasetError(f"{path}: not JSON: {err}") from err


# A shape draws itself into an empty mask of the picture's (height, width).
Shape = Callable[[tuple[int, int]], NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class _Entry:
    """One picture's file and its objects: class id (negative for a crowd) and shape."""

    file: Path
    objects: tuple[tuple[int, Shape], ...]


def _finish(path: Path, classes: Sequence[str], entries: list[_Entry], problems: list[str]) -> Dataset:
    """Return the data set, or raise what was found wrong with it."""
    problems += [
        f"{e.file.name}: no such picture in {e.file.parent}" for e in entries if not e.file.is_file()
    ]
    if not entries and not problems:
        problems = ["no picture is annotated"]
    if problems:
        more = f"\n  ... and {len(problems) - 30} more" if len(problems) > 30 else ""
        raise DatasetError(f"{path}: {len(problems)} problems\n  " + "\n  ".join(problems[:30]) + more)

    def load(index: int) -> Example:
        entry = entries[index % len(entries)]
        with Image.open(entry.file) as picture:
            image = np.asarray(picture.convert("RGB"))
        masks = [shape(image.shape[:2]) for _, shape in entry.objects]
        ids = np.array([number for number, _ in entry.objects], np.int32)
        stack = np.array(masks, bool).reshape(-1, *image.shape[:2])
        keep = stack.any(axis=(1, 2))
        return Example(image, stack[keep], ids[keep])

    return Dataset(path.name, tuple(classes), len(entries), load)


def _polygons(rings: Sequence[Sequence[float]]) -> Shape:
    """Make the union of polygons, each x1, y1, x2, y2, ...; what lies outside the picture is cut off."""

    def paint(shape: tuple[int, int]) -> NDArray[np.bool_]:
        mask = np.zeros(shape, bool)
        for ring in rings:
            # A pixel's centre lies half a pixel inside it.
            rows, columns = draw.polygon(np.array(ring[1::2]) - 0.5, np.array(ring[::2]) - 0.5, shape)
            mask[rows, columns] = True
        return mask

    return paint


def _ellipse(cx: float, cy: float, rx: float, ry: float, turn: float) -> Shape:
    """Make an ellipse, turned clockwise by `turn` radians as seen on the screen."""
    angle = np.linspace(0, 2 * np.pi, 128, endpoint=False)
    x = cx + rx * np.cos(angle) * np.cos(turn) - ry * np.sin(angle) * np.sin(turn)
    y = cy + rx * np.cos(angle) * np.sin(turn) + ry * np.sin(angle) * np.cos(turn)
    return _polygons([np.stack([x, y], axis=1).ravel().tolist()])


def _rle(counts: Sequence[int], size: tuple[int, int]) -> Shape:
    """Make a mask from COCO's run lengths, which go down the columns and start with a run of 0."""

    def paint(shape: tuple[int, int]) -> NDArray[np.bool_]:
        if tuple(size) != tuple(shape):
            raise DatasetError(f"a run-length mask of {size} in a picture of {shape}")
        values = np.arange(len(counts)) % 2 == 1
        return np.repeat(values, counts).reshape(shape[::-1]).T

    return paint


def _coco(path: Path, content: dict[str, Any]) -> Dataset:
    """Read COCO: polygons, run lengths (lists or strings) and crowds."""
    problems: list[str] = []
    categories = sorted(content["categories"], key=lambda c: c["id"])
    number = {c["id"]: i for i, c in enumerate(categories, start=1)}
    objects: dict[Any, list[tuple[int, Shape]]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        where = f"annotation {annotation.get('id')}"
        if annotation["image_id"] not in objects:
            problems.append(f"{where}: unknown image {annotation['image_id']}")
            continue
        if annotation["category_id"] not in number:
            problems.append(f"{where}: unknown category {annotation['category_id']}")
            continue
        sign = -1 if annotation.get("iscrowd") else 1
        drawn = annotation.get("segmentation")
        if isinstance(drawn, dict) and isinstance(drawn.get("counts"), list):
            shape = _rle(drawn["counts"], tuple(drawn["size"]))
        elif isinstance(drawn, dict) and isinstance(drawn.get("counts"), str):
            shape = _rle(_unpack(drawn["counts"]), tuple(drawn["size"]))
        elif isinstance(drawn, list) and drawn and all(len(r) >= 6 and len(r) % 2 == 0 for r in drawn):
            shape = _polygons(drawn)
        else:
            problems.append(f"{where}: no polygon of three points and no run lengths")
            continue
        objects[annotation["image_id"]].append((sign * number[annotation["category_id"]], shape))
    entries = [
        _Entry(_picture(path.parent, image["file_name"]), tuple(objects[image["id"]]))
        for image in content["images"]
    ]
    return _finish(path, [c["name"] for c in categories], entries, problems)


def _picture(folder: Path, name: str) -> Path:
    """Find a picture beside the annotation file or in a folder `images` there."""
    beside = folder / name
    return (
        beside if beside.is_file() or not (folder / "images" / name).is_file() else folder / "images" / name
    )


def _unpack(text: str) -> list[int]:
    """Decode COCO's run-length string: 5 bits a character; from the third on, counts are differences."""
    counts: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value, shift = 0, 0
    return counts


def _via(path: Path, content: dict[str, Any]) -> Dataset:
    """Read VGG Image Annotator 1.x and 2.x: polygon, polyline, rect, circle, ellipse.

    The class is the one region attribute, or the one called name, class, label, type or object; a region
    without attributes is of the class "object".
    """
    problems: list[str] = []
    found: list[tuple[Path, list[tuple[str, Shape]]]] = []
    for item in content.get("_via_img_metadata", content).values():
        if not isinstance(item, dict) or "filename" not in item:
            continue
        regions = item.get("regions") or []
        shapes = []
        for i, region in enumerate(regions.values() if isinstance(regions, dict) else regions):
            where = f"{item['filename']}, region {i + 1}"
            try:
                shapes.append((_via_class(region.get("region_attributes") or {}), _via_shape(region)))
            except (KeyError, TypeError, ValueError) as err:
                problems.append(
                    f"{where}: {err if isinstance(err, ValueError) else f'{err} is missing or broken'}"
                )
        if shapes:  # pictures not yet annotated are not pictures without objects
            found.append((_picture(path.parent, item["filename"]), shapes))
    return _number(path, found, problems)


def _labelme(folder: Path, files: list[tuple[Path, dict[str, Any]]]) -> Dataset:
    """Read LabelMe, one file a picture: polygon, rectangle, circle."""
    problems: list[str] = []
    found: list[tuple[Path, list[tuple[str, Shape]]]] = []
    for file, content in files:
        shapes = []
        for i, item in enumerate(content["shapes"], start=1):
            try:
                shapes.append((str(item["label"]), _labelme_shape(item)))
            except (KeyError, TypeError, ValueError, IndexError) as err:
                problems.append(f"{file.name}, shape {i}: {_said(err)}")
        # The path may come from another system: its last part is what counts.
        name = str(content.get("imagePath", f"{file.stem}.png")).replace("\\", "/").rsplit("/", 1)[-1]
        if shapes:
            found.append((_picture(file.parent, name), shapes))
    return _number(folder, found, problems)


def _labelme_shape(item: dict[str, Any]) -> Shape:
    """Read a LabelMe shape; one of no area raises ValueError."""
    kind, points = item.get("shape_type", "polygon"), [(float(x), float(y)) for x, y in item["points"]]
    if kind == "polygon" and len(points) >= 3:
        return _polygons([[v for point in points for v in point]])
    if kind == "rectangle" and len(points) == 2:
        (x1, y1), (x2, y2) = points
        return _polygons([[x1, y1, x2, y1, x2, y2, x1, y2]])
    if kind == "circle" and len(points) == 2:
        (x, y), (edge_x, edge_y) = points
        radius = float(np.hypot(edge_x - x, edge_y - y))
        return _ellipse(x, y, radius, radius, 0.0)
    raise ValueError(f"a {kind} of {len(points)} points; polygon, rectangle and circle have an area")


def _number(path: Path, found: list[tuple[Path, list[tuple[str, Shape]]]], problems: list[str]) -> Dataset:
    """Return the data set of objects that carry their class's name; classes are numbered by the alphabet."""
    classes = sorted({name for _, shapes in found for name, _ in shapes})
    number = {name: i for i, name in enumerate(classes, start=1)}
    entries = [_Entry(file, tuple((number[name], shape) for name, shape in shapes)) for file, shapes in found]
    return _finish(path, classes, entries, problems)


def _said(err: Exception) -> str:
    """Say what a broken annotation lacks."""
    return str(err) if isinstance(err, ValueError) else f"{err} is missing or broken"


def _via_class(attributes: dict[str, Any]) -> str:
    """Read the class from a region's attributes; a checkbox attribute has its one ticked option."""
    if not attributes:
        return "object"
    known = [k for k in attributes if k.lower() in ("name", "class", "label", "type", "object")]
    keys = known or list(attributes)
    if len(keys) > 1:
        raise ValueError(f"which attribute is the class: {', '.join(keys)}?")
    value = attributes[keys[0]]
    if isinstance(value, dict):
        ticked = [k for k, on in value.items() if on]
        if len(ticked) != 1:
            raise ValueError(f"one class is needed, {len(ticked)} are ticked")
        value = ticked[0]
    if not str(value).strip():
        raise ValueError(f"the attribute {keys[0]} is empty")
    return str(value).strip()


def _via_shape(region: dict[str, Any]) -> Shape:
    """Read a region's shape; one of no area raises ValueError."""
    form = region["shape_attributes"]
    kind = form.get("name")
    if kind in ("polygon", "polyline"):
        xs, ys = form["all_points_x"], form["all_points_y"]
        if len(xs) != len(ys) or len(xs) < 3:
            raise ValueError(f"a {kind} of {len(xs)} and {len(ys)} coordinates; three points make an area")
        return _polygons([[v for point in zip(xs, ys, strict=True) for v in point]])
    if kind == "rect":
        x, y, w, h = (float(form[k]) for k in ("x", "y", "width", "height"))
        if w <= 0 or h <= 0:
            raise ValueError(f"a rect of {w} x {h}")
        return _polygons([[x, y, x + w, y, x + w, y + h, x, y + h]])
    if kind in ("circle", "ellipse"):
        rx, ry = (float(form["r"]),) * 2 if kind == "circle" else (float(form["rx"]), float(form["ry"]))
        if rx <= 0 or ry <= 0:
            raise ValueError(f"a {kind} of {rx} x {ry}")
        return _ellipse(float(form["cx"]), float(form["cy"]), rx, ry, float(form.get("theta", 0)))
    raise ValueError(f"a shape {kind!r}; polygon, polyline, rect, circle and ellipse have an area")
