import os
import signal
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from ldm_tiny import AUTOENCODER, DENOISER

from ldm.__main__ import main
from ldm.data import GREY, HELD_OUT, KINDS, draw_inpaint, draw_shards, shards
from ldm.evaluate import judged_colour, wilson
from ldm.files import read_arrays
from ldm.model import LatentDiffusion
from ldm.running import Schedule, Stopper, Trainer
from ldm.sampler import cell_mask, hide, time_steps
from ldm.train_autoencoder import train_autoencoder
from ldm.train_denoiser import train_denoiser, word


def train_tiny_autoencoder(cache: Path, folder: Path, steps: int, keep: Path | None = None) -> Path:
    out = folder / "autoencoder.npz"
    train_autoencoder(
        cache,
        folder / f"run{keep is not None}",
        config=AUTOENCODER,
        schedule=Schedule(steps, 2e-3, 2),
        snapshot=out,
        batch=4,
        crop=32,
        dtype="float32",
        every=10,
        keep_encoder=keep,
    )
    return out


def train_tiny_denoiser(cache: Path, folder: Path, autoencoder: Path, steps: int) -> dict[str, np.ndarray]:
    out = folder / "ldm.npz"
    train_denoiser(
        cache,
        folder,
        start=autoencoder,
        config=replace(DENOISER, blocks=(1, 1, 1)),
        schedule=Schedule(steps, 1e-3, 2, decay=0.0),
        snapshot=out,
        batch=2,
        dtype="float32",
        every=100,
        samples=False,
    )
    assert out.exists()
    return read_arrays(folder / "checkpoint.npz")[0]


@pytest.fixture(scope="module")
def autoencoder(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny_autoencoder(cache, tmp_path_factory.mktemp("autoencoder"), 4)


def test_examples_hide_the_thing_and_say_its_look() -> None:
    recoloured = 0
    for seed in range(12):
        example = draw_inpaint(seed, 96, 96, recolour=1.0)
        again = draw_inpaint(seed, 96, 96, recolour=1.0)
        assert example.image.tobytes() == again.image.tobytes()
        assert example.mask.any()
        assert (example.known[example.mask] == GREY).all()
        assert np.array_equal(example.known[~example.mask], example.image[~example.mask])
        recoloured += not np.array_equal(example.image, draw_inpaint(seed, 96, 96, recolour=0.0).image)
    assert recoloured >= 7


def test_shards_are_drawn_once(cache: Path) -> None:
    (shard,) = shards(cache, KINDS[1])
    images, known, masks = shard.images(), shard.known(), shard.masks()
    assert images.shape == known.shape == (6, 192, 192, 3)
    assert masks.shape == (6, 192, 192)
    assert len(shard.tags()) == 6
    stamp = (shard.folder / "images.npy").stat().st_mtime_ns
    assert list(draw_shards(cache, [(KINDS[1], 0)], 6, 1)) == [shard.folder]
    assert (shard.folder / "images.npy").stat().st_mtime_ns == stamp


def test_autoencoder_learns_and_its_decoder_goes_on_alone(cache: Path, tmp_path: Path) -> None:
    first = read_arrays(train_tiny_autoencoder(cache, tmp_path, 2))
    later = read_arrays(train_tiny_autoencoder(cache, tmp_path, 30))
    assert later[1]["steps"] == 30
    assert later[1]["psnr"] > first[1]["psnr"]
    (tmp_path / "before.npz").write_bytes((tmp_path / "autoencoder.npz").read_bytes())
    alone = read_arrays(train_tiny_autoencoder(cache, tmp_path, 3, keep=tmp_path / "before.npz"))
    assert alone[1]["mean"] == later[1]["mean"]
    changed = {name for name, value in alone[0].items() if not np.array_equal(value, later[0][name])}
    assert changed
    assert all(name.startswith("decoder/") for name in changed)


def trainer_of(units: int, seed: int) -> Trainer:
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units, "tanh"), keras.layers.Dense(1)])
    return Trainer([model], weight_decay=0.01, average=0.9)


def take_steps(trainer: Trainer, steps: int) -> None:
    for _ in range(steps):
        data = tf.constant(np.random.default_rng(trainer.step).normal(size=(4, 3)).astype(np.float32))
        trainer.rate(0.01)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(trainer.models[0](data) - 1.0))
        trainer.apply(tape.gradient(loss, trainer.variables))
        trainer.step += 1


