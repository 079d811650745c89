"""Mask geometry: what may change, what must not, and that small objects survive."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.domain import Box
from pipeline.masks import bounding_box, cut, follow_edges, paste, plan_patch

PLAN: dict[str, Any] = {"grow": 0.06, "blur": 0.08, "padding": 0.5}


def disc(height: int, width: int, y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.ogrid[:height, :width]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(16, 300),
    width=st.integers(16, 300),
    y=st.floats(0, 1),
    x=st.floats(0, 1),
    radius=st.floats(0.8, 400),
    native=st.sampled_from([64, 192, 512]),
    grow=st.floats(0, 1),
    blur=st.floats(0, 1),
    padding=st.floats(0, 4),
)
def test_no_pixel_outside_the_feathered_mask_changes(
    height, width, y, x, radius, native, grow, blur, padding
):
    mask = disc(height, width, y * (height - 1), x * (width - 1), radius)
    mask[round(y * (height - 1)), round(x * (width - 1))] = True
    patch = plan_patch(mask, grow=grow, blur=blur, padding=padding, native_size=native, multiple=8)
    box = patch.window
    assert 0 <= box.y1 < box.y2 <= height
    assert 0 <= box.x1 < box.x2 <= width
    assert patch.width % 8 == 0
    assert patch.height % 8 == 0
    picture = noise(height, width)
    crop, crop_mask = cut(picture, patch)
    assert crop.shape == (patch.height, patch.width, 3)
    assert crop_mask.shape == (patch.height, patch.width)
    result = paste(picture, patch, noise(patch.height, patch.width, 1))
    alpha = np.zeros((height, width), np.float32)
    alpha[box.y1 : box.y2, box.x1 : box.x2] = patch.alpha
    changed = (result != picture).any(axis=2)
    assert not (changed & (alpha == 0)).any()
    assert (alpha[mask] == 1).all(), "the object itself is wholly repainted"


@pytest.mark.parametrize("native", [192, 512, 1024])
def test_a_disc_of_radius_8_in_a_wide_picture_keeps_latent_cells(native):
    mask = disc(720, 1280, 300, 900, 8)
    patch = plan_patch(mask, native_size=native, multiple=8, **PLAN)
    _, crop_mask = cut(noise(720, 1280), patch)
    # A server shrinks the mask to cells of 8 px and rounds: half of a cell must be masked for it to count.
    cells = crop_mask.reshape(patch.height // 8, 8, patch.width // 8, 8).mean(axis=(1, 3)) >= 0.5
    assert cells.sum() >= 20
    picture = noise(720, 1280)
    result = paste(picture, patch, np.zeros((patch.height, patch.width, 3), np.uint8))
    assert (result[mask] == 0).all()


def test_feather_falls_evenly_from_the_mask_outwards():
    mask = disc(200, 200, 100, 100, 40)
    patch = plan_patch(mask, grow=0.0, blur=0.2, padding=0.5, native_size=192, multiple=8)
    row = patch.alpha[100 - patch.window.y1]
    falling = row[100 - patch.window.x1 + 40 :]
    assert falling[0] == 1
    assert (np.diff(falling) <= 0).all()
    assert ((falling > 0) & (falling < 1)).sum() > 5


def test_the_rim_of_a_large_object_stays_narrow():
    sky = np.zeros((768, 768), np.bool_)
    sky[:400] = True
    patch = plan_patch(sky, native_size=192, multiple=8, **PLAN)
    reached = np.flatnonzero(patch.alpha.any(1))[-1] + patch.window.y1
    assert 400 < reached < 416, "what stands before the sky is not painted over"


def test_window_is_square_inside_the_picture_and_shows_surroundings():
    mask = disc(720, 1280, 5, 1275, 20)
    patch = plan_patch(mask, native_size=512, multiple=8, **PLAN)
    assert patch.window.height == patch.window.width
    assert patch.window.y1 == 0
    assert patch.window.x2 == 1280
    assert (patch.width, patch.height) == (512, 512)


def test_a_mask_of_the_whole_picture_takes_the_whole_picture():
    mask = np.ones((144, 256), np.bool_)
    patch = plan_patch(mask, native_size=192, multiple=8, **PLAN)
    assert patch.window == Box(0, 0, 144, 256)
    assert patch.width * patch.height == pytest.approx(192 * 192, rel=0.1)
    assert (paste(noise(144, 256), patch, np.zeros((patch.height, patch.width, 3), np.uint8)) == 0).all()


def test_an_empty_mask_is_refused():
    with pytest.raises(ValueError, match="empty"):
        plan_patch(np.zeros((8, 8), np.bool_), native_size=192, multiple=8, **PLAN)


def test_bounding_box_is_half_open():
    mask = np.zeros((10, 10), np.bool_)
    mask[2:5, 3:9] = True
    assert bounding_box(mask) == Box(2, 3, 5, 9)


def coarse(mask: np.ndarray) -> np.ndarray:
    """Make a mask as a detector does: 28 cells over its box."""
    box = bounding_box(mask)
    part = Image.fromarray(mask[box.y1 : box.y2, box.x1 : box.x2].astype(np.uint8) * 255)
    cells = part.resize((28, 28), Image.Resampling.BOX)
    out = np.zeros_like(mask)
    out[box.y1 : box.y2, box.x1 : box.x2] = (
        np.asarray(cells.resize(part.size, Image.Resampling.BILINEAR)) > 100
    )
    return out


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize("side", [96, 400, 900])
def test_a_detected_mask_is_moved_to_the_edges_of_the_picture(side):
    sky = np.zeros((side, side), np.bool_)
    sky[: side // 2] = True
    sky &= ~disc(side, side, side * 0.4, side * 0.5, side * 0.13)  # a head before the sky
    picture = np.where(sky[..., None], (120, 180, 240), (200, 150, 120)).astype(np.uint8)
    rng = np.random.default_rng(0)
    picture = np.clip(picture + rng.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)
    before = coarse(sky)
    after = follow_edges(picture, before)
    assert overlap(after, sky) > 0.98
    assert overlap(after, sky) > overlap(before, sky)


def test_where_the_picture_has_no_edges_a_mask_stays():
    mask = disc(120, 160, 60, 80, 30)
    plain = np.full((120, 160, 3), 90, np.uint8)
    assert overlap(follow_edges(plain, mask), mask) > 0.95
    assert follow_edges(noise(120, 160), mask).shape == mask.shape
    dot = np.zeros((40, 40), np.bool_)
    dot[20, 20] = True
    assert follow_edges(plain[:40, :40], dot).any(), "an object is never lost"
    assert not follow_edges(plain, np.zeros((120, 160), np.bool_)).any()
