"""The three collaborators, fast and deterministic; a test may tell each call what happens to it."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.domain import (
    Box,
    Choices,
    Detection,
    GeneratedImage,
    GenerationRequest,
    GeneratorInfo,
    InpaintRequest,
    ObjectContext,
    ProgressCallback,
    SceneContext,
)
from pipeline.errors import NotUnderstood

# What becomes of one call: an error to raise, or something to wait for; None = it simply succeeds.
Turn = Exception | Callable[[], Awaitable[object]] | None

INFO = GeneratorInfo("fake", 64, 96, 96, 8, 32, 1024)


class Turns:
    """The turns of the calls to come; when there are no more, calls succeed."""

    def __init__(self) -> None:
        self._turns: deque[Turn] = deque()

    def add(self, *turns: Turn) -> None:
        """Set what becomes of the next calls, in order."""
        self._turns.extend(turns)

    async def take(self) -> None:
        """Let the next turn happen."""
        turn = self._turns.popleft() if self._turns else None
        if isinstance(turn, Exception):
            raise turn
        if turn is not None:
            await turn()


class Pause:
    """A turn that waits until it is told to go on."""

    def __init__(self) -> None:
        self._reached, self._open = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> None:
        self._reached.set()
        await self._open.wait()

    async def reached(self) -> None:
        await self._reached.wait()

    def go_on(self) -> None:
        self._open.set()


class PaintingGenerator:
    """Paint from a digest of the request: another prompt, seed or picture gives another result."""

    def __init__(self, *, info: GeneratorInfo = INFO, seconds: float = 0.0, grain: int = 0) -> None:
        self._info = info
        self._seconds = seconds  # how long a picture takes
        self._grain = grain  # noise 0..255, which makes files large
        self.turns = Turns()
        self.generated: list[GenerationRequest] = []
        self.inpainted: list[InpaintRequest] = []
        self.notes: tuple[str, ...] = ()
        self.offered: Choices | Exception = Choices(("small [1a2b3c4d5e]", "large"), ("Euler", "DPM++ 2M"))
        self.closed = False

    @property
    def info(self) -> GeneratorInfo:
        return self._info

    async def generate(
        self, request: GenerationRequest, progress: ProgressCallback | None = None
    ) -> GeneratedImage:
        self.generated.append(request)
        chance = _chance("generate", request.prompt, request.negative_prompt, request.seed)
        rows, columns = np.mgrid[: request.height, : request.width]
        ramp = (rows / request.height + columns / request.width)[..., None] / 2  # [H, W, 1], 0..1
        colours = chance.integers(0, 200, (2, 3))
        picture = colours[0] * (1 - ramp) + colours[1] * ramp
        picture = picture + chance.integers(0, self._grain + 1, picture.shape)
        if request.image is not None:
            with Image.open(io.BytesIO(request.image)) as image:
                assert (image.format, image.mode) == ("PNG", "RGB")
                assert image.size == (request.width, request.height)
                picture = picture * request.strength + np.asarray(image) * (1 - request.strength)
        return await self._answer(picture.clip(0, 255).astype(np.uint8), request.seed, progress)

    async def inpaint(
        self, request: InpaintRequest, progress: ProgressCallback | None = None
    ) -> GeneratedImage:
        self.inpainted.append(request)
        chance = _chance("inpaint", request.prompt, request.negative_prompt, request.seed, request.image)
        with Image.open(io.BytesIO(request.image)) as image:
            picture = np.asarray(image.convert("RGB")).astype(int)  # [H, W, 3]
        assert request.mask.shape == picture.shape[:2]
        # Real models drift outside the mask too: what they do there must not get into the picture.
        picture = 255 - picture
        picture[request.mask] = chance.integers(0, 256, 3)
        picture[request.mask] += chance.integers(-20, 20, (int(request.mask.sum()), 3))
        return await self._answer(picture.clip(0, 255).astype(np.uint8), request.seed, progress)

    async def _answer(
        self, picture: NDArray[np.uint8], seed: int, progress: ProgressCallback | None
    ) -> GeneratedImage:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG")
        if progress is not None:
            progress(0.5, buffer.getvalue())
        await self.turns.take()
        await asyncio.sleep(self._seconds)
        return GeneratedImage(buffer.getvalue(), seed, "fake painter", "none", self.notes)

    async def choices(self) -> Choices:
        if isinstance(self.offered, Exception):
            raise self.offered
        return self.offered

    async def aclose(self) -> None:
        self.closed = True


class FixedSegmenter:
    """Find the same ellipses in every picture, as shares of its size."""

    def __init__(
        self,
        objects: Sequence[tuple[str, float, float, float, float]] = (
            ("Jacket", 0.30, 0.10, 0.75, 0.45),  # label, y1, x1, y2, x2
            ("Bag", 0.55, 0.55, 0.85, 0.85),
            ("Hat", 0.08, 0.55, 0.25, 0.80),
        ),
    ) -> None:
        self.objects = list(objects)
        self.turns = Turns()
        self.depths: list[int] = []

    async def segment(self, png: bytes, *, depth: int) -> Sequence[Detection]:
        self.depths.append(depth)
        await self.turns.take()
        with Image.open(io.BytesIO(png)) as image:
            width, height = image.size
        return [_ellipse(label, height, width, y1, x1, y2, x2) for label, y1, x1, y2, x2 in self.objects]

    def weights_at(self, depth: int) -> str:
        return "fixed"

    async def aclose(self) -> None:
        return None


class PlainWriter:
    """Write what the test says, or something plain; read replies of the form `2: red leather`."""

    def __init__(self, story: str = "A quiet street, and someone about to leave.") -> None:
        self.story = story
        self.tags: tuple[str, ...] = ("pastel", "soft light")
        self.turns = Turns()

    async def describe(
        self, prompt: str, detections: Sequence[Detection], *, picture: bytes, seed: int
    ) -> SceneContext:
        await self.turns.take()
        objects = tuple(
            ObjectContext(number, item.label.lower(), (item.label.lower(), *self.tags))
            for number, item in enumerate(detections, start=1)
        )
        return SceneContext(self.story, objects, "test writer")

    async def revise(
        self, reply: str, objects: Sequence[ObjectContext], *, prompt: str, story: str, seed: int
    ) -> tuple[ObjectContext, ...]:
        await self.turns.take()
        number, colon, words = reply.partition(":")
        meant = [item for item in objects if colon and number.strip() == str(item.number)]
        if not meant:
            raise NotUnderstood("I see no object of that number or name; write for example `2: red leather`.")
        return tuple(ObjectContext(item.number, item.name, (words.strip(),)) for item in meant)

    async def aclose(self) -> None:
        return None


def _chance(*parts: object) -> np.random.Generator:
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def _ellipse(label: str, height: int, width: int, y1: float, x1: float, y2: float, x2: float) -> Detection:
    box = Box(round(y1 * height), round(x1 * width), round(y2 * height), round(x2 * width))
    rows, columns = np.mgrid[:height, :width]
    y = (rows + 0.5 - (box.y1 + box.y2) / 2) / (box.height / 2)
    x = (columns + 0.5 - (box.x1 + box.x2) / 2) / (box.width / 2)
    return Detection(label, 0.9, box, y**2 + x**2 <= 1)  # mask bool [H, W]
