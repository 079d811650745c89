"""Data sets: what COCO and VIA files become, and what is said about broken ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mrcnn.augment import augment, recolour, reframe, soften
from mrcnn.data import DatasetError, Example, together, with_classes
from mrcnn.evaluate import encode
from mrcnn.formats import open_dataset

HEIGHT, WIDTH = 40, 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(tmp_path / "a.png")
    return tmp_path


def write(folder: Path, content: Any) -> Path:
    path = folder / "labels.json"
    path.write_text(json.dumps(content))
    return path


def rectangle(y1: int, x1: int, y2: int, x2: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y1:y2, x1:x2] = True
    return mask


def coco(*annotations: dict[str, Any]) -> dict[str, Any]:
    return {
        "images": [{"id": 7, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 5, "name": "car"}, {"id": 2, "name": "sky"}],
        "annotations": [{"id": i, "image_id": 7, **a} for i, a in enumerate(annotations)],
    }


def via(*regions: dict[str, Any], attributes: Any = None) -> dict[str, Any]:
    marked = [{"shape_attributes": r, "region_attributes": attributes or {"name": "car"}} for r in regions]
    return {"a.png1": {"filename": "a.png", "size": 1, "regions": marked}}


def test_coco_polygons_run_lengths_and_crowds(folder: Path) -> None:
    mask = rectangle(3, 4, 20, 30)
    write(
        folder,
        coco(
            {"category_id": 5, "segmentation": [[10, 5, 20, 5, 20, 15, 10, 15]]},
            {"category_id": 2, "segmentation": encode(mask)},
            {"category_id": 5, "segmentation": encode(~mask), "iscrowd": 1},
        ),
    )
    dataset = open_dataset(folder)
    assert dataset.classes == ("sky", "car")
    example = dataset.load(0)
    assert example.class_ids.tolist() == [2, 1, -2]
    assert np.array_equal(example.masks[0], rectangle(5, 10, 15, 20))
    assert np.array_equal(example.masks[1], mask)
    assert np.array_equal(example.masks[2], ~mask)


def test_coco_strings_are_the_library_s_own(folder: Path) -> None:
    from faster_coco_eval.core import mask as coder

    rng = np.random.default_rng(0)
    masks = [rng.random((HEIGHT, WIDTH)) < 0.5, rectangle(0, 0, 40, 60), rectangle(30, 50, 40, 60)]
    found = []
    for mask in masks:
        code = coder.encode(np.asfortranarray(mask.astype(np.uint8)))
        found.append({"category_id": 5, "segmentation": {**code, "counts": code["counts"].decode()}})
    write(folder, coco(*found))
    assert np.array_equal(open_dataset(folder).load(0).masks, masks)


def test_via_shapes_of_both_versions(folder: Path) -> None:
    shapes = (
        {"name": "rect", "x": 10, "y": 5, "width": 20, "height": 10},
        {"name": "polygon", "all_points_x": [10, 30, 30, 10], "all_points_y": [5, 5, 15, 15]},
        {"name": "polyline", "all_points_x": [10, 30, 30, 10], "all_points_y": [5, 5, 15, 15]},
        {"name": "circle", "cx": 30, "cy": 20, "r": 10},
        {"name": "ellipse", "cx": 30, "cy": 20, "rx": 20, "ry": 5, "theta": np.pi / 2},
    )
    old = via(*shapes)
    old["a.png1"]["regions"] = {str(i): r for i, r in enumerate(old["a.png1"]["regions"])}
    write(folder, old)
    first = open_dataset(folder / "labels.json").load(0)
    write(folder, {"_via_settings": {}, "_via_img_metadata": via(*shapes)})
    second = open_dataset(folder).load(0)
    assert np.array_equal(first.masks, second.masks)
    for mask in first.masks[:3]:
        assert np.array_equal(mask, rectangle(5, 10, 15, 30))
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    assert np.array_equal(first.masks[3], (y - 20) ** 2 + (x - 30) ** 2 < 100) or (
        (first.masks[3] != ((y - 20) ** 2 + (x - 30) ** 2 < 100)).sum() < 8
    )
    rows, columns = (np.flatnonzero(first.masks[4].any(axis=i)) for i in (1, 0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (0, 39, 25, 34)  # it stands on its end


def labelme(folder: Path, *shapes: dict[str, Any], picture: str = "a.png") -> None:
    (folder / "a.json").write_text(json.dumps({"imagePath": picture, "shapes": shapes}))


def test_labelme_folders(folder: Path) -> None:
    labelme(
        folder,
        {"label": "car", "shape_type": "rectangle", "points": [[10, 5], [30, 15]]},
        {"label": "sky", "points": [[10, 5], [30, 5], [30, 15], [10, 15]]},
        {"label": "car", "shape_type": "circle", "points": [[30, 20], [40, 20]]},
        picture="..\\photos\\a.png",
    )
    dataset = open_dataset(folder)
    assert dataset.classes == ("car", "sky")
    example = dataset.load(0)
    assert example.class_ids.tolist() == [1, 2, 1]
    assert np.array_equal(example.masks[0], rectangle(5, 10, 15, 30))
    assert np.array_equal(example.masks[1], example.masks[0])
    assert abs(example.masks[2].sum() - np.pi * 100) < 12
    labelme(folder, {"label": "car", "shape_type": "line", "points": [[1, 1], [2, 2]]})
    with pytest.raises(DatasetError, match=r"a.json, shape 1: a line of 2 points"):
        open_dataset(folder)


def test_the_same_objects_from_every_format(folder: Path) -> None:
    corners = [[10.5, 5], [31, 6], [44, 30.5], [12, 22]]
    write(folder, coco({"category_id": 5, "segmentation": [[v for point in corners for v in point]]}))
    first = open_dataset(folder).load(0)
    xs, ys = zip(*corners, strict=True)
    write(folder, via({"name": "polygon", "all_points_x": xs, "all_points_y": ys}))
    second = open_dataset(folder).load(0)
    (folder / "labels.json").unlink()
    labelme(folder, {"label": "car", "points": corners})
    third = open_dataset(folder).load(0)
    assert first.masks.sum() > 300
    assert np.array_equal(first.masks, second.masks)
    assert np.array_equal(first.masks, third.masks)


def test_what_lies_outside_the_picture_is_cut_off(folder: Path) -> None:
    write(folder, via({"name": "rect", "x": -20, "y": 30, "width": 40, "height": 100}))
    assert np.array_equal(open_dataset(folder).load(0).masks[0], rectangle(30, 0, 40, 20))


def test_everything_wrong_is_listed(folder: Path) -> None:
    write(
        folder,
        coco(
            {"category_id": 9, "segmentation": [[1, 1, 2, 2, 3, 3]]},
            {"category_id": 5, "segmentation": [[1, 1, 2, 2]]},
            {"category_id": 5},
        ),
    )
    with pytest.raises(DatasetError) as caught:
        open_dataset(folder)
    assert "3 problems" in str(caught.value)
    assert "annotation 0: unknown category 9" in str(caught.value)
    broken = via(
        {"name": "rect", "x": 1, "y": 1, "width": 0, "height": 5}, {"name": "point", "cx": 1, "cy": 1}
    )
    broken["b"] = {**via({"name": "circle", "cx": 9, "cy": 9, "r": 3})["a.png1"], "filename": "missing.png"}
    write(folder, broken)
    with pytest.raises(DatasetError) as caught:
        open_dataset(folder)
    for part in (
        "a.png, region 1: a rect of 0.0 x 5.0",
        "region 2: a shape 'point'",
        "missing.png: no such picture",
    ):
        assert part in str(caught.value)
    write(
        folder, via({"name": "circle", "cx": 9, "cy": 9, "r": 3}, attributes={"colour": "red", "make": "x"})
    )
    with pytest.raises(DatasetError, match="which attribute is the class: colour, make"):
        open_dataset(folder)
    write(folder, [1, 2])
    with pytest.raises(DatasetError, match="not COCO"):
        open_dataset(folder)
    with pytest.raises(DatasetError, match="no such file"):
        open_dataset(folder / "nothing.json")


def test_classes_are_chosen_and_sets_joined(folder: Path) -> None:
    write(
        folder,
        coco(
            {"category_id": 5, "segmentation": [[10, 5, 20, 5, 20, 15]]},
            {"category_id": 2, "segmentation": [[10, 5, 20, 5, 20, 15]]},
        ),
    )
    dataset = open_dataset(folder)
    cars = with_classes(dataset, ["car"])
    assert cars.load(0).class_ids.tolist() == [1]
    with pytest.raises(DatasetError, match="no class bus"):
        with_classes(dataset, ["bus"])
    assert together([cars, cars]).load(1).class_ids.tolist() == [1]
    with pytest.raises(DatasetError, match="choose common ones"):
        together([dataset, cars])


def test_picture_and_mask_move_together() -> None:
    """An object painted white stays the white of the picture wherever it goes."""
    image = np.full((90, 120, 3), 40, np.uint8)
    image[20:70, 30:100] = 255
    mask = (image[..., 0] == 255)[None]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        moved = reframe(Example(image, mask, np.array([1], np.int32)), (128, 128), rng)
        if len(moved.masks):
            white = moved.image[..., 0] > 147
            assert (white ^ moved.masks[0]).mean() < 0.02
            assert moved.masks[0].mean() > 0.05


def test_changes_keep_what_they_must() -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 255, (96, 160, 3)).astype(np.uint8)
    masks = np.zeros((2, 96, 160), bool)
    masks[0, 10:60, 20:90] = True
    masks[1, 50:90, 100:150] = True
    example = Example(image, masks, np.array([1, 2], np.int32))
    first, again = (augment(example, (128, 128), np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.masks, again.masks)
    assert first.image.shape == (128, 128, 3)
    assert len(first.masks) == len(first.class_ids)
    for change in (recolour, soften):
        changed = change(image, np.random.default_rng(1))
        assert changed.shape == image.shape
        assert changed.dtype == np.uint8
