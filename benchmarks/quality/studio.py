"""The product's own way to paint, to find and to repaint, for one process."""

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ldm import LatentDiffusion
from ldm.data import HELD_OUT
from pipeline import masks
from pipeline.domain import Detection, GenerationRequest, InpaintRequest, Mask, PaintParams
from pipeline.generators.embedded import Embedded
from pipeline.segmentation import SegmentParams, segment_png, unpack
from pipeline.settings import Settings
from scenes import CLASSES

Picture = NDArray[np.uint8]  # [H, W, 3]
SIDE = 768  # pixels: what the product paints where nobody says otherwise
SMALL = ("Hat", "Bag", "Shoe", "Shelfs", "Lightsource", "Brightwindow")  # found by the weights of depth 1
LARGE = tuple(label for label in CLASSES if label not in SMALL)
TEXT_SEEDS, INPAINT_SEEDS, SCENE_SEEDS, SESSION_SEEDS = (HELD_OUT + (n << 20) for n in (1, 2, 3, 4))


@dataclass(frozen=True, slots=True)
class Files:
    """The weights that are measured."""

    painter: Path
    surface: Path
    detail: Path


class Studio:
    """One process' models, behind the classes that the product uses."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.generator = Embedded(executor=ThreadPoolExecutor(1), weights=files.painter)
        self.model = LatentDiffusion.load(files.painter)
        fields = Settings.model_fields
        self.params = PaintParams(
            strength=self.generator.info.strength,
            steps=fields["steps"].default,
            guidance=self.generator.info.guidance,
            grow=fields["mask_grow"].default,
            blur=fields["mask_blur"].default,
            padding=fields["mask_padding"].default,
        )
        self.min_score: float = fields["min_score"].default

    def paint(self, prompt: str, seed: int) -> Picture:
        """Paint a prompt as the first picture of a session."""
        request = GenerationRequest(prompt, "", seed, SIDE, SIDE, self.params.steps, self.params.guidance)
        return _decoded(asyncio.run(self.generator.generate(request)).png)

    def find(self, picture: Picture, label: str) -> list[Detection]:
        """Find all objects with the weights that know a class, as sure as the product asks."""
        weights = self.files.detail if label in SMALL else self.files.surface
        params = SegmentParams(min_score=self.min_score, max_objects=50)
        return unpack(segment_png(_encoded(picture), str(weights), params))

    def plan(self, mask: Mask) -> masks.Patch:
        """Plan a repaint as the engine does."""
        info, params = self.generator.info, self.params
        return masks.plan_patch(
            mask,
            grow=params.grow,
            blur=params.blur,
            padding=params.padding,
            native_size=info.native_size,
            multiple=info.multiple,
        )

    def repaint(self, picture: Picture, mask: Mask, words: str, seed: int) -> Picture:
        """Repaint an object as the engine does."""
        patch = self.plan(mask)
        crop, inner = masks.cut(picture, patch)
        return masks.paste(picture, patch, self._inpaint(crop, inner, words, seed, self.params))

    def repaint_whole(self, picture: Picture, words: str, seed: int) -> Picture:
        """Change the whole picture towards the words: image to image, with equal steps."""
        everything = np.ones(picture.shape[:2], np.bool_)
        return self._inpaint(picture, everything, words, seed, self.params)

    def repaint_as_the_seed(self, picture: Picture, mask: Mask, words: str, seed: int) -> Picture:
        """Repaint with the seed project's settings: the whole picture, a blur of 20 pixels, strength 0.6."""
        painted = self._inpaint(picture, mask, words, seed, replace(self.params, strength=0.6))
        soft = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(20))
        alpha = np.asarray(soft, np.float32)[..., None] / 255
        return np.rint(picture * (1 - alpha) + painted * alpha).astype(np.uint8)

    def _inpaint(self, picture: Picture, mask: Mask, words: str, seed: int, params: PaintParams) -> Picture:
        request = InpaintRequest(
            image=_encoded(picture),
            mask=mask,
            prompt=words,
            negative_prompt="",
            seed=seed,
            strength=params.strength,
            steps=params.steps,
            guidance=params.guidance,
        )
        return _decoded(asyncio.run(self.generator.inpaint(request)).png)


@cache
def open_studio(files: Files) -> Studio:
    """Open the models once a process."""
    return Studio(files)


def _decoded(png: bytes) -> Picture:
    with Image.open(io.BytesIO(png)) as image:
        return np.array(image.convert("RGB"))


def _encoded(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
