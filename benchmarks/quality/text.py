"""Text to image: is there what the prompt asks for, in the colours that it asks for?"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

import scenes
from scenes.palette import NOUNS, SKY_COLOURS, TIMES

from .figures import Figure, Record, measure, share
from .judges import median_lab, palette_colour, sky_colour
from .studio import LARGE, SMALL, TEXT_SEEDS, Files, open_studio

_GARMENTS = ("Dress", "Jacket", "Shirt")
_BLOCKS = ("Buildings", "Residentialcomplex", "Alleyshops")


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt, and what a picture of it must show."""

    prompt: str
    sky: str
    garment: str
    colour: str
    classes: tuple[str, ...]


def ask(number: int) -> Asked:
    """Word a prompt as a member does who names most of what the picture is to show.

    Shelves and windows are not asked for: no scene's prompt names them.
    """
    rng = np.random.default_rng([number, 41])

    def coloured(label: str) -> str:
        return f"{rng.choice(list(scenes.COLOURS))} {NOUNS[label]}"

    garment, colour = _GARMENTS[number % 3], str(rng.choice(list(scenes.COLOURS)))
    sky = str(rng.choice(list(TIMES) if number % 4 else list(SKY_COLOURS)))
    classes = ["Sky", garment]
    if garment != "Dress":
        classes.append("Skirt")
    classes += [label for label in ("Hat", "Bag", "Shoe") if rng.random() < 0.6]
    classes += [str(label) for label in rng.choice(_BLOCKS, 2, replace=False)]
    classes.append("Cars" if rng.random() < 0.6 else "BodyofWater")
    if rng.random() < 0.45:
        classes.append("Lightsource")
    words = ["1girl", "full body", "city background", f"{colour} {NOUNS[garment]}"]
    words += [coloured(label) for label in classes if label not in ("Sky", garment, "Lightsource")]
    words += ["yellow light"] if "Lightsource" in classes else []
    return Asked(", ".join([*words, f"{sky} sky"]), sky, garment, colour, tuple(classes))


def run(files: Files, folder: Path, cases: int, workers: int) -> list[Record]:
    """Paint three prompts a case: every garment, and most classes, are then asked for that often."""
    keys = [str(number) for number in range(3 * cases)]
    return measure(folder / "text.jsonl", keys, partial(judge, files), workers, "text to image")


def judge(files: Files, key: str) -> Record:
    """Paint and judge one prompt."""
    studio, asked = open_studio(files), ask(int(key))
    picture = studio.paint(asked.prompt, (TEXT_SEEDS + int(key)) % 2**32)
    found = [*studio.find(picture, "Sky"), *studio.find(picture, "Hat")]
    height, width = picture.shape[:2]
    top = np.zeros((height, width), np.bool_)
    top[: height // 8] = True
    sky = np.logical_or.reduce([top & d.mask for d in found if d.label == "Sky"] or [top])
    worn = [d for d in found if d.label == asked.garment]
    if worn:
        place = max(worn, key=lambda d: d.mask.sum()).mask
    else:  # where the trunk of a figure stands in most scenes
        place = np.zeros((height, width), np.bool_)
        place[int(0.44 * height) : int(0.6 * height), int(0.42 * width) : int(0.58 * width)] = True
    return {
        "key": key,
        "prompt": asked.prompt,
        "sky": sky_colour(median_lab(picture, sky if sky.any() else top)) == asked.sky,
        "timed": asked.sky in TIMES,
        "garment": palette_colour(median_lab(picture, place)) == asked.colour,
        "classes": {label: any(d.label == label for d in found) for label in asked.classes},
    }


def figures(records: list[Record]) -> list[Figure]:
    """Sum up."""
    out = [
        share("sky as asked", [r["sky"] for r in records], (0.95, 1.0)),
        share("sky: a time of day", [r["sky"] for r in records if r["timed"]]),
        share("sky: a colour", [r["sky"] for r in records if not r["timed"]]),
        share("garment's colour", [r["garment"] for r in records], (0.95, 1.0)),
    ]
    for name, labels, target in (("large", LARGE, 0.85), ("small", SMALL, 0.7)):
        there = [found for r in records for label, found in r["classes"].items() if label in labels]
        out.append(share(f"{name} classes there", there, (target, 1.0)))
        for label in labels:
            seen = [r["classes"][label] for r in records if label in r["classes"]]
            if seen:
                out.append(share(f"  {label}", seen, (target, 1.0)))
    return out
