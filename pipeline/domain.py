"""Frozen values, the events of a run, and the three protocols the engine works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]  # [H, W], True = repaint
Stage = Literal["paint", "find", "describe", "repaint"]

MAX_SEED = 2**32 - 1
MAX_TAGS = 10
MAX_PROMPT = 4000  # characters


class StepKind(StrEnum):
    """What made a step's picture."""

    GENERATE = "generate"  # from the prompt alone
    RECURSE = "recurse"  # every object of the parent's picture found, described, repainted
    TWEAK = "tweak"  # the objects a reply means, repainted in the parent's picture


class StepState(StrEnum):
    """Where a step is. The queued steps are the job queue."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DELETED = "deleted"  # its picture and words are gone; the row stays, so that nothing asks for it again


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels, half-open: rows y1..y2-1, columns x1..x2-1."""

    y1: int
    x1: int
    y2: int
    x2: int

    @property
    def height(self) -> int:
        return self.y2 - self.y1

    @property
    def width(self) -> int:
        return self.x2 - self.x1

    @property
    def area(self) -> int:
        return max(0, self.height) * max(0, self.width)


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """One object found in a picture; `mask` has the picture's own size."""

    label: str
    score: float
    box: Box
    mask: Mask


@dataclass(frozen=True, slots=True)
class ObjectContext:
    """What one numbered object should become: at most ten short tags."""

    number: int
    name: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SceneContext:
    """A story, a context for each object, and who wrote them ("template" where no model could)."""

    story: str
    objects: tuple[ObjectContext, ...]
    source: str


@dataclass(frozen=True, slots=True)
class PaintParams:
    """How an object is repainted; a class may override any field (`CLASS_PARAMS`).

    `grow`, `blur` and `padding` are shares of the object's size (the square root of its mask's area);
    see `masks.py` for their bounds in pixels. `strength` 0..1 is how far the picture may change.
    """

    strength: float = 0.85
    steps: int = 20
    guidance: float = 5.0
    grow: float = 0.06
    blur: float = 0.08
    padding: float = 0.5
    prompt_prefix: str = ""
    negative_prompt: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class SceneObject:
    """A numbered object of a step: what was found, what it should become, how it is painted."""

    number: int  # 1-based, what members call it
    detection: Detection
    name: str
    tags: tuple[str, ...] = ()
    seed: int = 0
    params: PaintParams = field(default_factory=PaintParams)
    repaint: bool = True  # False: carried over from the parent untouched
    painted: bool = False
    locked: bool = False  # no pixel of its mask changed in this step: a record, for resuming and replays
    kept: bool | None = None  # a member's wish for the steps below: True keep it, False no longer

    @property
    def context(self) -> ObjectContext:
        return ObjectContext(self.number, self.name, self.tags)


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A picture to paint from text, or from text over another picture; sizes in pixels.

    `image` is a PNG, RGB, of `width` x `height`; `strength` 0..1 is how far the new picture may leave it.
    """

    prompt: str
    negative_prompt: str
    seed: int
    width: int
    height: int
    steps: int
    guidance: float
    image: bytes | None = None
    strength: float = 1.0
    model: str = ""  # "" = the backend's own
    sampler: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class InpaintRequest:
    """A crop to repaint where `mask` is True; the answer has the crop's size."""

    image: bytes  # PNG, RGB
    mask: Mask  # [H, W] of the image, True = repaint
    prompt: str
    negative_prompt: str
    seed: int
    strength: float
    steps: int
    guidance: float
    model: str = ""  # "" = the backend's own
    sampler: str = ""


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """A painted picture and what really painted it."""

    png: bytes
    seed: int
    model: str
    sampler: str
    notes: tuple[str, ...] = ()  # what a member should know: another sampler used, words ignored


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """The words that a picture model knows, if it knows only some."""

    looks: Mapping[str, Mapping[str, tuple[str, ...]]]  # by class, by kind ("colour"): one word of each kind
    aliases: Mapping[str, str]  # what other words are taken for, in small letters


@dataclass(frozen=True, slots=True)
class GeneratorInfo:
    """What a picture backend can do, known without asking it."""

    name: str
    native_size: int  # side in pixels of the square its model paints best
    default_width: int
    default_height: int
    multiple: int  # sides must be multiples of this
    min_side: int
    max_side: int
    guidance: float = 5.0  # what suits the model where nobody says otherwise, and so of
    strength: float = 0.85  # a repainted object
    vocabulary: Vocabulary | None = None  # None: it reads whatever it is told


@dataclass(frozen=True, slots=True)
class Choices:
    """What a picture backend offers by name; empty where there is nothing to choose."""

    models: tuple[str, ...] = ()
    samplers: tuple[str, ...] = ()


ProgressCallback = Callable[[float, bytes | None], None]  # share done 0..1, preview (PNG, JPEG or WebP)


class ImageGenerator(Protocol):
    """Paint pictures. Raise GeneratorError, with `retryable` true where trying again may help."""

    @property
    def info(self) -> GeneratorInfo: ...

    async def generate(
        self, request: GenerationRequest, progress: ProgressCallback | None = None
    ) -> GeneratedImage: ...

    async def inpaint(
        self, request: InpaintRequest, progress: ProgressCallback | None = None
    ) -> GeneratedImage: ...

    async def choices(self) -> Choices:
        """Ask which models and samplers there are."""
        ...

    async def aclose(self) -> None: ...


