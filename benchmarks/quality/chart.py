"""Figures as a picture: a bar with its interval for each, and the range that it should be in."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .figures import Figure

_ROW, _TEXT, _BAR, _MARGIN = 24, 470, 620, 20  # pixels
_INK, _PALE, _PAPER = (42, 40, 54), (214, 208, 200), (250, 247, 242)
_GOOD, _BAD, _PLAIN, _WANTED = (92, 160, 110), (214, 96, 90), (110, 136, 196), (214, 232, 214)


def draw_chart(path: Path, groups: Sequence[tuple[str, Sequence[Figure]]]) -> None:
    """Write the groups of figures as a PNG; bars end at 1.5, or where larger values need it."""
    rows = sum(len(figures) + 2 for _, figures in groups)
    image = Image.new("RGB", (_TEXT + _BAR + 250, rows * _ROW + 2 * _MARGIN), _PAPER)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    y = _MARGIN
    for title, figures in groups:
        pen.text((_MARGIN, y + 6), title, _INK, ImageFont.load_default(18))
        y += _ROW + 6
        for figure in figures:
            _draw_row(pen, font, y, figure)
            y += _ROW
        y += _ROW - 6
    image.save(path)


def _draw_row(
    pen: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, y: int, figure: Figure
) -> None:
    top = 1.5 if max(figure.high, *(figure.target or (0.0,))) <= 1.5 else max(figure.high * 1.1, 60.0)

    def place(value: float) -> float:
        return _TEXT + min(1.0, value / top) * _BAR

    pen.text((_MARGIN, y), f"{figure.name}  (n = {figure.count})", _INK, font)
    if figure.target:
        pen.rectangle((place(figure.target[0]), y, place(figure.target[1]) + 1, y + _ROW - 4), _WANTED)
    colour = _PLAIN
    if figure.target and figure.count:
        colour = _GOOD if figure.target[0] <= figure.value <= figure.target[1] else _BAD
    if figure.count:
        pen.rectangle((_TEXT, y + 5, place(figure.value), y + _ROW - 9), colour)
        pen.line((place(figure.low), y + 9, place(figure.high), y + 9), _INK, 2)
    pen.line((_TEXT, y, _TEXT, y + _ROW - 3), _PALE)
    pen.text((_TEXT + _BAR + 10, y), str(figure), _INK, font)
