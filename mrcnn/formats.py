"""Annotation files that become data sets: COCO, VIA 1.x and 2.x, LabelMe."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import draw

from mrcnn.data import Dataset, DatasetError, Example

# As many problems are in an error's message; `python -m mrcnn inspect` lists all.
_SHOWN = 30
_ORIENTATION = 0x0112  # EXIF's tag: how a camera was held


def open_dataset(path: str | Path) -> Dataset:
    """Open a COCO or VIA JSON file, a folder with one beside its pictures, or one of LabelMe files.

    Raises DatasetError with the list of everything wrong: missing or broken pictures, unknown classes, broken
    shapes, masks of another size, regions outside their picture. What only sticks out is cut off, and listed
    in the data set's warnings.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(path.glob("*.json"))
        contents, broken = {}, []
        for file in files:
            try:
                contents[file] = _read(file)
            except DatasetError as err:
                broken.append(str(err))
        if broken:
            raise _refused(path, broken)
        labelme = {file: c for file, c in contents.items() if isinstance(c, dict) and "shapes" in c}
        if labelme and len(labelme) == len(files):
            return _labelme(path, labelme)
        if len(files) != 1:
            found = ", ".join(f.name for f in files) or "none"
            raise DatasetError(f"{path}: expected one annotation file (*.json), found {found}; name the file")
        path, content = files[0], contents[files[0]]
    else:
        content = _read(path)
    if isinstance(content, dict) and "shapes" in content:
        return _labelme(path.parent, {path: content})
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


def _refused(path: Path, problems: Sequence[str]) -> DatasetError:
    more = f"\n  ... and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return DatasetError(
        f"{path}: {len(problems)} problems\n  " + "\n  ".join(problems[:_SHOWN]) + more, problems
    )


Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Polygons:
    """The union of polygons, each x1, y1, x2, y2, ...; what lies outside the picture is cut off."""

    rings: Sequence[Sequence[float]]

    def __post_init__(self) -> None:
        if not all(np.isfinite(np.asarray(ring, np.float64)).all() for ring in self.rings):
            raise ValueError("a coordinate that is no number")

    def paint(self, size: Size) -> NDArray[np.bool_]:
        """Return the mask [H, W] in a picture of `size` (height, width)."""
        mask = np.zeros(size, bool)
        for ring in self.rings:
            # A pixel's centre lies half a pixel inside it.
            rows, columns = draw.polygon(np.array(ring[1::2]) - 0.5, np.array(ring[::2]) - 0.5, size)
            mask[rows, columns] = True
        return mask

    def check(self, size: Size) -> str:
        """Say how far it sticks out of a picture of `size`; raise ValueError if all of it is outside."""
        height, width = size
        x, y = (np.concatenate([np.asarray(ring[i::2], np.float64) for ring in self.rings]) for i in (0, 1))
        away = np.maximum.reduce([-x, -y, x - width, y - height])
        frame = f"the picture of {width} x {height}"
        if x.max() <= 0 or y.max() <= 0 or x.min() >= width or y.min() >= height:
            raise ValueError(f"lies outside {frame}")
        # Annotation tools let a point slip by a pixel.
        if away.max() <= 1:
            return ""
        return f"sticks out of {frame} by {away.max():.0f} pixels, which are cut off"


@dataclass(frozen=True, slots=True)
class _RunLengths:
    """A mask as COCO's run lengths, which go down the columns and start with a run of 0."""

    counts: Sequence[int]
    size: Size

    def paint(self, size: Size) -> NDArray[np.bool_]:
        """Return the mask [H, W]."""
        values = np.arange(len(self.counts)) % 2 == 1
        return np.repeat(values, self.counts).reshape(size[::-1]).T

    def check(self, size: Size) -> str:
        """Raise ValueError unless it is of a picture of `size` (height, width)."""
        if tuple(self.size) != tuple(size):
            raise ValueError(f"a run-length mask of {_of(self.size)} in a picture of {_of(size)}")
        if min(self.counts, default=0) < 0 or sum(self.counts) != size[0] * size[1]:
            raise ValueError(f"run lengths of {sum(self.counts)} pixels in a mask of {_of(size)}")
        return ""


Shape = _Polygons | _RunLengths


def _of(size: Sequence[int]) -> str:
    """Write a size as people do, width first."""
    return " x ".join(str(n) for n in reversed(tuple(size)))


@dataclass(frozen=True, slots=True)
class _Region:
    """An object as it was annotated: where that is written, its class's name, its shape; None if broken."""

    where: str
    label: str
    shape: Shape | None
    crowd: bool = False


@dataclass(frozen=True, slots=True)
class _Entry:
    """One picture's file and its objects."""

    file: Path
    regions: list[_Region] = field(default_factory=list)