class Segmenter(Protocol):
    """Find objects in a picture (PNG). Raise SegmentationError."""

    async def segment(self, png: bytes, *, depth: int) -> Sequence[Detection]: ...

    def weights_at(self, depth: int) -> str: ...

    async def aclose(self) -> None: ...


class ContextWriter(Protocol):
    """Write stories and tags. Never raise for what a model answers: fall back and say so in `source`."""

    async def describe(
        self, prompt: str, detections: Sequence[Detection], *, picture: bytes, seed: int
    ) -> SceneContext:
        """Write a story around the prompt and tags for each detection; contexts number from 1 in order."""
        ...

    async def revise(
        self, reply: str, objects: Sequence[ObjectContext], *, prompt: str, story: str, seed: int
    ) -> tuple[ObjectContext, ...]:
        """Give the objects that a reply means with their new tags; raise NotUnderstood if it means none."""
        ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Source:
    """The picture that a session's first one is painted over, and how far that may leave it, 0..1."""

    sha256: str  # of the PNG in the store
    strength: float


@dataclass(frozen=True, slots=True)
class Session:
    """One member's run: what was asked, and where it is shown."""

    id: int
    client: str  # who works its queue: "discord" or "cli"
    owner: str  # the member's id; "" on the command line
    request: str  # the client's own key of the request, unique: asked twice is the same session
    place: str  # where it is shown (a thread's id), "" until there is one
    prompt: str
    negative_prompt: str
    seed: int
    width: int
    height: int
    steps: int  # sampling steps and guidance of its first picture: a replay must not follow a changed setting
    guidance: float
    created_at: datetime
    meta: dict[str, str]  # what else the client must remember to go on after a restart
    head: int | None = None  # the step asked for last, or gone back to: its picture is the current one
    source: Source | None = None  # None: from the prompt alone
    guild: str = ""  # the server it was asked in: limits and preferences are a server's
    mature: bool = True  # whether words of the policy are allowed: only where everyone who sees it is of age
    style: str = ""  # a style's name, and the words that it meant when this was asked
    style_words: str = ""
    model: str = ""  # what the backend is asked to paint with; "" = its own
    sampler: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """A node of a session's tree; its picture and objects are read on their own."""

    id: int
    session_id: int
    parent_id: int | None
    kind: StepKind
    state: StepState
    depth: int
    seed: int
    asked_by: str
    request: str  # a reply's words for a tweak, else ""
    origin: str  # the client's own key of what asked for it, unique: asked twice is the same step
    attempt: int  # 1, and one more each time a failed step is tried again
    story: str
    source: str  # who wrote the story and the tags
    model: str
    notes: tuple[str, ...]
    error: str
    created_at: datetime
    finished_at: datetime | None
    delivered: bool = False  # its outcome is wholly shown, or cannot be
    started_at: datetime | None = None  # when it was last taken from the queue


@dataclass(frozen=True, slots=True)
class Limits:
    """How many pictures may be asked for, each counted within one server; 0 = as many as one likes."""

    member_waiting: int = 0  # not finished yet, of one member
    member_daily: int = 0  # in the last 24 hours
    server_waiting: int = 0
    server_daily: int = 0


@dataclass(frozen=True, slots=True)
class Post:
    """Where one part of a step is shown; `message` is "" while it is being sent."""

    step_id: int
    part: str  # "picture", "notes:1", …, "error", "progress"
    place: str
    message: str


@dataclass(frozen=True, slots=True)
class Footprint:
    """What is kept of one member."""

    sessions: int
    pictures: int  # in their sessions
    size: int  # bytes of these pictures
    sources: int  # pictures that they attached
    others: int  # steps in their sessions that other members asked for
    elsewhere: int  # steps that they asked for in other members' sessions
    wishes: int  # their own defaults, and servers in which a role puts them ahead in the queue
    since: datetime | None

    @property
    def anything(self) -> bool:
        return bool(self.sessions or self.elsewhere or self.wishes)


@dataclass(frozen=True, slots=True)
class Progress:
    """Work goes on: `done` of `total` pieces of a stage, `share` 0..1 of the step as a whole."""

    step_id: int
    stage: Stage
    done: int
    total: int
    share: float
    label: str = ""  # the object being repainted
    preview: bytes | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ObjectsFound:
    """The objects that will be described and repainted; saved."""

    step_id: int
    objects: tuple[SceneObject, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ContextWritten:
    """The story and every object's tags; saved."""

    step_id: int
    context: SceneContext


@dataclass(frozen=True, slots=True, eq=False)
class PictureSaved:
    """A picture that was paid for; saved. The step's last one is its result."""

    step_id: int
    png: bytes
    painted: int
    total: int


@dataclass(frozen=True, slots=True)
class StepDone:
    """The step's picture, story and objects are in the database."""

    step_id: int


@dataclass(frozen=True, slots=True)
class StepFailed:
    """The step ended without a picture; `message` is for members. What it had saved is kept."""

    step_id: int
    message: str
    cancelled: tuple[int, ...] = ()  # queued steps below it that cannot run now


Event = Progress | ObjectsFound | ContextWritten | PictureSaved | StepDone | StepFailed
