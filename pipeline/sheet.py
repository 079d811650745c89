"""A session as one picture: for every recursion before, the story and the notes, and after."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from pipeline.domain import SceneObject
from pipeline.masks import Picture

PANEL = 480  # pixels: the side that a picture is fitted into
TEXT = 420
MARGIN = 24
INK, PALE, PAPER = (42, 40, 54), (120, 116, 136), (250, 247, 242)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One step of a session: `before` is the picture with its numbered outlines."""

    title: str
    before: Picture | None
    after: Picture
    story: str
    objects: tuple[SceneObject, ...]


def contact_sheet(prompt: str, rows: Sequence[Row]) -> Image.Image:
    """Draw a session's steps below one another."""
    width = PANEL * 2 + TEXT + MARGIN * 4
    heading, title, body = (ImageFont.load_default(size) for size in (26, 20, 15))
    prompt_lines = textwrap.wrap(prompt, 100)[:4] or [""]
    top = MARGIN * 2 + 34 * len(prompt_lines)
    heights = [max(PANEL, _text_height(row)) + MARGIN * 2 + 30 for row in rows]
    sheet = Image.new("RGB", (width, top + sum(heights)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, line in enumerate(prompt_lines):
        draw.text((MARGIN, MARGIN + 34 * index), line, INK, heading)
    y = top
    for row, height in zip(rows, heights, strict=True):
        draw.line((MARGIN, y, width - MARGIN, y), (214, 208, 200), 2)
        draw.text((MARGIN, y + 10), row.title, INK, title)
        panels_top = y + 44
        if row.before is not None:
            _fit(sheet, row.before, MARGIN, panels_top)
            _notes(draw, row, MARGIN * 2 + PANEL, panels_top, body)
        _fit(sheet, row.after, MARGIN * 3 + PANEL + TEXT, panels_top)
        y += height
    return sheet


def _fit(sheet: Image.Image, picture: Picture, x: int, y: int) -> None:
    image = Image.fromarray(picture)
    scale = min(PANEL / image.width, PANEL / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    sheet.paste(image.resize(size, Image.Resampling.LANCZOS), (x, y))


def _lines(row: Row) -> list[tuple[str, bool]]:
    lines = [(line, False) for line in textwrap.wrap(row.story, 54)] + [("", False)]
    for item in row.objects:
        if item.repaint:
            lines.append((f"{item.number}  {item.name}", True))
            lines += [(line, False) for line in textwrap.wrap(", ".join(item.tags), 50)]
    return lines


def _text_height(row: Row) -> int:
    return 20 * len(_lines(row))


def _notes(
    draw: ImageDraw.ImageDraw,
    row: Row,
    x: int,
    y: int,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    for line, bold in _lines(row):
        draw.text(
            (x if bold else x + 4, y), line, INK if bold else PALE, font, stroke_width=0.4 if bold else 0
        )
        y += 20
