"""Training pictures, drawn once into shards on disk and their latents cached beside them."""

import json
import multiprocessing
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

import scenes
from scenes import Scene
from scenes.datasets import write_coco_truth
from scenes.palette import NOUNS

from .config import NATIVE

WIDE = (144, 256)  # height, width
GREY = 128  # what a repainted pixel holds in the known picture: about 0 in -1..1
HELD_OUT = 1 << 40  # seeds from here on are never trained on


@dataclass(frozen=True, slots=True)
class Kind:
    """One sort of training example; all of a kind have one size."""

    name: str
    height: int
    width: int
    inpaint: bool


KINDS: tuple[Kind, ...] = (
    Kind("scene-square", NATIVE, NATIVE, False),
    Kind("inpaint-square", NATIVE, NATIVE, True),
    Kind("scene-wide", *WIDE, False),
    Kind("inpaint-wide", *WIDE, True),
)


@dataclass(frozen=True, slots=True)
class Example:
    """A picture to learn; `mask` is what is to be repainted and `known` what may be seen of it."""

    image: NDArray[np.uint8]  # [H, W, 3]
    known: NDArray[np.uint8]  # [H, W, 3], grey where mask
    mask: NDArray[np.bool_]  # [H, W], True = repaint
    tags: tuple[
        str, ...
    ]  # what the text says: a scene's prompt split at commas, or one thing's look and noun
    label: str  # class of the thing that is repainted; empty for a whole scene
    shape: NDArray[np.bool_]  # [H, W] the visible part of that thing, within the mask or nearly so
    spec: scenes.SceneSpec  # of the picture as it is to become
    window: scenes.Window


def draw_scene(seed: int, height: int, width: int) -> Example:
    """Draw a whole scene with its prompt; everything is to be painted."""
    scene = scenes.draw(seed, height=height, width=width)
    return Example(
        image=scene.image,
        known=np.full_like(scene.image, GREY),
        mask=np.ones((height, width), np.bool_),
        tags=tuple(scene.prompt.split(", ")),
        label="",
        shape=np.ones((height, width), np.bool_),
        spec=scene.spec,
        window=(0.0, 0.0, 1.0, 1.0),
    )


def draw_inpaint(seed: int, height: int, width: int, *, recolour: float = 0.55) -> Example:
    """Draw a window around one thing of a scene, that thing to be repainted.

    With the chance `recolour` the thing wears another look inside the mask than around it: its rest, its
    twin and the scene then say nothing about what is asked, and only the text does.
    """
    rng = np.random.Generator(np.random.PCG64([seed, 77]))
    whole = scenes.draw(seed, height=height, width=width)
    index = _choose(whole, rng)
    label, thing = whole.labels[index], whole.ids[index]
    window = _window(tuple(int(v) for v in whole.boxes[index]), height, width, rng)
    before = scenes.draw(seed, height=height, width=width, window=window, spec=whole.spec)
    if thing not in before.ids:
        return draw_inpaint(seed + (1 << 34), height, width, recolour=recolour)
    after, spec = before, whole.spec
    celestial = label == "Lightsource" and len(before.tags[before.ids.index(thing)]) == 1
    if rng.random() < recolour and not celestial:
        looks = scenes.looks(label)
        spec = whole.spec.with_look(label, looks[int(rng.integers(len(looks)))])
        after = scenes.draw(seed, height=height, width=width, window=window, spec=spec)
    if thing not in after.ids:
        after, spec = before, whole.spec
    position = before.ids.index(thing)
    shape = before.masks[position]
    if rng.random() < 0.12:
        twins = [i for i, name in enumerate(before.labels) if name == label]
        shape = np.logical_or.reduce(before.masks[twins])
    mask = _loosen(shape, rng)
    image = np.where(mask[..., None], after.image, before.image)
    known = np.where(mask[..., None], np.uint8(GREY), before.image)
    return Example(image, known, mask, after.tags[after.ids.index(thing)], label, shape, spec, window)


def _choose(scene: scenes.Scene, rng: np.random.Generator) -> int:
    """Pick a thing: every class that is there has the same chance, so that small things are not rare."""
    areas = scene.masks.sum((1, 2))
    usable = [i for i in range(len(areas)) if areas[i] >= 24] or list(range(len(areas)))
    names = sorted({scene.labels[i] for i in usable})
    name = names[int(rng.integers(len(names)))]
    fitting = [i for i in usable if scene.labels[i] == name]
    return fitting[int(rng.integers(len(fitting)))]


