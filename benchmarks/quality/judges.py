"""Judges of a repainted picture that need no big model."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, laplace
from skimage.color import deltaE_ciede2000, rgb2lab

import scenes
from pipeline.domain import Mask
from pipeline.masks import bounding_box
from scenes import SceneSpec
from scenes.palette import SKY_COLOURS, TIMES

Picture = NDArray[np.uint8]  # [H, W, 3]
Lab = NDArray[np.float64]  # [..., 3]
REFERENCE = 64  # pixels: side of the drawings that a colour is compared with


def lab(pixels: NDArray[np.uint8]) -> Lab:
    """Convert RGB [N, 3] to CIE Lab."""
    return rgb2lab(pixels.reshape(-1, 1, 3) / 255.0)[:, 0]


def median_lab(picture: Picture, where: Mask) -> Lab:
    return np.median(lab(picture[where]), axis=0)


def palette_colour(colour: Lab) -> str:
    """Name the nearest colour of the palette."""
    table = {name: lab(np.array([rgb], np.uint8))[0] for name, rgb in scenes.COLOURS.items()}
    return min(table, key=lambda name: float(np.linalg.norm(table[name] - colour)))


def sky_colour(colour: Lab) -> str:
    """Name the time of day or the sky's colour whose upper sky is nearest."""
    base = scenes.SceneSpec.from_seed(0)
    table: dict[str, Lab] = {}
    for name in (*TIMES, *SKY_COLOURS):
        drawn = scenes.draw(0, height=64, width=64, spec=base.with_look("Sky", (name, "clear"))).image
        table[name] = np.median(lab(drawn[:8]), axis=0)
    return min(table, key=lambda name: float(np.linalg.norm(table[name] - colour)))


def worn_colour(
    picture: Picture, where: Mask, spec: SceneSpec, label: str, thing: int, look: tuple[str, ...]
) -> str:
    """Name the colour of a thing: that of the drawing of its scene whose median Lab is nearest.

    The scene is drawn with the thing in every colour, all else of the look as asked, so that night, glow and
    pattern do not mislead.
    """
    window = _around(where)
    found: dict[str, Lab] = {}
    for colour, *rest in sorted(scenes.looks(label), key=lambda option: option[1:] != look[1:]):
        if colour in found:  # the one with all else as asked came first
            continue
        dressed = spec.with_look(label, (colour, *rest))
        drawn = scenes.draw(0, height=REFERENCE, width=REFERENCE, window=window, spec=dressed)
        if thing in drawn.ids:
            found[colour] = median_lab(drawn.image, drawn.masks[drawn.ids.index(thing)])
    got = median_lab(picture, where)
    return min(found, key=lambda name: float(np.linalg.norm(found[name] - got)))


def _around(where: Mask) -> scenes.Window:
    """Give a square window around the mask in a square picture, as shares (y1, x1, y2, x2)."""
    box, side = bounding_box(where), where.shape[0]
    half = min(0.5, max(0.05, 0.55 * max(box.height, box.width) / side))
    y, x = ((a + b) / 2 / side for a, b in ((box.y1, box.y2), (box.x1, box.x2)))
    y, x = (min(max(middle, half), 1 - half) for middle in (y, x))
    return (y - half, x - half, y + half, x + half)


def changed_share(before: Picture, after: Picture, where: Mask, least: float = 5.0) -> float:
    """Give the share of pixels that changed visibly (CIEDE2000)."""
    return float((deltaE_ciede2000(lab(before[where]), lab(after[where])) > least).mean())


def seam(picture: Picture, mask: Mask) -> float:
    """Give the mean gradient at the mask's border (±2 px) over that at 4 to 8 px from it."""
    grey = picture.astype(np.float32).mean(-1)
    slope = np.hypot(*np.gradient(grey))
    away = np.asarray(distance_transform_edt(~mask)) + np.asarray(distance_transform_edt(mask))
    near, far = away <= 2, (away >= 4) & (away <= 8)
    return float((slope[near].mean() + 1e-3) / (slope[far].mean() + 1e-3)) if far.any() else 1.0


def detail(picture: Picture, mask: Mask) -> float:
    """Give the energy of the Laplacian inside the mask, 3 px from its border."""
    inner = np.asarray(distance_transform_edt(mask)) > 3
    if not inner.any():
        inner = mask
    return float(np.square(laplace(picture.astype(np.float32).mean(-1)))[inner].mean()) + 1e-3


def overlap(a: Mask, b: Mask) -> float:
    """Give the intersection over the union."""
    return float((a & b).sum() / max(1, (a | b).sum()))
