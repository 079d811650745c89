"""A session's tree of steps as a picture: thumbnails side by side as they grew, branches in colours."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from PIL import Image, ImageDraw, ImageFont

from pipeline.domain import Step, StepKind, StepState
from pipeline.render import outline_colour

THUMBNAIL = 204  # pixels of a side
COLUMNS, ROWS = 5, 6  # of one band; what grows beyond goes on in a band of its own
PAGE_HEIGHT = 2000  # pixels after which the next band begins another picture

_PAD, _GAP_X, _GAP_Y, _MARGIN = 12, 56, 30, 36
_WIDTH = THUMBNAIL + 2 * _PAD
_HEIGHT = THUMBNAIL + 2 * _PAD + 86
_FINER = 2  # drawn this much larger, so that curves and corners are smooth
_PAPER, _CARD, _INK, _PALE, _RED = "#faf7f2", "#ffffff", "#2a2836", "#787488", "#c8425a"
_NOW = "#ffb703"
# Calm, and none of the colours that number objects.
_BRANCHES = ("#7c6fd9", "#2a9d8f", "#e07a5f", "#3d84c6", "#c2569b", "#84932f", "#b5803a", "#5b6b8c")
_STATES = {
    StepState.QUEUED: "waiting",
    StepState.RUNNING: "being painted",
    StepState.FAILED: "not done",
    StepState.CANCELLED: "cancelled",
}
_TITLES = {StepKind.GENERATE: "First picture", StepKind.RECURSE: "Recursion", StepKind.TWEAK: "Tweak"}


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A step as it is drawn. `changed` are the numbers and labels of the objects that it repainted.

    Names and words of members are left out: the font that is always there has Latin letters only.
    """

    step: Step
    picture: Image.Image | None  # see `shrunk`
    changed: tuple[tuple[int, str], ...] = ()
    source: Image.Image | None = None  # what the picture was painted over


@dataclass(slots=True, eq=False)
class _Place:
    node: Node
    column: int
    row: int
    colour: str
    parent: _Place | None  # in the same band
    onward: list[int] = field(default_factory=list)  # steps that go on in bands of their own


@dataclass(slots=True, eq=False)
class _Band:
    """A piece of the tree that fits: its places, and the step that it goes on from."""

    start: int | None
    places: list[_Place] = field(default_factory=list)
    rows: int = 0

    @property
    def height(self) -> int:
        return self.rows * _HEIGHT + (self.rows - 1) * _GAP_Y

    @property
    def width(self) -> int:
        columns = 1 + max(place.column for place in self.places)
        return columns * _WIDTH + (columns - 1) * _GAP_X


def shrunk(png: bytes) -> Image.Image:
    """Make the thumbnail of a picture: its whole, within THUMBNAIL pixels."""
    with Image.open(io.BytesIO(png)) as opened:
        image = opened.convert("RGB")
    scale = THUMBNAIL * _FINER / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def draw(nodes: Sequence[Node], *, current: int | None = None) -> Iterator[bytes]:
    """Draw the nodes, parents before children, as one or more pictures (WebP); mark the step `current`."""
    page: list[_Band] = []
    for band in _bands(nodes):
        if page and sum(other.height + 2 * _MARGIN for other in page) + band.height > PAGE_HEIGHT:
            yield _page(page, current)
            page = []
        page.append(band)
    if page:
        yield _page(page, current)


def title(step: Step) -> str:
    """Name a step in the fewest words."""
    name = _TITLES.get(step.kind, step.kind.value.replace("_", " ").capitalize())
    if step.kind is StepKind.RECURSE:
        return f"{name} {step.depth}"
    return name if step.depth == 0 else f"{name} · depth {step.depth}"


# -- layout ---------------------------------------------------------------------------------------