def _window(box: Sequence[int], height: int, width: int, rng: np.random.Generator) -> scenes.Window:
    """Choose a window of the picture's shape around a box: (y1, x1, y2, x2) as shares."""
    tall, broad = (box[2] - box[0]) / height, (box[3] - box[1]) / width
    side = float(np.clip(max(tall, broad) * rng.uniform(1.15, 3.2), 0.25, 1.0))
    if rng.random() < 0.12:
        side = 1.0
    middle = ((box[0] + box[2]) / 2 / height, (box[1] + box[3]) / 2 / width)
    start = [float(np.clip(m + side * (rng.uniform(-0.12, 0.12) - 0.5), 0.0, 1.0 - side)) for m in middle]
    return (start[0], start[1], start[0] + side, start[1] + side)


def _loosen(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Make a drawn mask as inexact as a detected one: grown, a little shrunk, or its whole box."""
    chance = rng.random()
    if chance < 0.1:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        loose = np.zeros_like(mask)
        loose[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        return loose
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    if chance < 0.2:
        small = np.asarray(picture.filter(ImageFilter.MinFilter(3))) > 127
        return small if small.any() else mask
    radius = rng.uniform(0.5, 7.0)
    grown = np.asarray(picture.filter(ImageFilter.GaussianBlur(radius))) > rng.integers(12, 110)
    return grown | mask


def draw_labelled(seed: int, scale: int) -> Scene:
    """Draw a scene with its masks at `scale` times the model's size: three square ones for each wide one."""
    rng = np.random.Generator(np.random.PCG64([seed, 83]))
    height, width = WIDE if rng.random() < 0.25 else (NATIVE, NATIVE)
    return scenes.draw(seed, height=height * scale, width=width * scale)


def labelled_name(seed: int) -> str:
    """Name the file of a labelled scene's picture."""
    return f"painted-{seed}.png"


def other_look(label: str, rng: np.random.Generator) -> tuple[str, ...]:
    """Choose a look of a class, as tags with the noun last."""
    looks = scenes.looks(label)
    return (*looks[int(rng.integers(len(looks)))], NOUNS[label])


def write_truth(folder: Path, seeds: Sequence[int], scale: int) -> Path:
    """Write annotations.json (COCO) of the scenes whose pictures lie in `folder`/images."""
    drawn = ((labelled_name(seed), draw_labelled(seed, scale)) for seed in seeds)
    return write_coco_truth(folder, drawn)


@dataclass(frozen=True, slots=True)
class Shard:
    """A folder with one kind's examples; arrays are opened without reading them into memory."""

    folder: Path

    def images(self) -> NDArray[np.uint8]:
        """Open the pictures [N, H, W, 3]."""
        return np.load(self.folder / "images.npy", mmap_mode="r")

    def known(self) -> NDArray[np.uint8]:
        """Open what is seen of them [N, H, W, 3]; only of inpainting shards."""
        return np.load(self.folder / "known.npy", mmap_mode="r")

    def masks(self) -> NDArray[np.bool_]:
        """Open the masks [N, H, W]; only of inpainting shards."""
        return np.load(self.folder / "masks.npy", mmap_mode="r")

    def tags(self) -> list[tuple[str, ...]]:
        """Read the texts [N]."""
        return [tuple(tags) for tags in json.loads((self.folder / "tags.json").read_text("utf-8"))]


def shards(cache: Path, kind: Kind) -> list[Shard]:
    """List a kind's finished shards, in order."""
    return [Shard(path) for path in sorted(cache.glob(f"{kind.name}-[0-9]*")) if path.is_dir()]


def draw_shard(cache: Path, kind: Kind, number: int, count: int) -> Path:
    """Draw one shard and put it in place whole; an existing one is left as it is."""
    folder = cache / f"{kind.name}-{number:04d}"
    if folder.exists():
        return folder
    first = (KINDS.index(kind) << 32) + number * count
    draw = draw_inpaint if kind.inpaint else draw_scene
    examples = [draw(first + index, kind.height, kind.width) for index in range(count)]
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    np.save(part / "images.npy", np.stack([e.image for e in examples]))
    if kind.inpaint:
        np.save(part / "known.npy", np.stack([e.known for e in examples]))
        np.save(part / "masks.npy", np.stack([e.mask for e in examples]))
    (part / "tags.json").write_text(json.dumps([e.tags for e in examples]), "utf-8")
    part.rename(folder)
    return folder


def draw_shards(cache: Path, wanted: Sequence[tuple[Kind, int]], count: int, workers: int) -> Iterator[Path]:
    """Draw (kind, number) shards in worker processes, giving each folder as it is done."""
    cache.mkdir(parents=True, exist_ok=True)
    jobs = [(cache, kind, number, count) for kind, number in wanted]
    if workers <= 1:
        yield from (draw_shard(*job) for job in jobs)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap_unordered(_draw_shard, jobs)


def _draw_shard(job: tuple[Path, Kind, int, int]) -> Path:
    return draw_shard(*job)
