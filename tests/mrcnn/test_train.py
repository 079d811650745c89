"""Training end to end on drawn scenes, small: it learns, resumes exactly and its weights detect."""

import dataclasses
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from rich.console import Console
from tensorflow.compat.v1 import Event  # type: ignore[attr-defined]

from mrcnn import Config, MaskRCNN
from mrcnn.__main__ import main
from mrcnn.batches import batches
from mrcnn.data import Dataset, DatasetError, Example
from mrcnn.draw import curves
from mrcnn.evaluate import Precision, evaluate
from mrcnn.report import Report
from mrcnn.schedule import STAGES, Schedule, Validation
from mrcnn.shapes import draw
from mrcnn.train import Trainer, open_any, train


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Run without graphs: for a few steps, building one takes longer than all that is computed."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def blocks(count: int = 8) -> Dataset:
    """Return pictures of one red and one green block each."""

    def load(index: int) -> Example:
        rng = np.random.default_rng(index)
        image = np.full((128, 128, 3), 200, np.uint8)
        masks = np.zeros((2, 128, 128), bool)
        for i, left in enumerate(rng.permutation([6, 70])):
            y, height, width = rng.integers(5, 60), rng.integers(30, 60), rng.integers(30, 50)
            masks[i, y : y + height, left : left + width] = True
            image[masks[i]] = (220, 30, 30) if i == 0 else (30, 160, 40)
        return Example(image, masks, np.array([1, 2], np.int32))

    return Dataset("blocks", ("red", "green"), count, load)


def test_it_learns_two_kinds_of_block(tiny: Config, tmp_path: Path) -> None:
    schedule = Schedule(
        steps=220, learning_rate=3e-3, optimizer="adam", own_objects=True, decay=True, augment=False
    )
    path = train(blocks(64), tiny, schedule, tmp_path)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == list(range(1, 221))
    model = MaskRCNN.from_file(path)
    assert model.classes == ("red", "green")
    box, mask = evaluate(model, blocks(), range(8))
    # Most runs end above 0.8, some a little below: threads sum in any order. Without learning it is 0.
    assert box.ap50 > 0.65
    assert mask.ap50 > 0.65
    assert mask.classes["red"][2] == 8
    picture = blocks().load(0).image
    first, again = model.detect([picture, picture])
    for key in first:
        assert first[key].tobytes() == again[key].tobytes()
    assert first["masks"].shape == (128, 128, len(first["rois"]))
    nothing = model.detect([np.zeros((20, 300, 3), np.uint8)])[0]
    assert nothing["masks"].shape[:2] == (20, 300)


class Killed(Exception):
    """What a test throws into a run in place of a kill."""


def killing(dataset: Dataset, after: int) -> Dataset:
    """Return the data set, of which every picture from the one at `after` on kills."""
    count = iter(range(1000))

    def load(index: int) -> Example:
        if next(count) >= after:
            raise Killed(f"picture {index}")
        return dataset.load(index)

    return Dataset(dataset.name, dataset.classes, dataset.size, load)


def events(folder: Path) -> list[tuple[str, int, float]]:
    """Return what TensorBoard would show: names, steps, values."""
    found = []
    for file in sorted(folder.iterdir()):
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            event = Event.FromString(record)
            found += [(v.tag, event.step, float(tf.make_ndarray(v.tensor))) for v in event.summary.value]
    return sorted(found)