def test_a_resumed_run_is_the_same_run(tmp_path: Path) -> None:
    whole, first, second = trainer_of(5, 1), trainer_of(5, 1), trainer_of(5, 2)
    take_steps(whole, 7)
    take_steps(first, 3)
    first.save(tmp_path)
    assert not trainer_of(5, 3).resume(tmp_path / "elsewhere")
    assert second.resume(tmp_path)
    assert second.step == 3
    take_steps(second, 4)
    for one, two in zip(
        (*whole.variables, *whole.averages), (*second.variables, *second.averages), strict=True
    ):
        assert np.array_equal(one.numpy(), two.numpy())
    second.swap()
    assert np.array_equal(second.variables[0].numpy(), whole.averages[0].numpy())
    with pytest.raises(ValueError, match=r"another model|shape"):
        trainer_of(6, 1).resume(tmp_path)


def test_the_denoiser_trains_and_goes_on(cache: Path, tmp_path: Path, autoencoder: Path) -> None:
    one = train_tiny_denoiser(cache, tmp_path, autoencoder, 2)
    two = train_tiny_denoiser(cache, tmp_path, autoencoder, 4)
    assert "resumed at step 2" in (tmp_path / "log.txt").read_text()
    moved = [name for name in one if name.startswith("weights/") and not np.array_equal(one[name], two[name])]
    assert len(moved) > 20
    assert LatentDiffusion.load(tmp_path / "ldm.npz").vocabulary.words


def test_sigterm_is_noted_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Stopper() as stopper:
        assert not stopper.asked
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopper.asked
    assert signal.getsignal(signal.SIGTERM) is before


def test_rates_warm_up_hold_and_fall() -> None:
    schedule = Schedule(steps=100, rate=1.0, warmup=10, decay=0.5)
    rates = [schedule.at(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:50] == [1.0] * 40
    assert rates[75] == pytest.approx(0.5)
    assert rates[100] == 0.0


def test_wording_keeps_the_noun() -> None:
    rng = np.random.default_rng(0)
    seen = {", ".join(word(("red", "striped", "hat"), rng)) for _ in range(200)}
    assert "red striped hat" in seen
    assert "hat, striped, red" in seen
    assert all("hat" in text for text in seen)
    assert any("plain" not in ", ".join(word(("red", "plain", "hat"), rng)) for _ in range(20))


def test_masks_become_cells() -> None:
    mask = np.zeros((16, 24), np.bool_)
    mask[:8, :8] = True
    mask[9, 17] = True
    cells = cell_mask(mask, 8)
    assert np.array_equal(cells[..., 0], [[1, 0, 0], [0, 0, 1]])
    assert cells[1, 2, 1] == pytest.approx(1 / 64)
    hidden = hide(np.ones((2, 3, 4), np.float32), cells)
    assert np.array_equal(hidden[..., 0], [[0, 1, 1], [1, 1, 1]])


def test_times_fall_to_nothing() -> None:
    assert time_steps(4, 1.0).tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert time_steps(2, 0.5)[0] == 0.5
    assert (np.diff(time_steps(20, 1.0, 2.0)) < 0).all()


def test_the_judge_knows_drawn_colours_and_notices_wrong_ones() -> None:
    right = wrong = of = 0
    for seed in range(HELD_OUT, HELD_OUT + 30):
        example = draw_inpaint(seed, 96, 96, recolour=1.0)
        if len(example.tags) < 3 or (example.mask & example.shape).sum() < 40:
            continue
        of += 1
        right += judged_colour(example.image, example) == example.tags[0]
        wrong += judged_colour(255 - example.image, example) == example.tags[0]
    assert of > 10
    assert right / of > 0.9
    assert wrong / of < 0.4


def test_wilson_interval() -> None:
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-3)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(10, 10)[1] == pytest.approx(1.0)


def test_the_command_line_paints_and_reports(
    model: LatentDiffusion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "w.npz"
    model.save(weights)
    out = tmp_path / "picture.png"
    size = ["--height", "64", "--width", "64", "--steps", "2"]
    assert main(["sample", "red hat, dragon", "--weights", str(weights), "--out", str(out), *size]) == 0
    assert out.stat().st_size > 100
    assert "dragon" in capsys.readouterr().err
    assert main(["sample", "red", "--weights", str(tmp_path / "none.npz"), "--out", str(out)]) == 2
    assert "none.npz" in capsys.readouterr().err
