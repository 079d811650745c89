"""Data sets: what COCO and VIA files become, and what is said about broken ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mrcnn import Config
from mrcnn.augment import augment, recolour, reframe, soften
from mrcnn.batches import batches
from mrcnn.data import DatasetError, Example, together, with_classes
from mrcnn.evaluate import encode
from mrcnn.formats import open_dataset
from mrcnn.schedule import Schedule

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


@pytest.mark.parametrize("augmented", [False, True])
def test_the_same_targets_from_every_format(tmp_path: Path, augmented: bool) -> None:
    """Two pictures with polygons of two classes, written three ways, train alike to the last bit."""
    corners = {
        "a.png": [("car", [[10.5, 5], [31, 6], [44, 30.5], [12, 22]]), ("sky", [[40, 3], [58, 3], [58, 20]])],
        "b.png": [("sky", [[0, 0], [60, 0], [60, 12], [0, 12]])],
    }
    folders = [tmp_path / name for name in ("coco", "via", "labelme")]
    for folder in folders:
        folder.mkdir()
        for name in corners:
            pixels = np.random.default_rng(len(name)).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name)
    numbers = {"car": 1, "sky": 2}
    annotations = [
        {
            "id": i,
            "image_id": name,
            "category_id": numbers[label],
            "segmentation": [[v for point in points for v in point]],
        }
        for i, (name, label, points) in enumerate(
            (name, *region) for name, regions in corners.items() for region in regions
        )
    ]
    images = [{"id": name, "file_name": name} for name in corners]
    categories = [{"id": number, "name": label} for label, number in numbers.items()]
    write(folders[0], {"images": images, "categories": categories, "annotations": annotations})
    items = {}
    for name, regions in corners.items():
        items[name] = {"filename": name, "regions": []}
        for label, points in regions:
            xs, ys = zip(*points, strict=True)
            drawn = {"name": "polygon", "all_points_x": xs, "all_points_y": ys}
            region = {"shape_attributes": drawn, "region_attributes": {"name": label}}
            items[name]["regions"].append(region)
    write(folders[1], items)
    for name, regions in corners.items():
        shapes = [{"label": label, "points": points} for label, points in regions]
        content = {"imagePath": name, "shapes": shapes}
        (folders[2] / name).with_suffix(".json").write_text(json.dumps(content))
    config = Config(
        backbone="small",
        num_classes=3,
        image_min_dim=0,
        image_max_dim=128,
        rpn_anchor_scales=(8, 16, 32, 64, 128),
    )
    schedule = Schedule(steps=3, augment=augmented)
    first, *others = (list(batches(open_dataset(f), config, schedule, 0)) for f in folders)
    assert len(first) == 3
    assert (np.asarray(first[0].match) == 1).any()
    for other in others:
        for ours, theirs in zip(first, other, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_what_sticks_out_of_the_picture_is_cut_off_and_listed(folder: Path) -> None:
    slip = {"name": "rect", "x": 50, "y": 10, "width": 11, "height": 10}
    write(folder, via({"name": "rect", "x": -20, "y": 30, "width": 40, "height": 100}, slip))
    dataset = open_dataset(folder)
    assert np.array_equal(dataset.load(0).masks[0], rectangle(30, 0, 40, 20))
    said = "a.png, region 1: sticks out of the picture of 60 x 40 by 90 pixels, which are cut off"
    assert dataset.warnings == (said,)  # one pixel is a slip of the tool
    assert together([dataset, dataset]).warnings == (f"labels.json: {said}",) * 2
    assert with_classes(dataset, ["car"]).warnings == (said,)


def test_what_lies_outside_the_picture_is_wrong(folder: Path) -> None:
    write(
        folder,
        via(
            {"name": "rect", "x": 1, "y": 1, "width": 5, "height": 5},
            {"name": "circle", "cx": 100, "cy": 20, "r": 10},
            {"name": "polygon", "all_points_x": [1, 9, float("nan")], "all_points_y": [1, 9, 20]},
        ),
    )
    with pytest.raises(DatasetError) as caught:
        open_dataset(folder)
    assert set(caught.value.problems) == {
        "a.png, region 2: lies outside the picture of 60 x 40",
        "a.png, region 3: a coordinate that is no number",
    }
    labelme(folder, {"label": "car", "points": [[70, 5], [80, 5], [80, 15]]})
    (folder / "labels.json").unlink()
    with pytest.raises(DatasetError, match=r"a.json, shape 1: lies outside"):
        open_dataset(folder)


def test_run_lengths_of_another_size_are_wrong(folder: Path) -> None:
    small = encode(np.ones((20, 30), bool))
    short = {"size": [HEIGHT, WIDTH], "counts": [10, 20]}
    write(folder, coco(*({"category_id": 5, "segmentation": code} for code in (small, short))))
    with pytest.raises(DatasetError) as caught:
        open_dataset(folder)
    assert caught.value.problems == (
        "a.png, region 1 (annotation 0): a run-length mask of 30 x 20 in a picture of 60 x 40",
        "a.png, region 2 (annotation 1): run lengths of 30 pixels in a mask of 60 x 40",
    )


def test_broken_files_are_listed(folder: Path) -> None:
    shape = {"label": "car", "points": [[1, 1], [9, 1], [9, 9]]}
    for name in ("a", "b", "c"):
        (folder / f"{name}.json").write_text(json.dumps({"imagePath": f"{name}.png", "shapes": [shape]}))
    (folder / "b.png").write_text("no picture")
    with pytest.raises(DatasetError) as caught:
        open_dataset(folder)
    assert caught.value.problems[0].startswith("b.png: not a picture")
    assert caught.value.problems[1].startswith("c.png: no such picture in ")
    for name in ("b", "c"):
        (folder / f"{name}.json").write_text('{"shapes": [')
    with pytest.raises(DatasetError) as caught:
        open_dataset(folder)
    assert [problem.split(":")[1] for problem in caught.value.problems] == [" not JSON"] * 2
    broken = coco({"category_id": 5, "segmentation": [[1, 1, 9, 1, 9, 9]]})
    del broken["annotations"][0]["category_id"], broken["images"][0]["file_name"]
    for name in ("a", "b", "c"):
        (folder / f"{name}.json").unlink()
    write(folder, broken)
    with pytest.raises(DatasetError, match="'file_name' is missing"):
        open_dataset(folder)
    broken["images"][0]["file_name"] = "a.png"
    broken["annotations"].append(7)
    write(folder, broken)
    with pytest.raises(DatasetError) as caught:
        open_dataset(folder)
    assert caught.value.problems == (
        "a.png, region 1 (annotation 0): 'category_id' is missing or broken",
        "annotation 1: unknown image None",
    )


def test_pictures_without_regions_are_counted(folder: Path) -> None:
    content = via({"name": "rect", "x": 1, "y": 1, "width": 5, "height": 5})
    write(
        folder, content | {f"{n}.png": {"filename": f"{n}.png", "size": 1, "regions": []} for n in range(6)}
    )
    dataset = open_dataset(folder)
    assert dataset.warnings == (
        "left out, for no region is drawn in them yet: 6 pictures (0.png, 1.png, 2.png, 3.png, 4.png, …)",
    )


def test_a_picture_stored_lying_is_pointed_out(folder: Path) -> None:
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(folder / "a.png", exif=exif)
    write(folder, via({"name": "rect", "x": 1, "y": 1, "width": 5, "height": 5}))
    assert "save it upright" in open_dataset(folder).warnings[0]


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
    assert "a.png, region 1 (annotation 0): unknown category 9" in str(caught.value)
    assert (
        caught.value.problems[2]
        == "a.png, region 3 (annotation 2): no polygon of three points and no run lengths"
    )
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
    assert cars.warnings == ("objects of sky are left out",)
    with pytest.raises(DatasetError, match="no class bus"):
        with_classes(dataset, ["bus"])
    assert with_classes(dataset, ["bus", "sky", "car"], absent=True).load(0).class_ids.tolist() == [3, 2]
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
