"""Drawn scenes painted over by the model, their masks known: what a segmenter must learn to see."""

import hashlib
import json
import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from .config import NATIVE
from .data import Scene, draw_labelled, labelled_name, other_look, write_truth
from .model import LatentDiffusion

SCALE = 2  # pictures are twice the model's size, so that repainted things are sharper than the rest
STEPS = 12  # of a whole way from noise; a part of the way takes its part of them
GUIDANCE = 2.5
Rng = np.random.Generator


def paint_scenes(folder: Path, seeds: Sequence[int], weights: Path, workers: int) -> Path:
    """Paint the scenes of the seeds and write their masks beside them, as COCO; give the JSON's path.

    Pictures that are there are kept, so a stopped run goes on. ValueError for a folder that another model
    painted.
    """
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    note = folder / "painter.txt"
    if note.exists() and note.read_text("utf-8") != digest:
        raise ValueError(f"{folder} was painted with other weights; name another folder")
    note.write_text(digest, "utf-8")
    missing = [seed for seed in seeds if not (images / labelled_name(seed)).exists()]
    parts = [missing[first::workers] for first in range(max(1, workers))]
    if workers > 1 and missing:
        # One thread a worker: the model is too small for two to share a picture's work.
        os.environ["TF_NUM_INTRAOP_THREADS"] = "1"
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            pool.starmap(_paint_all, [(images, part, weights) for part in parts], chunksize=1)
    elif missing:
        _paint_all(images, missing, weights)
    return write_truth(folder, seeds, SCALE)


def _paint_all(images: Path, seeds: Sequence[int], weights: Path) -> None:
    model = LatentDiffusion.load(weights)
    for done, seed in enumerate(seeds, 1):
        picture = paint_over(model, draw_labelled(seed, SCALE), seed)
        part = images / f".{labelled_name(seed)}.{os.getpid()}.part"
        Image.fromarray(picture).save(part, "PNG")
        part.replace(images / labelled_name(seed))
        if done % 50 == 0:
            print(json.dumps({"painted": done, "of": len(seeds)}), flush=True)


def paint_over(model: LatentDiffusion, scene: Scene, seed: int) -> NDArray[np.uint8]:
    """Give a scene [H, W, 3] the model's look where its things stay where they are.

    One in four only goes through the autoencoder, its latents a little noisy; the others are noised by a
    third to six tenths and painted anew from their prompt. In every second one, one to three things are then
    repainted in another look, each in a window of its own, as a recursion does it.
    """
    rng = np.random.Generator(np.random.PCG64([seed, 89]))
    height, width = (side // SCALE for side in scene.image.shape[:2])
    small = np.asarray(Image.fromarray(scene.image).resize((width, height), Image.Resampling.BOX))
    if rng.random() < 0.25:
        painted = _coded(model, small, rng)
    else:
        strength = float(rng.uniform(0.33, 0.6))
        painted = _painted(model, small, None, scene.prompt, strength, seed)
    large = Image.fromarray(painted).resize((width * SCALE, height * SCALE), Image.Resampling.LANCZOS)
    picture = np.array(large)
    if rng.random() < 0.5:
        for index in _things(scene, rng):
            picture = _repainted(model, picture, scene, index, rng)
    return picture


def _coded(model: LatentDiffusion, picture: NDArray[np.uint8], rng: Rng) -> NDArray[np.uint8]:
    latents = model.encode(picture)
    noise = rng.normal(0, rng.uniform(0.0, 0.3), latents.shape).astype(np.float32)
    return model.decode_latents(latents + noise)


def _painted(
    model: LatentDiffusion,
    picture: NDArray[np.uint8],
    mask: NDArray[np.bool_] | None,
    prompt: str,
    strength: float,
    seed: int,
) -> NDArray[np.uint8]:
    """Paint a picture anew, in its mask if there is one."""
    steps = max(3, round(STEPS * strength))
    where = np.ones(picture.shape[:2], np.bool_) if mask is None else mask
    state = model.start_inpaint(
        picture, where, prompt, seed=seed, steps=steps, guidance=GUIDANCE, strength=strength
    )
    return model.decode(model.advance(state, steps))


def _things(scene: Scene, rng: Rng) -> list[int]:
    """Choose what to repaint: large enough to be seen, the nearer ones last."""
    # Sun and moon have no look, and what covers most of the picture was painted anew already.
    shares = scene.masks.mean((1, 2))
    usable = [i for i in range(len(shares)) if 0.0008 < shares[i] < 0.3 and len(scene.tags[i]) > 1]
    count = min(len(usable), int(rng.integers(1, 4)))
    return sorted(int(i) for i in rng.permutation(usable)[:count])


def _repainted(
    model: LatentDiffusion, picture: NDArray[np.uint8], scene: Scene, index: int, rng: Rng
) -> NDArray[np.uint8]:
    """Repaint one thing in a square window around it."""
    mask, (y1, x1, y2, x2) = scene.masks[index], (int(v) for v in scene.boxes[index])
    size = float(np.sqrt(mask.sum()))
    side = min(round(max(y2 - y1, x2 - x1) + 2 * max(0.5 * size, 12)), *mask.shape)
    top = int(np.clip((y1 + y2 - side) // 2, 0, mask.shape[0] - side))
    left = int(np.clip((x1 + x2 - side) // 2, 0, mask.shape[1] - side))
    part = np.s_[top : top + side, left : left + side]
    window = Image.fromarray(picture[part]).resize((NATIVE, NATIVE), Image.Resampling.LANCZOS)
    soft = Image.fromarray(mask[part].astype(np.uint8) * 255).filter(
        ImageFilter.GaussianBlur(max(1.0, 0.04 * size))
    )
    asked = np.asarray(soft.resize((NATIVE, NATIVE), Image.Resampling.BILINEAR)) > 40
    if not asked.any():
        return picture
    look = other_look(scene.labels[index], rng)
    painted = _painted(
        model,
        np.asarray(window),
        asked,
        ", ".join(look),
        float(rng.uniform(0.7, 0.9)),
        int(rng.integers(1 << 31)),
    )
    fresh = Image.fromarray(painted).resize((side, side), Image.Resampling.LANCZOS)
    alpha = np.asarray(soft, np.float32)[..., None] / 255
    result = picture.copy()
    result[part] = np.rint(picture[part] * (1 - alpha) + np.asarray(fresh, np.float32) * alpha)
    return result
