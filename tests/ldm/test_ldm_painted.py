from pathlib import Path

import numpy as np
import pytest

import scenes
from ldm.__main__ import main
from ldm.data import draw_labelled
from ldm.model import LatentDiffusion
from mrcnn.formats import open_dataset


def test_painted_scenes_keep_their_masks_and_a_stopped_run_goes_on(
    model: LatentDiffusion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, out = tmp_path / "w.npz", tmp_path / "painted"
    model.save(weights)
    command = ["paint-scenes", str(out), "--weights", str(weights), "--seed", "5", "--workers", "1"]
    assert main([*command, "--count", "2"]) == 0
    first = (out / "images" / "painted-5.png").stat().st_mtime_ns
    second = (out / "images" / "painted-6.png").read_bytes()
    (out / "images" / "painted-6.png").unlink()
    assert main([*command, "--count", "3"]) == 0
    assert (out / "images" / "painted-5.png").stat().st_mtime_ns == first
    assert (out / "images" / "painted-6.png").read_bytes() == second, "a picture depends on its seed alone"
    dataset = open_dataset(out)
    assert dataset.size == 3
    for index in range(3):
        example, scene = dataset.load(index), draw_labelled(5 + index, 2)
        assert [scenes.CLASSES[i - 1] for i in example.class_ids] == list(scene.labels)
        assert np.array_equal(example.masks, scene.masks)
        assert example.image.shape == scene.image.shape
        assert not np.array_equal(example.image, scene.image)

    weights.write_bytes(weights.read_bytes() + b" ")
    assert main([*command, "--count", "3"]) == 2
    assert "other weights" in capsys.readouterr().err
