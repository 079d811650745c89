"""The drawn tree: every step is on it once, in as many pictures as it takes."""

import io
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline import provenance, tree
from pipeline.domain import Step, StepKind, StepState

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def step(number: int, parent: int | None, state: StepState = StepState.DONE) -> Step:
    kind = StepKind.RECURSE if parent else StepKind.GENERATE
    return Step(number, 1, parent, kind, state, 0, 1, "", "", f"o{number}", 1, "", "", "", (), "", NOW, NOW)


def node(number: int, parent: int | None, colour: tuple[int, int, int] = (200, 30, 30)) -> tree.Node:
    png = provenance.encode(np.full((40, 60, 3), colour, np.uint8))
    return tree.Node(step(number, parent), tree.shrunk(png), ((1, "Hat"), (2, "Bag")))


def pages(nodes, **more) -> list[np.ndarray]:
    opened = [Image.open(io.BytesIO(page)) for page in tree.draw(nodes, **more)]
    assert all(max(image.size) < 4000 for image in opened)
    return [np.asarray(image.convert("RGB")).astype(int) for image in opened]


def cards(page: np.ndarray, colour=(200, 30, 30)) -> int:
    """Count the thumbnails of a colour."""
    from skimage.measure import label

    near = np.abs(page - np.array(colour)).sum(axis=2) < 40
    found: Any = label(near)
    return sum(int((found == number).sum() > 10_000) for number in range(1, int(found.max()) + 1))


TREES = {
    "one": {1: None},
    "chain": {n: n - 1 or None for n in range(1, 14)},
    "star": {1: None} | dict.fromkeys(range(2, 12), 1),
    "comb": {1: None} | {n: n - 1 if n % 2 else max(1, n - 2) for n in range(2, 16)},
    "forest": {1: None, 2: 1, 3: None, 4: 3},
}


@pytest.mark.parametrize("shape", TREES)
def test_every_step_is_drawn_once(shape):
    nodes = [node(number, parent) for number, parent in TREES[shape].items()]
    assert sum(cards(page) for page in pages(nodes)) == len(nodes)


def test_the_current_one_is_marked():
    def marked(page: np.ndarray) -> int:
        return int((np.abs(page - np.array((255, 183, 3))).sum(axis=2) < 30).sum())

    nodes = [node(1, None), node(2, 1)]
    (plain,), (first,), (second,) = pages(nodes), pages(nodes, current=1), pages(nodes, current=2)
    assert marked(plain) < 100 < 3000 < marked(first)
    middle = first.shape[1] // 2
    assert marked(first[:, :middle]) > 3000 > 100 > marked(first[:, middle:])
    assert marked(second[:, middle:]) > 3000


@pytest.mark.parametrize("state", list(StepState))
def test_steps_without_a_picture_are_drawn_too(state):
    (page,) = pages([node(1, None), tree.Node(step(2, 1, state), None)])
    assert cards(page) == 1
    assert page.shape[1] > 2 * 228


def test_branches_have_colours_of_their_own():
    nodes = [node(1, None), node(2, 1), node(3, 1), node(4, 1)]
    (page,) = pages(nodes)
    for colour in ((0x7C, 0x6F, 0xD9), (0x2A, 0x9D, 0x8F), (0xE0, 0x7A, 0x5F)):
        assert (np.abs(page - np.array(colour)).sum(axis=2) < 30).sum() > 1000


def test_a_hundred_steps_make_several_pictures_of_bounded_size():
    nodes = [node(n, None if n == 1 else max(1, n - 1 - n % 3)) for n in range(1, 101)]
    drawn = pages(nodes)
    assert len(drawn) > 1
    assert all(page.shape[1] <= 5 * 228 + 4 * 56 + 2 * 36 for page in drawn)


def test_no_steps_no_picture():
    assert list(tree.draw([])) == []