def _region(where: str, problems: list[str], read: Callable[[], tuple[str, Shape, bool]]) -> _Region:
    """Read a region; what is wrong with it goes to `problems`."""
    try:
        label, shape, crowd = read()
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as err:
        said = str(err) if isinstance(err, ValueError) else f"{err} is missing or broken"
        problems.append(f"{where}: {said}")
        return _Region(where, "", None)
    return _Region(where, label, shape, crowd)


def _finish(
    path: Path,
    classes: Sequence[str],
    entries: list[_Entry],
    problems: list[str],
    warnings: Sequence[str] = (),
) -> Dataset:
    """Return the data set, or raise what was found wrong with it."""
    warnings = list(warnings)
    for entry in entries:
        try:
            with Image.open(entry.file) as picture:
                size = picture.height, picture.width
                turned = picture.getexif().get(_ORIENTATION, 1) not in (0, 1)
        except FileNotFoundError:
            problems.append(f"{entry.file.name}: no such picture in {entry.file.parent}")
            continue
        except OSError as err:
            problems.append(f"{entry.file.name}: not a picture: {err}")
            continue
        if turned:
            warnings.append(
                f"{entry.file.name}: stored lying, shown upright by annotation tools (EXIF); save it upright"
            )
        for region in entry.regions:
            try:
                said = region.shape.check(size) if region.shape else ""
            except ValueError as err:
                problems.append(f"{region.where}: {err}")
                continue
            if said:
                warnings.append(f"{region.where}: {said}")
    if not entries and not problems:
        problems = ["no picture is annotated"]
    if problems:
        raise _refused(path, problems)
    number = {name: i for i, name in enumerate(classes, start=1)}

    def load(index: int) -> Example:
        entry = entries[index % len(entries)]
        with Image.open(entry.file) as picture:
            image = np.asarray(picture.convert("RGB"))
        masks = [region.shape.paint(image.shape[:2]) for region in entry.regions if region.shape]
        ids = [number[region.label] * (-1 if region.crowd else 1) for region in entry.regions]
        stack = np.array(masks, bool).reshape(-1, *image.shape[:2])
        keep = stack.any(axis=(1, 2))
        return Example(image, stack[keep], np.array(ids, np.int32)[keep])

    return Dataset(path.name, tuple(classes), len(entries), load, tuple(warnings))


def _ellipse(cx: float, cy: float, rx: float, ry: float, turn: float) -> Shape:
    """Make an ellipse, turned clockwise by `turn` radians as seen on the screen."""
    angle = np.linspace(0, 2 * np.pi, 128, endpoint=False)
    x = cx + rx * np.cos(angle) * np.cos(turn) - ry * np.sin(angle) * np.sin(turn)
    y = cy + rx * np.cos(angle) * np.sin(turn) + ry * np.sin(angle) * np.cos(turn)
    return _Polygons([np.stack([x, y], axis=1).ravel().tolist()])


def _picture(folder: Path, name: str) -> Path:
    """Find a picture beside the annotation file or in a folder `images` there."""
    beside = folder / name
    return (
        beside if beside.is_file() or not (folder / "images" / name).is_file() else folder / "images" / name
    )


# -- COCO ----------------------------------------------------------------------------------------


def _coco(path: Path, content: dict[str, Any]) -> Dataset:
    """Read COCO: polygons, run lengths (lists or strings) and crowds."""
    problems: list[str] = []
    try:
        categories = sorted(content["categories"], key=lambda c: c["id"])
        names = {c["id"]: str(c["name"]) for c in categories}
        entries = {i["id"]: _Entry(_picture(path.parent, i["file_name"])) for i in content["images"]}
    except (KeyError, TypeError) as err:
        raise DatasetError(f"{path}: {err} is missing or broken in its categories or images") from err
    for i, annotation in enumerate(content["annotations"]):
        known = annotation.get("image_id") if isinstance(annotation, dict) else None
        where = f"annotation {annotation.get('id', i) if isinstance(annotation, dict) else i}"
        if known not in entries:
            problems.append(f"{where}: unknown image {known}")
            continue
        entry = entries[known]
        where = f"{entry.file.name}, region {len(entry.regions) + 1} ({where})"

        def read(annotation: dict[str, Any] = annotation) -> tuple[str, Shape, bool]:
            if annotation["category_id"] not in names:
                raise ValueError(f"unknown category {annotation['category_id']}")
            return names[annotation["category_id"]], _coco_shape(annotation), bool(annotation.get("iscrowd"))

        entry.regions.append(_region(where, problems, read))
    return _finish(path, list(names.values()), list(entries.values()), problems)


