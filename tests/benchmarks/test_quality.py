"""The judges of the quality benchmark: they must see what is there, and notice what is not."""

from pathlib import Path

import numpy as np
import pytest

import scenes
from benchmarks.quality.chart import draw_chart
from benchmarks.quality.figures import add_record, bucket, mean, measure, read_records, share
from benchmarks.quality.judges import changed_share, detail, median_lab, seam, sky_colour, worn_colour
from benchmarks.quality.segmenters import figures as segmenter_figures
from benchmarks.quality.sessions import held
from benchmarks.quality.text import ask
from ldm.data import HELD_OUT
from mrcnn.evaluate import encode


def test_intervals() -> None:
    half = share("x", [True] * 5 + [False] * 5)
    assert (half.value, half.low, half.high) == pytest.approx((0.5, 0.2366, 0.7634), abs=1e-3)
    assert share("x", []).count == 0
    ratios = mean("x", [0.5, 2.0], ratios=True)
    assert ratios.value == pytest.approx(1.0)
    assert ratios.low < 1 < ratios.high
    many = mean("x", list(np.random.default_rng(0).normal(3, 1, 400)))
    assert many.low < 3 < many.high
    assert many.high - many.low == pytest.approx(4 / 20, rel=0.2)
    assert [bucket(area) for area in (1023, 1024, 9216)] == ["< 32²", "< 96²", "larger"]


def test_a_stopped_measurement_goes_on(tmp_path: Path) -> None:
    path, asked = tmp_path / "deep" / "records.jsonl", []

    def work(key: str) -> dict:
        asked.append(key)
        return {"key": key, "value": len(asked)}

    first = measure(path, ["a", "b"], work, 1, "test")
    path.write_text(path.read_text() + '{"key": "c", "val')  # killed while it wrote
    assert read_records(path) == first
    again = measure(path, ["b", "c", "a"], work, 1, "test")
    assert asked == ["a", "b", "c"]
    assert [record["key"] for record in again] == ["b", "c", "a"]
    assert [record["key"] for record in read_records(path)] == ["a", "b", "c"]
    add_record(path, {"key": "d"})
    assert len(read_records(path)) == 4


def test_prompts_ask_for_every_class_that_prompts_can_name() -> None:
    asked = [ask(number) for number in range(60)]
    assert asked == [ask(number) for number in range(60)]
    classes = {label for one in asked for label in one.classes}
    assert classes == set(scenes.CLASSES) - {"Shelfs", "Brightwindow"}
    assert all(f"{one.sky} sky" in one.prompt and one.colour in one.prompt for one in asked)


def test_colours_of_drawn_things_and_skies_are_recognised() -> None:
    right = wrong = of = skies = 0
    for seed in range(HELD_OUT, HELD_OUT + 10):
        scene = scenes.draw(seed)
        skies += sky_colour(median_lab(scene.image[:12], np.ones((12, 192), np.bool_))) == scene.tags[0][0]
        for index, label in enumerate(scene.labels):
            if label not in ("Jacket", "Cars", "Hat", "Dress") or scene.masks[index].sum() < 100:
                continue
            of += 1
            look, thing = scene.tags[index][:-1], scene.ids[index]
            mask = scene.masks[index]
            right += worn_colour(scene.image, mask, scene.spec, label, thing, look) == look[0]
            wrong += worn_colour(255 - scene.image, mask, scene.spec, label, thing, look) == look[0]
    assert of > 10
    assert right / of > 0.95
    assert wrong / of < 0.3
    assert skies >= 9


def test_edits_seams_and_detail_are_seen() -> None:
    scene = scenes.draw(3)
    index = scene.labels.index("Sky")
    mask = scene.masks[index]
    before = scene.image
    assert changed_share(before, before, mask) == 0
    inverted = np.where(mask[..., None], 255 - before, before)
    assert changed_share(before, inverted, mask) > 0.9
    noisy = np.clip(before + np.random.default_rng(0).normal(0, 8, before.shape), 0, 255).astype(np.uint8)
    assert detail(noisy, mask) > 3 * detail(before, mask)
    patch = np.zeros((96, 96), np.bool_)
    patch[30:60, 30:60] = True
    plain = np.clip(np.random.default_rng(1).normal(120, 5, (96, 96, 3)), 0, 255).astype(np.uint8)
    hard = np.where(patch[..., None], plain + np.uint8(90), plain)
    assert seam(plain, patch) == pytest.approx(1.0, abs=0.25)
    assert seam(hard, patch) > 3


def test_segmenters_are_judged_by_coco(tmp_path: Path) -> None:
    mask = np.zeros((40, 40), np.bool_)
    mask[5:25, 5:25] = True
    shifted = np.roll(mask, 15, 1)

    def record(number: int, found: np.ndarray) -> dict:
        iou = float((mask & found).sum() / (mask | found).sum())
        return {
            "key": str(number), "kind": "drawn", "part": "surface", "classes": ["Sky", "Cars"],
            "size": [40, 40], "truth": [{"label": "Cars", "area": 400, "iou": iou, "mask": encode(mask)}],
            "found": [{"label": "Cars", "score": 0.9, "mask": encode(found)}],
        }  # fmt: skip

    figures = {f.name: f for f in segmenter_figures([record(0, mask), record(1, mask)], resamples=4)}
    assert figures["surface: mask AP50, drawn"].value == pytest.approx(1.0)
    figures = {f.name: f for f in segmenter_figures([record(0, mask), record(1, shifted)], resamples=4)}
    assert figures["surface: recall, drawn"].value == 0.5
    assert 0 < figures["surface: mask AP50, drawn"].value < 1
    draw_chart(tmp_path / "chart.png", [("Segmenters", list(figures.values()))])
    assert (tmp_path / "chart.png").stat().st_size > 1000


def test_memory_that_is_held_is_counted() -> None:
    before = held()
    block = np.ones(40 << 20, np.uint8)
    assert held() - before > 0.9 * block.nbytes
