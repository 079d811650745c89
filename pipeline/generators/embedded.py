"""The picture model that we ship, run in worker processes: no server, no GPU, no key."""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
from collections.abc import Callable
from concurrent.futures import Executor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from PIL import Image

from pipeline.domain import (
    Choices,
    GeneratedImage,
    GenerationRequest,
    GeneratorInfo,
    InpaintRequest,
    ProgressCallback,
    Vocabulary,
)
from pipeline.errors import ConfigurationError, GeneratorError, WorkerError

if TYPE_CHECKING:
    from ldm import LatentDiffusion, SamplerState

NATIVE = 192
SHAPES = ((192, 192), (144, 256))  # (height, width) that the model was trained on
CHUNK = 5  # sampling steps a call: between calls progress is shown and a cancel is honoured
SAMPLER = "Euler (rectified flow)"

Answer = TypeVar("Answer")


class Embedded:
    """Paint with `weights` (made by `python -m ldm train`) on an Executor.

    The model paints 192 x 192 or 256 x 144 pixels; pictures of other sizes are enlarged from these, and each
    repainted object gets the model's full resolution for its own window.
    """

    def __init__(self, *, executor: Executor, weights: str | Path) -> None:
        self.info = GeneratorInfo(
            name="embedded",
            native_size=NATIVE,
            default_width=768,
            default_height=768,
            multiple=8,
            min_side=64,
            max_side=2048,
            guidance=2.5,  # more flattens its pictures
            strength=1.0,  # less lets the colour shine through that is to go; the mask gives the shape
            vocabulary=vocabulary(),
        )
        self._executor = executor
        self._weights = str(weights)
        if not Path(weights).is_file():
            raise ConfigurationError(
                f"The picture model {weights} is not there; get the whole repository, or set DIFFUSION_URL."
            )
        digest = hashlib.sha256(Path(weights).read_bytes()).hexdigest()
        self._model = f"{Path(weights).stem} [{digest[:10]}]"

    async def generate(
        self, request: GenerationRequest, progress: ProgressCallback | None = None
    ) -> GeneratedImage:
        state, ignored = await self._call(_start, request)
        # What is painted over a picture was stretched to the model's shape, so that nothing of it is lost.
        finish = _cover if request.image is None else _resize
        png = await self._sample(state, progress, lambda image: finish(image, request.width, request.height))
        return self._answer(png, request.seed, ignored)

    async def inpaint(
        self, request: InpaintRequest, progress: ProgressCallback | None = None
    ) -> GeneratedImage:
        height, width = request.mask.shape
        state, ignored = await self._call(_start_inpaint, request)
        png = await self._sample(state, progress, lambda image: _resize(image, width, height))
        return self._answer(png, request.seed, ignored)

    async def choices(self) -> Choices:
        """Return the one model there is, and its sampler."""
        return Choices((self._model,), (SAMPLER,))

    async def aclose(self) -> None:
        """Nothing to close: the executor belongs to who made it."""

    async def _sample(
        self,
        state: SamplerState,
        progress: ProgressCallback | None,
        finish: Callable[[Image.Image], Image.Image],
    ) -> bytes:
        while True:
            state, picture = await self._call(_advance, state, CHUNK)
            image = Image.fromarray(picture)
            if state.step >= state.steps:
                return await asyncio.to_thread(_encode, image, finish)
            if progress is not None:
                progress(state.step / state.steps, await asyncio.to_thread(_preview, image))

    async def _call(self, function: Callable[..., Answer], *args: object) -> Answer:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, function, self._weights, *args)
        except WorkerError as err:
            raise GeneratorError(f"The picture could not be painted: {err}", retryable=err.retryable) from err

    def _answer(self, png: bytes, seed: int, ignored: tuple[str, ...]) -> GeneratedImage:
        notes: tuple[str, ...] = ()
        if ignored:
            shown = ", ".join(ignored[:12]) + (", …" if len(ignored) > 12 else "")
            notes = (f"The embedded picture model does not know these words: {shown}.",)
        return GeneratedImage(png, seed, self._model, SAMPLER, notes)


