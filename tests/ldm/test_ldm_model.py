import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ldm_tiny import tiny_model

from ldm.autoencoder import load_autoencoder, reconstruct
from ldm.files import WeightsError, read_arrays, write_arrays
from ldm.model import LatentDiffusion


def picture(seed: int, height: int = 64, width: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_importing_loads_no_tensorflow() -> None:
    code = (
        "import sys, ldm, ldm.__main__; assert not {'tensorflow', 'keras'} & set(sys.modules); ldm.Vocabulary"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (72, 128), (48, 88)])
def test_portions_change_no_bit(model: LatentDiffusion, height: int, width: int) -> None:
    start = model.start(
        "red jacket", negative="blue", seed=9, steps=6, guidance=2.5, height=height, width=width
    )
    whole = model.advance(start, 6)
    parts = start
    for count in (1, 3, 0, 5):
        parts = pickle.loads(pickle.dumps(model.advance(parts, count)))  # noqa: S301
    assert parts.step == whole.step == 6
    assert parts.latents.tobytes() == whole.latents.tobytes()
    assert model.decode(parts).tobytes() == model.decode(whole).tobytes()
    assert model.decode(whole).shape == (height, width, 3)


def test_seed_prompt_negative_and_guidance_matter(model: LatentDiffusion) -> None:
    def paint(prompt: str = "red hat", seed: int = 1, negative: str = "", guidance: float = 3.0) -> bytes:
        state = model.start(
            prompt, seed=seed, negative=negative, guidance=guidance, steps=3, height=64, width=64
        )
        return model.advance(state, 3).latents.tobytes()

    base = paint()
    assert base == paint()
    assert base != paint(seed=2)
    assert base != paint(prompt="blue hat")
    assert base != paint(negative="green bag")
    assert base != paint(guidance=1.0)
    assert paint(seed=-1) != paint(seed=1)
    assert paint(seed=1 << 70) == paint(seed=1 << 70)


def test_inpainting_keeps_what_is_known(model: LatentDiffusion) -> None:
    image = picture(3)
    mask = np.zeros((64, 64), np.bool_)
    mask[20:37, 10:30] = True
    state = model.advance(model.start_inpaint(image, mask, "blue bag", seed=5, steps=4), 4)
    touched = np.zeros((8, 8), np.bool_)
    touched[2:5, 1:4] = True
    original = model.encode(image)
    assert np.array_equal(state.latents[~touched], original[~touched])
    assert np.array_equal(state.clean[~touched], original[~touched])
    assert not np.isclose(state.latents[touched], original[touched]).all(-1).any()


def test_the_mask_hides_what_is_repainted(model: LatentDiffusion) -> None:
    """At full strength the hidden pixels have no say in what comes in their place."""
    one, two = picture(3), picture(3)
    mask = np.zeros((64, 64), np.bool_)
    mask[16:48, 16:48] = True
    two[mask] = 255 - two[mask]
    states = [model.start_inpaint(image, mask, "red", seed=5, steps=3) for image in (one, two)]
    assert np.array_equal(states[0].known, states[1].known)
    inside = states[0].mask[..., 0] > 0
    results = [model.advance(state, 3).latents[inside] for state in states]
    # The latents around the mask do see into it a little, through the encoder's field of view.
    assert np.abs(results[0] - results[1]).mean() < np.abs(results[0]).mean()


def test_strength_keeps_the_picture(model: LatentDiffusion) -> None:
    image = picture(4)
    original = model.encode(image)

    def change(strength: float) -> float:
        state = model.start_image(image, "red", seed=2, steps=1, strength=strength)
        return float(np.abs(state.latents - original).mean())

    assert change(0.05) < change(0.5) < change(1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"height": 60},
        {"width": 16},
        {"height": 1024},
        {"steps": 0},
        {"steps": 5000},
        {"height": 0},
        {"height": -64},
    ],
)
def test_impossible_requests_are_refused(model: LatentDiffusion, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"pixels|steps"):
        model.start(
            "red",
            seed=1,
            steps=wrong.get("steps", 2),
            height=wrong.get("height", 64),
            width=wrong.get("width", 64),
        )
    with pytest.raises(ValueError, match="belong together"):
        model.start_inpaint(picture(1), np.ones((64, 72), np.bool_), "red", seed=1)
    with pytest.raises(ValueError, match="strength"):
        model.start_image(picture(1), "red", seed=1, strength=0.0)


def test_a_saved_model_comes_back_whole(model: LatentDiffusion, tmp_path: Path) -> None:
    path = tmp_path / "tiny.npz"
    model.save(path, steps=3)
    again = LatentDiffusion.load(path)
    assert again.vocabulary.words == model.vocabulary.words
    assert again.vocabulary.aliases == model.vocabulary.aliases
    results = [m.advance(m.start("red hat", seed=1, steps=2, height=64, width=64), 2) for m in (model, again)]
    assert model.decode(results[0]).tobytes() == again.decode(results[1]).tobytes()
    assert read_arrays(path)[1]["steps"] == 3


def test_loading_lists_every_misfit(tmp_path: Path) -> None:
    path = tmp_path / "tiny.npz"
    tiny_model().save(path)
    arrays, header = read_arrays(path)
    gone = "denoiser/stem/kernel"
    arrays["denoiser/strange/kernel"] = arrays.pop(gone)
    arrays["decoder/dec_stem/bias"] = np.zeros(3, np.float16)
    write_arrays(path, arrays, header)
    with pytest.raises(WeightsError) as caught:
        LatentDiffusion.load(path)
    text = str(caught.value)
    assert f"missing: {gone}" in text
    assert "unknown: denoiser/strange/kernel" in text
    assert "shape: decoder/dec_stem/bias is (3,), the model has (16,)" in text


def test_the_autoencoder_loads_alone(model: LatentDiffusion, tmp_path: Path) -> None:
    path = tmp_path / "tiny.npz"
    model.save(path)
    encoder, decoder = load_autoencoder(path)
    pictures = np.stack([picture(seed) for seed in range(5)])
    back = reconstruct(encoder, decoder, pictures)
    assert back.shape == pictures.shape
    assert back.dtype == np.uint8
    assert np.array_equal(back, reconstruct(model.encoder, model.decoder, pictures))


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04broken"])
def test_other_files_are_refused_plainly(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.npz"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="no weights file"):
        LatentDiffusion.load(path)
    write_arrays(path, {}, {"kind": "autoencoder"})
    with pytest.raises(WeightsError, match="'autoencoder'"):
        LatentDiffusion.load(path)
    with pytest.raises(FileNotFoundError):
        LatentDiffusion.load(tmp_path / "none.npz")
