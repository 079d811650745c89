import json
from pathlib import Path

import numpy as np
import pytest
from faster_coco_eval import COCO
from PIL import Image
from skimage.draw import polygon2mask

import scenes
from scenes.__main__ import main


def test_coco_reads_back_the_same_masks(tmp_path: Path) -> None:
    assert (
        main(["coco", str(tmp_path), "--count", "3", "--seed", "40", "--width", "256", "--height", "144"])
        == 0
    )
    coco = COCO(str(tmp_path / "annotations.json"))
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(scenes.CLASSES)
    for number, image in enumerate(coco.loadImgs(coco.getImgIds())):
        scene = scenes.draw(40 + number, height=144, width=256)
        assert np.array_equal(np.asarray(Image.open(tmp_path / image["file_name"])), scene.image)
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
        assert len(annotations) == len(scene.labels)
        for annotation, mask, label, box in zip(
            annotations, scene.masks, scene.labels, scene.boxes, strict=True
        ):
            assert np.array_equal(coco.annToMask(annotation).astype(bool), mask)
            assert annotation["area"] == mask.sum()
            assert scenes.CLASSES[annotation["category_id"] - 1] == label
            x, y, width, height = annotation["bbox"]
            assert (y, x, y + height, x + width) == tuple(box)


def test_via_polygons_cover_the_masks(tmp_path: Path) -> None:
    assert main(["via", str(tmp_path), "--count", "2", "--seed", "7"]) == 0
    entries = json.loads((tmp_path / "via_region_data.json").read_text())
    assert len(entries) == 2
    for number, (key, entry) in enumerate(sorted(entries.items())):
        path = tmp_path / entry["filename"]
        assert key == f"{entry['filename']}{path.stat().st_size}"
        scene = scenes.draw(7 + number)
        for label in set(scene.labels):
            wanted = scene.masks[[name == label for name in scene.labels]].any(0)
            drawn = np.zeros_like(wanted)
            for region in entry["regions"]:
                if region["region_attributes"]["name"] == label:
                    shape = region["shape_attributes"]
                    assert shape["name"] == "polygon"
                    points = np.stack([shape["all_points_y"], shape["all_points_x"]], -1)
                    drawn |= polygon2mask(wanted.shape, points)
            # Polygons have no holes: what frames other things gains; thin things lose some.
            assert (wanted & drawn).sum() > 0.7 * wanted.sum() - 12, label


def test_sheet_is_a_picture(tmp_path: Path) -> None:
    assert (
        main(["sheet", str(tmp_path / "sheet.png"), "--count", "5", "--height", "64", "--width", "64"]) == 0
    )
    assert Image.open(tmp_path / "sheet.png").size == (64 * 2 * 4, 64 * 2)


def test_bad_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["coco", str(tmp_path), "--count", "0"])
