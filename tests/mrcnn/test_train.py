"""Training end to end on drawn scenes, small: it learns, resumes exactly and its weights detect."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mrcnn import Config, MaskRCNN
from mrcnn.__main__ import main
from mrcnn.data import Dataset, DatasetError, Example
from mrcnn.evaluate import evaluate
from mrcnn.train import STAGES, Schedule, Trainer, batches, open_any, train


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
    assert box.ap50 > 0.8
    assert mask.ap50 > 0.8
    assert mask.classes["red"][2] == 8
    picture = blocks().load(0).image
    first, again = model.detect([picture, picture])
    for key in first:
        assert first[key].tobytes() == again[key].tobytes()
    assert first["masks"].shape == (128, 128, len(first["rois"]))
    nothing = model.detect([np.zeros((20, 300, 3), np.uint8)])[0]
    assert nothing["masks"].shape[:2] == (20, 300)


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tiny: Config, tmp_path: Path) -> None:
    schedule = Schedule(steps=4, learning_rate=1e-2, own_objects=True, seed=3)
    whole, last = Trainer(tiny, schedule, ("red", "green")), None
    for batch in batches(blocks(), tiny, schedule, 0):
        if whole.step == 2:
            whole.save(tmp_path / "checkpoint.npz")
        last = whole.train_step(batch)
    again = Trainer(tiny, dataclasses.replace(schedule, seed=99), ("red", "green"))
    again.restore(tmp_path / "checkpoint.npz")
    assert again.step == 2
    resumed = [again.train_step(batch) for batch in batches(blocks(), tiny, schedule, again.step)][-1]
    assert resumed == pytest.approx(last, rel=1e-3)
    other = Trainer(dataclasses.replace(tiny, pool_size=5), schedule, ("red", "green"))
    with pytest.raises(ValueError, match="other settings"):
        other.restore(tmp_path / "checkpoint.npz")


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

    assert main(["train", "scenes:0-1", *out_of, "--layers", "heads,all", "--steps", "1"]) == 1
    assert "2 stages of --layers and 1 numbers of --steps" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "none.json")]) == 1
    assert "no such file or folder" in capsys.readouterr().err
    assert main(["detect", str(picture), "--weights", str(picture)]) == 1
    assert "not an HDF5 file" in capsys.readouterr().err
