"""Repainting one object: what changes, what stays, and is it what was asked for?

A case is a held-out drawn scene that the model painted over at 192 pixels (image to image, strength 0.45: its
look is the model's, its things are where they were drawn), enlarged to the product's 768. The mask is the
drawn one of one thing; a look of another colour is asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

import scenes
from pipeline.domain import Mask
from scenes import PATTERNS, Scene

from .figures import BUCKETS, Figure, Record, bucket, mean, measure, share
from .judges import changed_share, detail, median_lab, overlap, palette_colour, seam, worn_colour
from .patterns import open_judge, pattern, train
from .studio import INPAINT_SEEDS, SIDE, Files, Picture, Studio, open_studio

OURS = "ours"
METHODS = (OURS, "no edit", "whole picture", "random tags", "seed project")
_NATIVE = 192
_SMALLEST = 24 * (SIDE // _NATIVE) ** 2  # pixels of a mask at the product's size


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A picture, the thing to repaint in it, and the look asked for (and another one, for the baseline)."""

    picture: Picture
    scene: Scene  # as drawn, at the picture's size
    index: int
    look: tuple[str, ...]
    other: tuple[str, ...]
    seed: int

    @property
    def mask(self) -> Mask:
        return self.scene.masks[self.index]

    @property
    def label(self) -> str:
        return self.scene.labels[self.index]


def run(files: Files, folder: Path, cases: int, baselines: int, workers: int) -> tuple[list[Record], float]:
    """Measure every class, its first cases with the baselines; give the pattern judge's accuracy too."""
    judge_file = folder / "pattern.weights.h5"
    accuracy = train(open_studio(files).model, judge_file)
    open_judge.cache_clear()
    jobs = [
        f"{label} {number} {method}"
        for number in range(cases)
        for label in scenes.CLASSES
        for method in (METHODS if number < baselines else METHODS[:1])
    ]
    work = partial(judge, files, judge_file)
    return measure(folder / "inpaint.jsonl", jobs, work, workers, "inpainting"), accuracy