def _bands(nodes: Sequence[Node]) -> list[_Band]:
    """Lay the tree out. The first child goes on in its parent's row, the others get rows below."""
    known = {node.step.id for node in nodes}
    children: dict[int | None, list[Node]] = {}
    for node in nodes:
        parent = node.step.parent_id if node.step.parent_id in known else None
        children.setdefault(parent, []).append(node)
    colours = iter(range(len(nodes)))
    waiting = [(node, None, _colour(next(colours))) for node in children.get(None, [])]
    bands: list[_Band] = []
    while waiting:
        root, start, root_colour = waiting.pop(0)
        band = _Band(start)
        later: list[tuple[Node, int | None, str]] = []
        # The last is next: a row is filled to its end before the next one is begun.
        stack: list[tuple[Node, _Place | None, str, bool]] = [(root, None, root_colour, True)]
        while stack:
            node, parent, colour, same_row = stack.pop()
            column = 0 if parent is None else parent.column + 1
            if column == COLUMNS or (not same_row and band.rows == ROWS):
                if parent is not None:
                    parent.onward.append(node.step.id)
                    later.append((node, parent.node.step.id, colour))
                continue
            row = parent.row if same_row and parent is not None else band.rows
            band.rows = max(band.rows, row + 1)
            place = _Place(node, column, row, colour, parent)
            band.places.append(place)
            below = [
                (child, place, colour if index == 0 else _colour(next(colours)), index == 0)
                for index, child in enumerate(children.get(node.step.id, []))
            ]
            stack += reversed(below)
        bands.append(band)
        waiting = later + waiting
    return bands


def _colour(number: int) -> str:
    return _BRANCHES[number % len(_BRANCHES)]


# -- drawing --------------------------------------------------------------------------------------


