from dataclasses import replace

import numpy as np
import pytest

import scenes
from scenes.palette import COLOURS, PATTERNS, accent
from scenes.spec import SceneSpec


def first_with(label: str, start: int = 0) -> scenes.Scene:
    for seed in range(start, start + 200):
        scene = scenes.draw(seed, height=96, width=96)
        if label in scene.labels:
            return scene
    raise AssertionError(f"no {label} in 200 scenes")


def test_same_seed_same_bytes() -> None:
    one, two = scenes.draw(5), scenes.draw(5)
    assert one.image.tobytes() == two.image.tobytes()
    assert one.masks.tobytes() == two.masks.tobytes()
    assert (one.prompt, one.tags, one.labels) == (two.prompt, two.tags, two.labels)
    assert one.image.tobytes() != scenes.draw(6).image.tobytes()


@pytest.mark.parametrize(("height", "width"), [(192, 192), (144, 256), (768, 768), (97, 131)])
def test_shapes_agree(height: int, width: int) -> None:
    scene = scenes.draw(11, height=height, width=width)
    count = len(scene.labels)
    assert scene.image.shape == (height, width, 3)
    assert scene.image.dtype == np.uint8
    assert scene.masks.shape == (count, height, width)
    assert scene.masks.dtype == np.bool_
    assert scene.boxes.shape == (count, 4)
    assert len(scene.tags) == len(scene.ids) == count > 0
    assert set(scene.labels) <= set(scenes.CLASSES)
    for mask, (y1, x1, y2, x2) in zip(scene.masks, scene.boxes, strict=True):
        assert mask[y1:y2, x1:x2].sum() == mask.sum() > 0
        assert mask[y1].any()
        assert mask[:, x2 - 1].any()


def test_masks_are_what_is_seen() -> None:
    """Recolouring a thing changes pixels inside its mask, and almost none elsewhere."""
    for label in ("Jacket", "Skirt", "Cars", "Bag", "Hat", "Buildings", "BodyofWater", "Shoe"):
        scene = first_with(label)
        spec = scene.spec
        red = scenes.draw(0, height=96, width=96, spec=spec.with_look(label, ("red", "plain"))).image.astype(
            int
        )
        blue = scenes.draw(
            0, height=96, width=96, spec=spec.with_look(label, ("blue", "plain"))
        ).image.astype(int)
        changed = np.abs(red - blue).max(-1) > 60
        mask = scene.masks[[name == label for name in scene.labels]].any(0)
        assert changed.any(), label
        # Half-covered pixels at an outline are on either side.
        grown = np.zeros_like(mask)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                grown |= np.roll(mask, (dy, dx), (0, 1))
        assert not (changed & ~grown).any(), label
        assert changed[mask].mean() > 0.3, label


def test_nearer_things_hide_farther_ones() -> None:
    spec = SceneSpec.from_seed(3)
    scene = next(s for s in (scenes.draw(n) for n in range(60)) if "Jacket" in s.labels and "Sky" in s.labels)
    jacket = scene.masks[scene.labels.index("Jacket")]
    for label, mask in zip(scene.labels, scene.masks, strict=True):
        if label in ("Sky", "Buildings", "Cars", "Alleyshops", "Residentialcomplex", "BodyofWater"):
            assert not (mask & jacket).any(), label
    assert spec == SceneSpec.from_seed(3)


def test_shelves_and_windows_lie_in_their_buildings() -> None:
    for label, homes in (("Shelfs", {"Alleyshops"}), ("Brightwindow", {"Buildings", "Residentialcomplex"})):
        scene = first_with(label)
        outside = scene.masks[[name in homes for name in scene.labels]].any(0)
        part = scene.masks[scene.labels.index(label)]
        assert (part & ~outside).sum() == 0


def test_a_window_is_the_same_scene_enlarged() -> None:
    spec = SceneSpec.from_seed(21)
    whole = scenes.draw(21, height=384, width=384, spec=spec)
    part = scenes.draw(21, height=192, width=192, window=(0.25, 0.5, 0.75, 1.0), spec=spec)
    cut = whole.image[96:288, 192:384].astype(int)
    assert np.abs(cut - part.image).mean() < 3
    number = next(i for i in part.ids if i in whole.ids and part.masks[part.ids.index(i)].sum() > 2000)
    a = whole.masks[whole.ids.index(number)][96:288, 192:384]
    b = part.masks[part.ids.index(number)]
    assert (a & b).sum() / (a | b).sum() > 0.95


def test_every_look_occurs_and_is_visible() -> None:
    """Each colour and pattern of each class can be asked for, is tagged so, and looks unlike the others."""
    for label in scenes.CLASSES:
        scene = first_with(label)
        if label == "Lightsource":
            scene = next(
                s for n in range(200) if (s := scenes.draw(n, height=96, width=96)).spec.lamp_x is not None
            )
        pictures: set[bytes] = set()
        looks = scenes.looks(label)
        for look in looks:
            drawn = scenes.draw(0, height=96, width=96, spec=scene.spec.with_look(label, look))
            tags = {drawn.tags[i][:-1] for i in range(len(drawn.labels)) if drawn.labels[i] == label}
            assert look in tags, (label, look)
            pictures.add(drawn.image.tobytes())
        assert len(pictures) == len(looks), label


def test_random_scenes_hold_every_class_colour_and_pattern() -> None:
    seen = {(label, tag) for seed in range(400) for scene in [scenes.draw(seed, height=48, width=48)]
            for label, tags in zip(scene.labels, scene.tags, strict=True) for tag in tags}  # fmt: skip
    wanted = {(label, tag) for label in scenes.CLASSES for look in scenes.looks(label) for tag in look}
    assert wanted - seen == set()


def test_colours_stay_apart() -> None:
    values = np.array(list(COLOURS.values()), float)
    distances = np.linalg.norm(values[:, None] - values[None], axis=-1) + 999 * np.eye(len(values))
    assert distances.min() > 40
    assert all(np.linalg.norm(np.subtract(accent(c), c)) > 40 for c in COLOURS.values())
    assert len(PATTERNS) == 5


def test_bad_windows_and_specs_are_refused() -> None:
    with pytest.raises(ValueError, match="empty window"):
        scenes.draw(0, window=(0.5, 0.5, 0.5, 1.0))
    with pytest.raises(ValueError, match="aspect"):
        scenes.draw(0, height=144, width=256, spec=SceneSpec.from_seed(0, 1.0))
    with pytest.raises(KeyError):
        scenes.looks("Tree")


def test_prompt_names_what_is_there() -> None:
    scene = next(s for n in range(50) if len((s := scenes.draw(n, height=48, width=48)).spec.people) == 1)
    assert scene.prompt.startswith(f"1{scene.spec.people[0].kind}")
    empty = scenes.draw(1, height=48, width=48, spec=replace(scene.spec, people=()))
    assert "no people" in empty.prompt
