"""A drawing surface that keeps, beside the colours, which thing each pixel belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .palette import COLOURS, Rgb, accent, mix
from .spec import Look

SUPERSAMPLE = 2
Point = tuple[float, float]  # (x, y) in scene heights
Window = tuple[float, float, float, float]  # (y1, x1, y2, x2) as shares of the whole scene


@dataclass(frozen=True, slots=True)
class Thing:
    """A labelled thing on the canvas; what is drawn as its child counts as part of it too."""

    label: str
    tags: tuple[str, ...]
    parent: int  # 0 is nothing


class Canvas:
    """Paint shapes given in scene heights; each shape overwrites colours and owner of what it covers."""

    def __init__(self, height: int, width: int, window: Window, aspect: float, background: Rgb) -> None:
        self._size = (height, width)
        self._offset = (window[1] * aspect, window[0])  # (x, y)
        self._scale = height * SUPERSAMPLE / (window[2] - window[0])
        self._image = Image.new("RGB", (width * SUPERSAMPLE, height * SUPERSAMPLE), background)
        self._owners = Image.new("I", self._image.size, 0)
        self._draw = ImageDraw.Draw(self._image)
        self._own = ImageDraw.Draw(self._owners)
        self.things: list[Thing] = []

    def add(self, label: str, tags: tuple[str, ...], parent: int = 0) -> int:
        """Register a thing; give the owner number to draw it with."""
        self.things.append(Thing(label, tags, parent))
        return len(self.things)

    def polygon(
        self,
        points: Sequence[Point],
        fill: Rgb | Look,
        owner: int,
        *,
        unit: float = 0.04,
        vertical: bool = False,
        tint: Rgb | None = None,
    ) -> None:
        """Fill a polygon; a Look is painted with its pattern, whose repeat is `unit` scene heights."""
        pixels = [self._pixel(point) for point in points]
        if len(pixels) < 3:
            return
        if isinstance(fill, Look):
            colour = mix(COLOURS[fill.colour], tint, 0.14) if tint else COLOURS[fill.colour]
            if fill.pattern in ("plain", "calm", "rippled"):
                self._draw.polygon(pixels, colour)
            else:
                self._patterned(pixels, points, colour, fill.pattern, unit, vertical)
        else:
            self._draw.polygon(pixels, fill)
        self._own.polygon(pixels, owner)

    def rectangle(
        self,
        x1: float,
        y1: float,
        x2: float,
        y2: float,
        fill: Rgb | Look,
        owner: int,
        *,
        unit: float = 0.04,
        vertical: bool = False,
        tint: Rgb | None = None,
    ) -> None:
        corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
        self.polygon(corners, fill, owner, unit=unit, vertical=vertical, tint=tint)

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, fill: Rgb | Look, owner: int, *, unit: float = 0.04
    ) -> None:
        angles = np.linspace(0, 2 * np.pi, 36, endpoint=False)
        self.polygon(
            [(x + rx * float(np.cos(a)), y + ry * float(np.sin(a))) for a in angles], fill, owner, unit=unit
        )

    def line(self, points: Sequence[Point], width: float, fill: Rgb, owner: int) -> None:
        """Draw a line with round joints and ends, `width` in scene heights."""
        pixels = [self._pixel(point) for point in points]
        thick = max(1, round(width * self._scale))
        for draw, value in ((self._draw, fill), (self._own, owner)):
            draw.line(pixels, value, thick, "curve")
            radius = thick / 2 - 0.5
            for x, y in (pixels[0], pixels[-1]):
                if radius >= 1:
                    draw.ellipse((x - radius, y - radius, x + radius, y + radius), value)

    def gradient(self, y1: float, y2: float, stops: Sequence[Rgb], owner: int) -> None:
        """Fill the full width between two heights with colours from top to bottom."""
        top, bottom = self._pixel((0, y1))[1], self._pixel((0, y2))[1]
        first, last = max(0, round(top)), min(self._image.height, round(bottom))
        if last <= first:
            return
        at = (np.arange(first, last) + 0.5 - top) / (bottom - top)
        places = np.linspace(0, 1, len(stops))
        column = np.stack(
            [np.interp(at, places, [stop[c] for stop in stops]) for c in range(3)], -1
        )  # [h, 3]
        strip = np.broadcast_to(np.rint(column).astype(np.uint8)[:, None], (len(at), self._image.width, 3))
        self._image.paste(Image.fromarray(np.ascontiguousarray(strip)), (0, first))
        self._own.rectangle((0, first, self._image.width, last - 1), owner)

    def glow(self, x: float, y: float, radius: float, colour: Rgb, strength: float) -> None:
        """Lighten a soft disc; it belongs to nobody."""
        cx, cy = self._pixel((x, y))
        r = radius * self._scale
        x1, y1 = max(0, int(cx - r)), max(0, int(cy - r))
        x2, y2 = min(self._image.width, int(cx + r) + 1), min(self._image.height, int(cy + r) + 1)
        if x1 >= x2 or y1 >= y2:
            return
        yy, xx = np.mgrid[y1:y2, x1:x2]
        distance = np.hypot(xx - cx, yy - cy) / r
        alpha = np.clip(1 - distance, 0, 1)[..., None] ** 1.5 * strength
        patch = np.asarray(self._image.crop((x1, y1, x2, y2)), np.float32)
        blended = patch + (np.asarray(colour, np.float32) - patch) * alpha
        self._image.paste(Image.fromarray(np.rint(blended).astype(np.uint8)), (x1, y1))

    def finish(self) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Give the picture uint8 [H, W, 3] and a mask per thing bool [N, H, W] of its visible part."""
        height, width = self._size
        image = self._image.resize((width, height), Image.Resampling.BOX)
        owners = np.asarray(self._owners)[SUPERSAMPLE // 2 :: SUPERSAMPLE, SUPERSAMPLE // 2 :: SUPERSAMPLE]
        masks = np.zeros((len(self.things), height, width), np.bool_)
        # A child's number is always above its parent's, so one pass from the end gathers whole families.
        for number in range(len(self.things), 0, -1):
            masks[number - 1] |= owners == number
            parent = self.things[number - 1].parent
            if parent:
                masks[parent - 1] |= masks[number - 1]
        return np.array(image, np.uint8), masks

    def _pixel(self, point: Point) -> Point:
        return ((point[0] - self._offset[0]) * self._scale, (point[1] - self._offset[1]) * self._scale)

    def _patterned(
        self,
        pixels: Sequence[Point],
        points: Sequence[Point],
        colour: Rgb,
        pattern: str,
        unit: float,
        vertical: bool,
    ) -> None:
        xs, ys = [p[0] for p in pixels], [p[1] for p in pixels]
        x1, y1 = max(0, int(min(xs))), max(0, int(min(ys)))
        x2, y2 = min(self._image.width, int(max(xs)) + 2), min(self._image.height, int(max(ys)) + 2)
        if x1 >= x2 or y1 >= y2:
            return
        cover = Image.new("1", (x2 - x1, y2 - y1))
        ImageDraw.Draw(cover).polygon([(x - x1, y - y1) for x, y in pixels], 1)
        middle = self._pixel((sum(p[0] for p in points) / len(points), min(p[1] for p in points)))
        step = unit * self._scale
        u = (np.arange(x1, x2, dtype=np.float32)[None] - middle[0]) / step
        v = (np.arange(y1, y2, dtype=np.float32)[:, None] - middle[1]) / step
        shades = _pattern(pattern, v if vertical else u, u if vertical else v)  # [h, w] of 0, 1, 2
        table = np.array([colour, accent(colour), mix(colour, accent(colour), 0.55)], np.uint8)
        self._image.paste(Image.fromarray(table[shades]), (x1, y1), cover)


def _pattern(name: str, u: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Give 0 for the ground, 1 for the accent, 2 for the shade between, at places counted in repeats."""
    if name == "striped":
        return np.broadcast_to(((v % 1) > 0.58).astype(np.uint8), np.broadcast_shapes(u.shape, v.shape))
    if name == "plaid":
        across, along = (v % 1) > 0.68, (u % 1) > 0.68
        return np.where(across & along, 1, np.where(across | along, 2, 0)).astype(np.uint8)
    row = np.floor(v)
    x, y = (u + 0.5 * (row % 2)) % 1 - 0.5, v % 1 - 0.5
    distance = np.hypot(x, y)
    if name == "dotted":
        return (distance < 0.27).astype(np.uint8)
    petals = distance < 0.30 + 0.13 * np.cos(5 * np.arctan2(y, x) + np.pi / 2)
    return np.where(distance < 0.11, 2, petals).astype(np.uint8)


def smooth(points: Sequence[Point], rounds: int = 2) -> list[Point]:
    """Round a closed polygon's corners (Chaikin's corner cutting)."""
    for _ in range(rounds):
        cut: list[Point] = []
        for (ax, ay), (bx, by) in zip(points, [*points[1:], points[0]], strict=True):
            cut.append((0.75 * ax + 0.25 * bx, 0.75 * ay + 0.25 * by))
            cut.append((0.25 * ax + 0.75 * bx, 0.25 * ay + 0.75 * by))
        points = cut
    return list(points)