class _Pen:
    """Draws on a canvas that is larger by _FINER; all it is told is in pixels of the finished picture."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width * _FINER, height * _FINER), _PAPER)
        self._draw = ImageDraw.Draw(self.image)
        self._fonts = {size: ImageFont.load_default(size * _FINER) for size in (15, 17, 20)}

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        radius: float,
        fill: str | tuple[int, int, int] | None = None,
        outline: str | None = None,
        line: float = 0,
    ) -> None:
        edges = (x * _FINER, y * _FINER, (x + width) * _FINER - 1, (y + height) * _FINER - 1)
        self._draw.rounded_rectangle(edges, radius * _FINER, fill, outline, round(line * _FINER))

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: int,
        colour: str,
        *,
        anchor: str = "la",
        bold: bool = False,
    ) -> None:
        stroke = 0.35 * _FINER if bold else 0
        at = (x * _FINER, y * _FINER)
        self._draw.text(at, words, colour, self._fonts[size], anchor, stroke_width=stroke)

    def length(self, words: str, size: int) -> float:
        return self._draw.textlength(words, self._fonts[size]) / _FINER

    def curve(self, x1: float, y1: float, x2: float, y2: float, colour: str, line: float) -> None:
        middle = (x1 + x2) / 2
        points: list[tuple[float, float]] = []
        for step in range(33):
            t = step / 32
            a, b, c, d = (1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3
            x = a * x1 + (b + c) * middle + d * x2
            points.append((x * _FINER, ((a + b) * y1 + (c + d) * y2) * _FINER))
        self._draw.line(points, colour, round(line * _FINER), joint="curve")

    def paste(self, image: Image.Image, x: float, y: float) -> None:
        """Paste a picture that is as fine as the canvas, with round corners."""
        mask = Image.new("L", image.size, 0)
        edges = (0, 0, image.width - 1, image.height - 1)
        ImageDraw.Draw(mask).rounded_rectangle(edges, 8 * _FINER, 255)
        self.image.paste(image, (round(x * _FINER), round(y * _FINER)), mask)

    def finished(self) -> bytes:
        size = (self.image.width // _FINER, self.image.height // _FINER)
        buffer = io.BytesIO()
        self.image.resize(size, Image.Resampling.BOX).save(buffer, "WEBP", quality=90, method=2)
        return buffer.getvalue()


def _page(bands: Sequence[_Band], current: int | None) -> bytes:
    width = max(band.width for band in bands) + 2 * _MARGIN
    height = sum(band.height + 2 * _MARGIN for band in bands)
    pen = _Pen(width, height)
    top = _MARGIN
    for number, band in enumerate(bands):
        if number:
            pen.box(_MARGIN, top - _MARGIN - 1, width - 2 * _MARGIN, 2, radius=1, fill="#e4ded4")
        for place in band.places:
            _lines(pen, place, top)
        for place in band.places:
            _card(pen, place, top, current)
        if band.start is not None:
            first = band.places[0]
            words = f"goes on from step {band.start}"
            pen.box(_MARGIN - 8, top - 17, pen.length(words, 15) + 20, 26, radius=13, fill=first.colour)
            pen.text(_MARGIN + 2, top - 4, words, 15, "#ffffff", anchor="lm")
        top += band.height + 2 * _MARGIN
    return pen.finished()


def _corner(place: _Place, top: int) -> tuple[int, int]:
    return _MARGIN + place.column * (_WIDTH + _GAP_X), top + place.row * (_HEIGHT + _GAP_Y)


def _lines(pen: _Pen, place: _Place, top: int) -> None:
    x, y = _corner(place, top)
    middle = _PAD + THUMBNAIL / 2
    if place.parent is not None:
        from_x, from_y = _corner(place.parent, top)
        pen.curve(from_x + _WIDTH - 2, from_y + middle, x + 2, y + middle, place.colour, 5)
    for number, step in enumerate(place.onward[:3]):
        words, at = f"to step {step}", y + middle + 34 * (number - (min(3, len(place.onward)) - 1) / 2)
        wide = pen.length(words, 15) + 20
        pen.box(x + _WIDTH + 26 - wide, at - 13, wide, 26, radius=13, fill="#e4ded4")
        pen.text(x + _WIDTH + 16, at, words, 15, _INK, anchor="rm")


def _card(pen: _Pen, place: _Place, top: int, current: int | None) -> None:
    step = place.node.step
    x, y = _corner(place, top)
    now, failed = step.id == current, step.state is StepState.FAILED
    if now:
        pen.box(x - 7, y - 7, _WIDTH + 14, _HEIGHT + 14, radius=22, fill=_NOW)
    pen.box(x, y, _WIDTH, _HEIGHT, radius=16, fill=_CARD, outline=_RED if failed else place.colour, line=3)
    _picture(pen, place.node, x + _PAD, y + _PAD)
    if now:
        pen.box(x + _WIDTH - _PAD - 58, y + _PAD + 8, 50, 26, radius=13, fill=_NOW)
        pen.text(x + _WIDTH - _PAD - 33, y + _PAD + 21, "now", 17, _INK, anchor="mm", bold=True)
    line = y + _PAD + THUMBNAIL + 10
    pen.text(x + _PAD, line, title(step), 17, _INK, bold=True)
    pen.text(x + _WIDTH - _PAD, line + 2, f"step {step.id}", 15, _PALE, anchor="ra")
    _changes(pen, place.node.changed, x + _PAD, line + 28)


def _picture(pen: _Pen, node: Node, x: int, y: int) -> None:
    state = node.step.state
    if node.picture is None or state is not StepState.DONE:
        pen.box(x, y, THUMBNAIL, THUMBNAIL, radius=8, fill="#f1ece4")
        words = _STATES.get(state, "no picture")
        colour = _RED if state is StepState.FAILED else _PALE
        pen.text(x + THUMBNAIL / 2, y + THUMBNAIL / 2, words, 20, colour, anchor="mm")
        return
    pen.box(x, y, THUMBNAIL, THUMBNAIL, radius=8, fill="#f1ece4")
    wide, high = node.picture.width / _FINER, node.picture.height / _FINER
    pen.paste(node.picture, x + (THUMBNAIL - wide) / 2, y + (THUMBNAIL - high) / 2)
    if node.source is not None:
        inset = node.source.copy()
        inset.thumbnail((64 * _FINER, 64 * _FINER), Image.Resampling.LANCZOS)
        wide, high = inset.width / _FINER, inset.height / _FINER
        left, upper = x + 8, y + THUMBNAIL - high - 8
        pen.box(left - 3, upper - 3, wide + 6, high + 6, radius=10, fill="#ffffff")
        pen.paste(inset, left, upper)


def _changes(pen: _Pen, changed: Sequence[tuple[int, str]], x: int, y: int) -> None:
    """List the repainted objects in two lines, each with its number in its colour."""
    left, line = 0.0, 0
    for index, (number, label) in enumerate(changed):
        words = label if len(label) <= 16 else label[:15] + "…"
        tag = max(22.0, pen.length(str(number), 15) + 12)
        needed = tag + 5 + pen.length(words, 15)
        more = f"+{len(changed) - index}"
        room = THUMBNAIL - (pen.length(more, 15) + 8 if line == 1 and index < len(changed) - 1 else 0)
        if left and left + needed > room:
            if line == 1:
                pen.text(x + left, y + line * 27 + 11, more, 15, _PALE, anchor="lm")
                return
            left, line = 0.0, 1
        colour = outline_colour(number)
        dark = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] < 140
        top = y + line * 27
        pen.box(x + left, top, tag, 22, radius=7, fill=colour)
        ink = "#ffffff" if dark else "#000000"
        pen.text(x + left + tag / 2, top + 11, str(number), 15, ink, anchor="mm")
        pen.text(x + left + tag + 5, top + 11, words, 15, _INK, anchor="lm")
        left += needed + 12
