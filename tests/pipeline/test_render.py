"""Numbered outlines: seen on any picture, at any size."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.domain import Box, Detection
from pipeline.render import outline_colour, outlined


def read(png: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image)  # uint8 [H, W, 3]


def write(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def disc(height: int, width: int, y: float, x: float, radius: float) -> Detection:
    rows, columns = np.mgrid[:height, :width]
    mask = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
    assert mask.any()
    inside = [np.flatnonzero(mask.any(axis)) for axis in (1, 0)]
    box = Box(int(inside[0][0]), int(inside[1][0]), int(inside[0][-1]) + 1, int(inside[1][-1]) + 1)
    return Detection("Hat", 0.9, box, mask)


@pytest.mark.parametrize("background", ["black", "white", "noise"])
@pytest.mark.parametrize(("width", "height"), [(192, 192), (340, 192), (1280, 720), (2048, 1152)])
def test_every_object_has_its_outline_and_number(width: int, height: int, background: str) -> None:
    pixels = np.full((height, width, 3), 255 if background == "white" else 0, np.uint8)
    if background == "noise":
        pixels = np.random.default_rng(1).integers(0, 256, pixels.shape, np.uint8)
    spots = [(0.5, 0.5, 0.3), (0.3, 0.1, 0.06), (0.9, 0.95, 0.2), (0.5, 0.5, 0.05)]
    found = [disc(height, width, y * height, x * width, r * height) for y, x, r in spots]
    before = write(pixels)
    drawn = read(outlined(before, found))
    factor = drawn.shape[0] // height
    assert drawn.shape == (height * factor, width * factor, 3)
    assert max(drawn.shape) >= 512
    assert factor == 1 or max(height, width) < 512
    line = max(drawn.shape) / 320
    for number, detection in enumerate(found, start=1):
        mask = detection.mask.repeat(factor, 0).repeat(factor, 1)
        coloured = (drawn == outline_colour(number)).all(-1)
        rim = np.abs(np.diff(mask.astype(np.int8), axis=0)).sum()
        assert coloured.sum() > 0.5 * line * rim, "an outline of some width, and a tag"
        assert (coloured & ~mask).sum() > 0
    unlike = (drawn == read(outlined(before, []))).all(-1)
    assert 0.75 < unlike.mean() < 1, "most of the picture stays as it is"


def test_tags_do_not_hide_each_other() -> None:
    """Six small objects in a heap: each number's own colour is still a whole tag."""
    found = [disc(192, 192, 90 + 6 * (n // 3), 90 + 6 * (n % 3), 4) for n in range(6)]
    drawn = read(outlined(write(np.zeros((192, 192, 3), np.uint8)), found))
    for number in range(1, 7):
        assert (drawn == outline_colour(number)).all(-1).sum() > 100


def test_colours_are_distinct() -> None:
    colours = [outline_colour(number) for number in range(1, 25)]
    assert len(set(colours)) == 24
    for number, one in enumerate(colours):
        for other in colours[:number]:
            assert np.abs(np.subtract(one, other)).sum() > 20


def test_nothing_found_and_an_empty_mask() -> None:
    png = write(np.full((600, 800, 3), 9, np.uint8))
    empty = Detection("Hat", 0.9, Box(0, 0, 0, 0), np.zeros((600, 800), np.bool_))
    whole = Detection("Sky", 0.9, Box(0, 0, 600, 800), np.ones((600, 800), np.bool_))
    assert np.array_equal(read(outlined(png, [])), read(png))
    assert np.array_equal(read(outlined(png, [empty])), read(png))
    drawn = read(outlined(png, [whole]))
    assert tuple(drawn[300, 1]) == outline_colour(1), "what fills the picture is outlined at its edge"