def make_case(studio: Studio, label: str, number: int) -> Case:
    """Find the scene, and paint it over."""
    seed = INPAINT_SEEDS + scenes.CLASSES.index(label) * 40_000 + number * 400
    while True:
        rng = np.random.default_rng([seed, 43])
        if label in scenes.draw(seed, height=48, width=48).labels:
            scene = scenes.draw(seed, height=SIDE, width=SIDE)
            fit = [
                i
                for i, name in enumerate(scene.labels)  # sun and moon have no look
                if name == label and len(scene.tags[i]) > 1 and scene.masks[i].sum() >= _SMALLEST
            ]
            if label == "Lightsource":
                fit = [i for i in fit if scene.tags[i][-1] == "light"]
            if fit:
                break
        seed += 1
    index = int(rng.choice(fit))
    now = scene.tags[index]
    looks: list[tuple[str, ...]] = [look for look in scenes.looks(label) if look[:1] != now[:1]]
    first, second = (looks[int(i)] for i in rng.choice(len(looks), 2, replace=False))
    small = np.asarray(Image.fromarray(scene.image).resize((_NATIVE, _NATIVE), Image.Resampling.BOX))
    state = studio.model.start_image(
        small, scene.prompt, seed=seed, steps=9, guidance=studio.params.guidance, strength=0.45
    )
    painted = Image.fromarray(studio.model.decode(studio.model.advance(state, 9)))
    picture = np.array(painted.resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    return Case(picture, scene, index, first, second, seed)


def repaint(studio: Studio, case: Case, method: str) -> Picture:
    """Repaint a case in one of the ways."""
    words, seed = ", ".join((*case.look, case.label)), case.seed % 2**32
    if method == OURS:
        return studio.repaint(case.picture, case.mask, words, seed)
    if method == "whole picture":
        return studio.repaint_whole(case.picture, words, seed)
    if method == "random tags":
        return studio.repaint(case.picture, case.mask, ", ".join((*case.other, case.label)), seed)
    if method == "seed project":
        return studio.repaint_as_the_seed(case.picture, case.mask, words, seed)
    return case.picture


def judge(files: Files, judge_file: Path, key: str) -> Record:
    """Repaint and judge one case."""
    label, number, method = key.split(" ", 2)
    studio = open_studio(files)
    case = make_case(studio, label, int(number))
    before, mask, scene = case.picture, case.mask, case.scene
    after = repaint(studio, case, method)
    patch = studio.plan(mask)
    zone = np.zeros(mask.shape, np.bool_)
    box = patch.window
    zone[box.y1 : box.y2, box.x1 : box.x2] = patch.mask
    had_all = studio.find(before, label)
    had = [d for d in had_all if d.label == label]
    has = studio.find(after, label)
    same = [d for d in has if d.label == label]
    again = max(same, key=lambda d: overlap(d.mask, mask), default=None)
    found = again is not None and overlap(again.mask, mask) >= 0.5
    thing = again.mask & zone if found and again is not None else mask
    known = [(scene.labels[i], scene.masks[i]) for i in range(len(scene.labels))]
    known += [(d.label, d.mask) for d in had_all]
    new = [d for d in has if not any(d.label == n and overlap(d.mask, m) >= 0.3 for n, m in known)]
    colour = case.look[0]
    asked_pattern = case.look[1] if len(case.look) > 1 and case.look[1] in PATTERNS else None
    worn = worn_colour(after, thing, scene.spec, label, scene.ids[case.index], case.look)
    noisy = before + np.random.default_rng(case.seed).normal(0, 8, before.shape)
    detail_before, seam_before = detail(before, mask), seam(before, mask)
    return {
        "key": key,
        "label": label,
        "method": method,
        "area": int(mask.sum()),
        "outside": int((before != after).any(-1)[~zone].sum()),
        "effect": changed_share(before, after, mask),
        "colour": worn == colour,
        "pattern": None if asked_pattern is None else pattern(judge_file, after, thing) == asked_pattern,
        "neighbours": _neighbours(before, after, case, box.y1, box.x1, box.y2, box.x2),
        "seam": seam(after, mask) / seam_before,
        "detail": detail(after, mask) / detail_before,
        "detail_of_noise": detail(np.clip(noisy, 0, 255).astype(np.uint8), mask) / detail_before,
        "found": found,
        "found_before": any(overlap(d.mask, mask) >= 0.5 for d in had),
        "new": len(new),
    }


def _neighbours(
    before: Picture, after: Picture, case: Case, y1: int, x1: int, y2: int, x2: int
) -> list[bool]:
    """Say of each thing seen in the window whether its colour is what it was."""
    kept = []
    for index, mask in enumerate(case.scene.masks):
        inner = mask[y1:y2, x1:x2]
        # A window in the building that is repainted, or the building around a window, is no neighbour.
        if index == case.index or (mask & case.mask).any() or inner.sum() < 400:
            continue
        if case.scene.labels[index] == case.label and case.scene.tags[index] == case.scene.tags[case.index]:
            continue  # its twin, the other shoe
        kept.append(palette_colour(median_lab(before, mask)) == palette_colour(median_lab(after, mask)))
    return kept


def figures(records: Sequence[Record]) -> list[Figure]:
    """Sum up one method's records."""
    patterned = [r["pattern"] for r in records if r["pattern"] is not None]
    return [
        share("locality: nothing changed outside", [r["outside"] == 0 for r in records], (1.0, 1.0)),
        mean("edit effect: share of the mask with ΔE > 5", [r["effect"] for r in records]),
        share("asked colour", [r["colour"] for r in records], (0.85, 1.0)),
        share("asked pattern", patterned, (0.6, 1.0)),
        share("neighbours keep their colour", [kept for r in records for kept in r["neighbours"]]),
        mean("seam energy, after / before", [r["seam"] for r in records], (0.8, 1.25), ratios=True),
        mean("detail, after / before", [r["detail"] for r in records], ratios=True),
        mean("detail of added noise, after / before", [r["detail_of_noise"] for r in records], ratios=True),
        share("found again (IoU 0.5)", [r["found"] for r in records], (0.8, 1.0)),
        share("found before", [r["found_before"] for r in records]),
        mean("new detections a case", [r["new"] for r in records]),
    ]


def by_class(records: Sequence[Record]) -> dict[str, list[Figure]]:
    """Give colour, pattern and persistence of our way by class, least share of colours 0.7."""
    out = {}
    for label in scenes.CLASSES:
        mine = [r for r in records if r["label"] == label and r["method"] == OURS]
        patterned = [r["pattern"] for r in mine if r["pattern"] is not None]
        out[label] = [
            share("asked colour", [r["colour"] for r in mine], (0.7, 1.0)),
            share("asked pattern", patterned),
            share("found again", [r["found"] for r in mine]),
            share("found before", [r["found_before"] for r in mine]),
        ]
    return out


def by_bucket(records: Sequence[Record]) -> dict[str, list[Figure]]:
    """Give our way's figures by the mask's area in the picture of 768 pixels."""
    mine = [r for r in records if r["method"] == OURS]
    return {name: figures([r for r in mine if bucket(r["area"]) == name]) for name in BUCKETS}