def _coco_shape(annotation: dict[str, Any]) -> Shape:
    """Read an annotation's shape; one of no area raises ValueError."""
    drawn = annotation.get("segmentation")
    if isinstance(drawn, dict) and isinstance(drawn.get("counts"), list):
        return _RunLengths(drawn["counts"], tuple(drawn["size"]))
    if isinstance(drawn, dict) and isinstance(drawn.get("counts"), str):
        return _RunLengths(_unpack(drawn["counts"]), tuple(drawn["size"]))
    if isinstance(drawn, list) and drawn and all(len(r) >= 6 and len(r) % 2 == 0 for r in drawn):
        return _Polygons(drawn)
    raise ValueError("no polygon of three points and no run lengths")


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


# -- VIA and LabelMe: objects carry their class's name -------------------------------------------


def _named(path: Path, entries: list[_Entry], problems: list[str]) -> Dataset:
    """Return the data set; classes are numbered by the alphabet.

    Pictures not yet annotated are not pictures without objects: they are left out, and counted in a warning.
    """
    classes = sorted({region.label for entry in entries for region in entry.regions if region.shape})
    annotated = [entry for entry in entries if entry.regions]
    bare = [entry.file.name for entry in entries if not entry.regions]
    warnings = []
    if bare:
        shown = ", ".join(bare[:5]) + (", …" if len(bare) > 5 else "")
        warnings.append(f"left out, for no region is drawn in them yet: {len(bare)} pictures ({shown})")
    return _finish(path, classes, annotated, problems, warnings)


def _via(path: Path, content: dict[str, Any]) -> Dataset:
    """Read VGG Image Annotator 1.x and 2.x: polygon, polyline, rect, circle, ellipse.

    The class is the one region attribute, or the one called name, class, label, type or object; a region
    without attributes is of the class "object".
    """
    problems: list[str] = []
    entries: list[_Entry] = []
    for item in content.get("_via_img_metadata", content).values():
        if not isinstance(item, dict) or "filename" not in item:
            continue
        name, regions = str(item["filename"]), item.get("regions") or []
        entry = _Entry(_picture(path.parent, name))
        for i, region in enumerate(regions.values() if isinstance(regions, dict) else regions, start=1):

            def read(region: dict[str, Any] = region) -> tuple[str, Shape, bool]:
                return _via_class(region.get("region_attributes") or {}), _via_shape(region), False

            entry.regions.append(_region(f"{name}, region {i}", problems, read))
        entries.append(entry)
    return _named(path, entries, problems)


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
        return _Polygons([[v for point in zip(xs, ys, strict=True) for v in point]])
    if kind == "rect":
        x, y, w, h = (float(form[k]) for k in ("x", "y", "width", "height"))
        if w <= 0 or h <= 0:
            raise ValueError(f"a rect of {w} x {h}")
        return _Polygons([[x, y, x + w, y, x + w, y + h, x, y + h]])
    if kind in ("circle", "ellipse"):
        rx, ry = (float(form["r"]),) * 2 if kind == "circle" else (float(form["rx"]), float(form["ry"]))
        if rx <= 0 or ry <= 0:
            raise ValueError(f"a {kind} of {rx} x {ry}")
        return _ellipse(float(form["cx"]), float(form["cy"]), rx, ry, float(form.get("theta", 0)))
    raise ValueError(f"a shape {kind!r}; polygon, polyline, rect, circle and ellipse have an area")


def _labelme(folder: Path, files: dict[Path, dict[str, Any]]) -> Dataset:
    """Read LabelMe, one file a picture: polygon, rectangle, circle."""
    problems: list[str] = []
    entries: list[_Entry] = []
    for file, content in files.items():
        # The path may come from another system: its last part is what counts.
        name = str(content.get("imagePath", f"{file.stem}.png")).replace("\\", "/").rsplit("/", 1)[-1]
        entry = _Entry(_picture(file.parent, name))
        for i, item in enumerate(content["shapes"], start=1):

            def read(item: dict[str, Any] = item) -> tuple[str, Shape, bool]:
                return str(item["label"]), _labelme_shape(item), False

            entry.regions.append(_region(f"{file.name}, shape {i}", problems, read))
        entries.append(entry)
    return _named(folder, entries, problems)


def _labelme_shape(item: dict[str, Any]) -> Shape:
    """Read a LabelMe shape; one of no area raises ValueError."""
    kind, points = item.get("shape_type", "polygon"), [(float(x), float(y)) for x, y in item["points"]]
    if kind == "polygon" and len(points) >= 3:
        return _Polygons([[v for point in points for v in point]])
    if kind == "rectangle" and len(points) == 2:
        (x1, y1), (x2, y2) = points
        return _Polygons([[x1, y1, x2, y1, x2, y2, x1, y2]])
    if kind == "circle" and len(points) == 2:
        (x, y), (edge_x, edge_y) = points
        radius = float(np.hypot(edge_x - x, edge_y - y))
        return _ellipse(x, y, radius, radius, 0.0)
    raise ValueError(f"a {kind} of {len(points)} points; polygon, rectangle and circle have an area")