@pytest.mark.usefixtures("eagerly")
def test_a_killed_run_is_told_of_once_and_measured_alike(tiny: Config, tmp_path: Path) -> None:
    """Log, TensorBoard, measurements, best weights and early end: all as in a run that nothing disturbed."""
    # So few steps find nothing: the first measurement stays the best, and patience ends at the second.
    schedule = Schedule(steps=40, learning_rate=1e-2, own_objects=True, seed=3)
    validation = Validation(blocks(), every=2, patience=1, limit=2)
    whole, again = tmp_path / "whole", tmp_path / "again"
    train(blocks(), tiny, schedule, whole, validation=validation)
    lines = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 2, 3, 4, 4]
    with pytest.raises(Killed, match="picture"):
        train(killing(blocks(), 5), tiny, schedule, again, validation=validation)
    assert (again / "checkpoint.npz").exists()
    with (again / "log.jsonl").open("a") as log:  # the last words of a killed process
        log.write('{"step": 3, "rate": 1.0, "rpn_class": 7.0}\n{"step": 4, "ra')
    path = train(blocks(), tiny, schedule, again, validation=validation)
    resumed = [json.loads(line) for line in (again / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in resumed] == [line["step"] for line in lines]
    for ours, theirs in zip(resumed, lines, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, nan_ok=True)
    shown, wanted = events(again / "tensorboard"), events(whole / "tensorboard")
    assert [entry[:2] for entry in shown] == [entry[:2] for entry in wanted]
    assert ("loss/rpn_class", 4) in [entry[:2] for entry in shown]
    assert {"run/loss", "run/rate", "precision/mask_ap50"} <= {name for name, _, _ in shown}
    before = path.read_bytes()
    assert train(blocks(), tiny, schedule, again, validation=validation) == path  # it is at its end
    assert path.read_bytes() == before
    assert len((again / "log.jsonl").read_text().splitlines()) == len(lines)
    with Image.open(again / "curves.png") as picture:
        assert picture.height == 2 * 460
    with pytest.raises(ValueError, match="other settings"):
        train(Dataset("b", ("red", "blue"), 8, blocks().load), tiny, schedule, again)


def test_the_best_weights_are_kept(tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([0.2, 0.5, 0.5, 0.1])
    rest = {"ap50": 0.0, "ap75": 0.0, "small": 0.0, "medium": 0.0, "large": 0.0, "classes": {}}

    def judged(*_: object) -> tuple[Precision, Precision]:
        return (Precision(ap=0.0, **rest), Precision(ap=next(found), **rest))

    def changed(self: Trainer, *_: object) -> np.ndarray:
        self.step += 1
        self.variables[0].assign_add(np.ones(self.variables[0].shape))
        return np.zeros(5, np.float32)

    monkeypatch.setattr("mrcnn.train.evaluate", judged)
    monkeypatch.setattr(Trainer, "train_step", changed)
    schedule = Schedule(steps=7, learning_rate=1e-3, own_objects=True, augment=False)
    kept: dict[int, bytes] = {}
    measured = Report.measured

    def noted(self: Report, step: int, values: dict[str, float]) -> None:
        measured(self, step, values)
        path = tmp_path / "weights.h5"
        kept[step] = path.read_bytes() if path.exists() else b""

    monkeypatch.setattr(Report, "measured", noted)
    train(blocks(), tiny, schedule, tmp_path, validation=Validation(blocks(), every=2))
    assert kept[2] == b""
    assert kept[4] != kept[6] == kept[7] == (tmp_path / "weights.h5").read_bytes()


def test_a_terminal_shows_a_table(tmp_path: Path) -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=80)
    with Report(tmp_path, 0, 100, console) as report:
        report.stepped(1, 0.01, np.array([0.5, 1, 2, 3, 4], np.float32))
        report.measured(1, {"box_ap": 0.1, "box_ap50": 0.25, "mask_ap": 0.125, "mask_ap50": 0.75})
    text = shown.getvalue()
    for part in ("step 1 of 100", "10.500", "mrcnn_mask", "mask AP50", "0.750"):
        assert part in text


def test_curves_of_one_step_and_of_no_number() -> None:
    nothing = {"a": [float("nan")]}
    for picture in (curves([3], {"loss": [0.5]}), curves([3], {"loss": [0.0]}, [3], nothing)):
        assert len(picture.getcolors(100_000) or ()) > 3


def test_shapes_are_a_data_set() -> None:
    dataset = open_any("shapes:3-52")
    assert (dataset.size, dataset.classes) == (50, ("square", "circle", "triangle"))
    ids = []
    for index in range(50):
        example = dataset.load(index)
        assert np.array_equal(example.image, draw(3 + index).image)
        assert 1 <= len(example.masks) <= 4
        assert example.masks.sum(axis=0).max() == 1  # each pixel is of one shape
        for mask in example.masks:
            assert len(np.unique(example.image[mask], axis=0)) == 1
        ids += example.class_ids.tolist()
    assert set(ids) == {1, 2, 3}
    with pytest.raises(DatasetError, match="shapes:FIRST-LAST"):
        open_any("shapes:9-3")


@pytest.mark.usefixtures("eagerly")
def test_a_stage_trains_its_layers_alone(tiny: Config) -> None:
    schedule = Schedule(steps=1, layers="5+", own_objects=True)
    trainer = Trainer(dataclasses.replace(tiny, train_bn=False), schedule, ("red", "green"))
    before = {v.path: v.numpy() for v in trainer.network.trunk.weights}
    trainer.train_step(next(batches(blocks(), tiny, schedule, 0)))
    changed = {v.path for v in trainer.network.trunk.weights if not np.array_equal(before[v.path], v.numpy())}
    assert any("res5" in path for path in changed)
    assert any("rpn_" in path for path in changed)
    assert not any(part in path for path in changed for part in ("conv1", "res2", "res3", "res4"))
    assert set(STAGES) == {"heads", "3+", "4+", "5+", "all"}


def test_scenes_are_a_data_set() -> None:
    dataset = open_any("scenes:5-9")
    assert dataset.size == 5
    example = dataset.load(1)
    assert len(example.masks) == len(example.class_ids) > 0
    assert np.array_equal(example.image, dataset.load(1).image)
    with pytest.raises(DatasetError, match="FIRST-LAST"):
        open_any("scenes:9")


@pytest.mark.usefixtures("eagerly")
def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, weights = tmp_path / "run", tmp_path / "run" / "weights.h5"
    out_of = ["--classes", "Sky,Cars", "--size", "128", "--batch", "1", "--out", str(out), "--float32"]
    assert main(["train", "scenes:0-20", *out_of, "--steps", "1"]) == 0
    assert main(["train", "scenes:0-20", *out_of, "--steps", "1"]) == 0
    assert "going on from step 1" in capsys.readouterr().out
    assert (out / "curves.png").exists()
    assert MaskRCNN.from_file(weights).classes == ("Sky", "Cars")

    picture = tmp_path / "street.png"
    Image.fromarray(open_any("scenes:0-0").load(0).image).save(picture)
    found = tmp_path / "found"
    assert (
        main(["detect", str(picture), "--weights", str(weights), "--out", str(found), "--score", "0.0"]) == 0
    )
    document = json.loads((found / "found.json").read_text())
    assert [c["name"] for c in document["categories"]] == ["Sky", "Cars"]
    assert (found / "street-found.png").exists()
    assert main(["evaluate", "scenes:0-1", "--weights", str(weights), "--limit", "2"]) == 0
    assert "mask AP50" in capsys.readouterr().out
    assert main(["inspect", "scenes:0-1", "--out", str(tmp_path / "sheet.png")]) == 0
    assert (tmp_path / "sheet.png").exists()

    outside = {"name": "rect", "x": 900, "y": 1, "width": 5, "height": 5}
    out_by_a_bit = {"name": "rect", "x": -9, "y": 1, "width": 50, "height": 50}
    labels = picture.with_name("labels.json")
    for shape, code, words in ((outside, 1, "outside"), (out_by_a_bit, 0, "by 9 pixels, which are cut off")):
        regions = [{"shape_attributes": shape, "region_attributes": {"name": "Sky"}}]
        labels.write_text(json.dumps({"a": {"filename": picture.name, "regions": regions}}))
        assert main(["inspect", str(labels), "--out", str(tmp_path / "sheet.png")]) == code
        printed = capsys.readouterr()
        assert "street.png, region 1: " in printed.out
        assert words in printed.out
    assert main(["train", str(labels), *out_of[2:], "--steps", "1", "--patience", "1"]) == 1
    assert "--patience needs" in capsys.readouterr().err
    assert (
        main(["train", "scenes:0-1", *out_of, "--layers", "heads", "--weights", "coco", "--steps", "1"]) == 1
    )
    assert "python -m mrcnn download coco" in capsys.readouterr().err

    frozen = [*out_of[:-3], "--out", str(tmp_path / "frozen"), "--weights", str(weights), "--freeze-bn"]
    assert main(["train", "scenes:0-20", *frozen, "--steps", "1"]) == 0
    before, after = (
        MaskRCNN.from_file(path).network.trunk.get_layer("bn_conv1").moving_mean.numpy()
        for path in (weights, tmp_path / "frozen" / "weights.h5")
    )
    assert np.array_equal(before, after)

    assert main(["train", "scenes:0-1", *out_of, "--layers", "heads,all", "--steps", "1"]) == 1
    assert "2 stages of --layers and 1 numbers of --steps" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "none.json")]) == 1
    assert "no such file or folder" in capsys.readouterr().err
    assert main(["detect", str(picture), "--weights", str(picture)]) == 1
    assert "not an HDF5 file" in capsys.readouterr().err