@cache
def vocabulary() -> Vocabulary:
    """List the words that the model was taught, by class and kind. Loads no TensorFlow."""
    from ldm import Vocabulary as ModelWords
    from scenes import CLASSES, PATTERNS, looks
    from scenes.palette import TIMES, WATERS, WEATHERS

    kinds = {"pattern": PATTERNS, "weather": WEATHERS, "surface": WATERS, "light": TIMES}
    table: dict[str, dict[str, tuple[str, ...]]] = {}
    for label in CLASSES:
        table[label] = {}
        for column in itertools.zip_longest(*looks(label)):
            words = tuple(dict.fromkeys(word for word in column if word))
            # The light of a sky is a time of day or a colour; of everything else it is a colour.
            kind = next((name for name, known in kinds.items() if not {*known}.isdisjoint(words)), "colour")
            table[label][kind] = words
    aliases = {word: meant[0] for word, meant in ModelWords().aliases.items() if len(meant) == 1}
    return Vocabulary(table, aliases)


# -- what runs in a worker ------------------------------------------------------------------------


@cache
def _load(weights: str) -> LatentDiffusion:
    from ldm import LatentDiffusion

    return LatentDiffusion.load(weights)


def _start(weights: str, request: GenerationRequest) -> tuple[SamplerState, tuple[str, ...]]:
    model = _load(weights)
    height, width = _nearest_shape(request.height, request.width)
    if request.image is not None:
        with Image.open(io.BytesIO(request.image)) as image:
            picture = np.asarray(_resize(image.convert("RGB"), width, height))
        state = model.start_image(
            picture,
            request.prompt,
            negative=request.negative_prompt,
            seed=request.seed,
            steps=request.steps,
            guidance=request.guidance,
            strength=request.strength,
        )
        return state, tuple(model.vocabulary.parse(request.prompt).ignored)
    state = model.start(
        request.prompt,
        negative=request.negative_prompt,
        seed=request.seed,
        steps=request.steps,
        guidance=request.guidance,
        height=height,
        width=width,
    )
    return state, tuple(model.vocabulary.parse(request.prompt).ignored)


def _start_inpaint(weights: str, request: InpaintRequest) -> tuple[SamplerState, tuple[str, ...]]:
    model = _load(weights)
    height, width = _nearest_shape(*request.mask.shape)
    with Image.open(io.BytesIO(request.image)) as image:
        picture = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS))
    mask = Image.fromarray(request.mask.astype(np.uint8) * 255).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    state = model.start_inpaint(
        picture,
        np.asarray(mask) > 0,
        request.prompt,
        negative=request.negative_prompt,
        seed=request.seed,
        steps=request.steps,
        guidance=request.guidance,
        strength=request.strength,
    )
    return state, tuple(model.vocabulary.parse(request.prompt).ignored)


def _advance(weights: str, state: SamplerState, steps: int) -> tuple[SamplerState, np.ndarray]:
    model = _load(weights)
    state = model.advance(state, steps)
    return state, model.decode(state)


def _nearest_shape(height: int, width: int) -> tuple[int, int]:
    return min(SHAPES, key=lambda shape: abs(np.log(shape[1] / shape[0]) - np.log(width / height)))


# -- pictures -------------------------------------------------------------------------------------


def _resize(image: Image.Image, width: int, height: int) -> Image.Image:
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _cover(image: Image.Image, width: int, height: int) -> Image.Image:
    """Enlarge to fill width x height and cut off what stands out: nothing is stretched."""
    scale = max(width / image.width, height / image.height)
    crop_width, crop_height = width / scale, height / scale
    left, top = (image.width - crop_width) / 2, (image.height - crop_height) / 2
    box = (left, top, left + crop_width, top + crop_height)
    return image.resize((width, height), Image.Resampling.LANCZOS, box=box)


def _encode(image: Image.Image, finish: Callable[[Image.Image], Image.Image]) -> bytes:
    buffer = io.BytesIO()
    finish(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _preview(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=70)
    return buffer.getvalue()
