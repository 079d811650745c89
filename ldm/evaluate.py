"""Measure a model on held-out seeds: the autoencoder's loss, and whether asked colours come out."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from skimage.color import rgb2lab

import scenes
from scenes.palette import NOUNS, TIMES

from .autoencoder import reconstruct
from .data import HELD_OUT, Example, draw_inpaint
from .model import LatentDiffusion
from .train_autoencoder import held_out_pictures, psnr

_GARMENTS = ("dress", "jacket", "shirt")


@dataclass(frozen=True, slots=True)
class Share:
    """So many right of so many."""

    name: str
    right: int
    of: int

    def __str__(self) -> str:
        low, high = wilson(self.right, self.of)
        return f"{self.right}/{self.of} = {self.right / max(1, self.of):.2f} ({low:.2f}-{high:.2f})"


def wilson(right: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """Give the 95 % interval of a share."""
    if of == 0:
        return (0.0, 1.0)
    p, spread = right / of, z * z / of
    middle = (p + spread / 2) / (1 + spread)
    half = z * sqrt(p * (1 - p) / of + spread / (4 * of)) / (1 + spread)
    return (max(0.0, middle - half), min(1.0, middle + half))


def evaluate(
    model: LatentDiffusion, *, cases: int, steps: int, guidance: float, seed: int = 0
) -> list[Share]:
    """Measure and print a table; `cases` a class. Gives the shares of colours right."""
    pictures = held_out_pictures(32)
    quality = psnr(pictures, reconstruct(model.encoder, model.decoder, pictures))
    shares = [*painted_colours(model, 3 * cases, steps, guidance, seed)]
    for label in scenes.CLASSES:
        shares.extend(inpainted_colours(model, label, cases, steps, guidance, seed))
    of_all = [s for s in shares if s.name.startswith("inpaint ")]
    shares.append(Share("inpaint all", sum(s.right for s in of_all), sum(s.of for s in of_all)))
    table = Table("what", "right, 95 % interval", title=f"autoencoder, held out: {quality:.2f} dB")
    for share in shares:
        table.add_row(share.name, str(share))
    Console().print(table)
    return shares


def painted_colours(
    model: LatentDiffusion, cases: int, steps: int, guidance: float, seed: int
) -> list[Share]:
    """Paint from prompts with a known sky and a known garment; judge both by the palette's nearest colour.

    Where the garment is, is not known: the commonest palette colour of the place where a figure's trunk
    stands in a scene is taken, so a figure that stands elsewhere counts as wrong.
    """
    rng = np.random.Generator(np.random.PCG64([seed, 91]))
    skies, garments = 0, 0
    for case in range(cases):
        time = list(TIMES)[case % len(TIMES)]
        colour = list(scenes.COLOURS)[int(rng.integers(len(scenes.COLOURS)))]
        prompt = f"1girl, full body, {colour} {_GARMENTS[case % len(_GARMENTS)]}, {time} sky"
        picture = _paint(model, prompt, HELD_OUT + case, steps, guidance)
        top = _median(picture, _area(picture, 0.0, 0.08, 0.0, 1.0))
        skies += _nearest(top, {name: stops[0] for name, stops in TIMES.items()}) == time
        trunk = _lab(picture[_area(picture, 0.44, 0.6, 0.42, 0.58)])
        names = list(scenes.COLOURS)
        palette = _lab(np.array([scenes.COLOURS[name] for name in names], np.uint8))
        votes = np.linalg.norm(trunk[:, None] - palette[None], axis=-1).argmin(1)
        garments += names[int(np.bincount(votes, minlength=len(names)).argmax())] == colour
    return [Share("paint: sky's time", skies, cases), Share("paint: garment's colour", garments, cases)]


def _paint(model: LatentDiffusion, prompt: str, seed: int, steps: int, guidance: float) -> NDArray[np.uint8]:
    state = model.start(prompt, seed=seed, steps=steps, guidance=guidance)
    return model.decode(model.advance(state, steps))


def inpainted_colours(
    model: LatentDiffusion, label: str, cases: int, steps: int, guidance: float, seed: int
) -> list[Share]:
    """Repaint things of one class in a colour they did not have; judge by the median inside their outline.

    The judge compares with the same scene drawn in every colour, so that night and pattern do not mislead it.
    """
    right, of, number = 0, 0, 0
    while of < cases and number < cases * 60:
        example = _example(label, HELD_OUT + 50_000 + seed * 1_000_000 + number)
        number += 1
        if example is None:
            continue
        state = model.start_inpaint(
            example.known, example.mask, " ".join(example.tags), seed=number, steps=steps, guidance=guidance
        )
        picture = model.decode(model.advance(state, steps))
        right += judged_colour(picture, example) == example.tags[0]
        of += 1
    return [Share(f"inpaint {label}", right, of)]


def judged_colour(picture: NDArray[np.uint8], example: Example) -> str:
    """Name the colour of an example's thing in a picture: that of the drawing whose median Lab is nearest."""
    rest = example.tags[1:-1]
    looks = [look for look in scenes.looks(example.label) if look[1:] == rest]
    height, width = example.mask.shape
    drawn = {
        look[0]: scenes.draw(
            0,
            height=height,
            width=width,
            window=example.window,
            spec=example.spec.with_look(example.label, look),
        ).image
        for look in looks
    }
    shape = example.shape & example.mask
    got = _median(picture, shape)
    return min(drawn, key=lambda name: float(np.linalg.norm(_median(drawn[name], shape) - got)))


def _example(label: str, seed: int) -> Example | None:
    """Draw an inpainting example of one class with a look, or give None when the seed has another."""
    whole = scenes.draw(seed, height=48, width=48)
    if label not in whole.labels:
        return None
    example = draw_inpaint(seed, 192, 192, recolour=1.0)
    if example.label != label or example.tags[-1] != NOUNS[label] or not (example.shape & example.mask).any():
        return None
    return example


def _lab(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    return rgb2lab(pixels.reshape(-1, 1, 3) / 255.0)[:, 0]


def _median(picture: NDArray[np.uint8], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.median(_lab(picture[where]), axis=0)


def _nearest(colour: NDArray[np.float64], among: dict[str, tuple[int, int, int]]) -> str:
    return min(
        among, key=lambda name: float(np.linalg.norm(_lab(np.array([among[name]], np.uint8))[0] - colour))
    )


def _area(picture: NDArray[np.uint8], *share: float) -> NDArray[np.bool_]:
    """Mark the part (y1, y2, x1, x2) of a picture, in shares of its sides."""
    height, width = picture.shape[:2]
    y1, y2, x1, x2 = share
    where = np.zeros((height, width), np.bool_)
    where[round(y1 * height) : round(y2 * height), round(x1 * width) : round(x2 * width)] = True
    return where


def summary(shares: Sequence[Share]) -> dict[str, str]:
    """Give the figures by name, for a report."""
    return {share.name: str(share) for share in shares}
