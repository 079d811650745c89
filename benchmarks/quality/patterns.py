"""A small classifier of patterns, trained on drawn crops: plain, striped, dotted, plaid or floral?"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray
from PIL import Image

from ldm import LatentDiffusion
from ldm.data import HELD_OUT, draw_inpaint
from pipeline.domain import Mask
from pipeline.masks import bounding_box
from scenes import PATTERNS

SIDE = 64  # pixels of a crop
TRAINING, TESTING = 9000, 600  # crops
_FIRST_TRAINING, _FIRST_TESTING = 7_000_000, HELD_OUT + (9 << 20)


@dataclass(frozen=True, slots=True)
class Crops:
    """Crops uint8 [N, SIDE, SIDE, (R, G, B, mask)] and the numbers [N] of their patterns."""

    pixels: NDArray[np.uint8]
    patterns: NDArray[np.int32]


def crop(picture: NDArray[np.uint8], mask: Mask) -> NDArray[np.uint8]:
    """Cut an object out with a margin: uint8 [SIDE, SIDE, (R, G, B, mask)]."""
    box = bounding_box(mask)
    margin = round(0.06 * max(box.height, box.width)) + 1
    y1, x1 = max(0, box.y1 - margin), max(0, box.x1 - margin)
    part = np.s_[y1 : box.y2 + margin, x1 : box.x2 + margin]
    colours = Image.fromarray(picture[part]).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    where = Image.fromarray(mask[part].astype(np.uint8) * 255).resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.dstack([np.asarray(colours), np.asarray(where)])


def draw_crops(model: LatentDiffusion, count: int, first: int) -> Crops:
    """Draw crops of things that can have a pattern; half of them go through the model's autoencoder."""
    pixels, patterns, seed = [], [], first
    while len(pixels) < count:
        example = draw_inpaint(seed, 192, 192, recolour=1.0)
        seed += 1
        where = example.shape & example.mask
        if len(example.tags) < 3 or example.tags[1] not in PATTERNS or where.sum() < 60:
            continue
        image = example.image
        if seed % 2:
            image = model.decode_latents(model.encode(image))
        pixels.append(crop(image, where))
        patterns.append(PATTERNS.index(example.tags[1]))
    return Crops(np.stack(pixels), np.array(patterns, np.int32))


def network() -> Any:
    """Build the classifier."""
    inputs: Any = keras.Input((SIDE, SIDE, 4))
    x: Any = layers.Rescaling(1 / 127.5, -1.0)(inputs)
    for channels in (24, 48, 72):
        x = layers.Conv2D(channels, 3, padding="same", activation="relu")(x)
        x = layers.Conv2D(channels, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2)(layers.Dense(64, "relu")(x))
    return keras.Model(inputs, layers.Dense(len(PATTERNS), "softmax")(x))


def train(model: LatentDiffusion, file: Path) -> float:
    """Train once and keep the weights in a file; give the accuracy on held-out crops."""
    keras.utils.set_random_seed(3)
    judge = network()
    held_out = draw_crops(model, TESTING, _FIRST_TESTING)
    if not file.exists():
        drawn = draw_crops(model, TRAINING, _FIRST_TRAINING)
        mirrored = np.concatenate([drawn.pixels, drawn.pixels[:, :, ::-1]])
        rate: Any = keras.optimizers.schedules.CosineDecay(2e-3, 14 * (2 * TRAINING // 64))
        judge.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        judge.fit(mirrored, np.tile(drawn.patterns, 2), batch_size=64, epochs=14, verbose=0)
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f"part-{file.name}")
        judge.save_weights(part)
        part.replace(file)
    judge.load_weights(file)
    said = judge.predict(held_out.pixels, verbose=0).argmax(1)
    return float((said == held_out.patterns).mean())


@cache
def open_judge(file: Path) -> Any:
    """Open the trained classifier once a process."""
    judge = network()
    judge.load_weights(file)
    return judge


def pattern(file: Path, picture: NDArray[np.uint8], mask: Mask) -> str:
    """Name an object's pattern."""
    shares = open_judge(file).predict(crop(picture, mask)[None], verbose=0)
    return PATTERNS[int(shares[0].argmax())]
