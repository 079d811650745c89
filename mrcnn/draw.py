"""Pictures of what was found."""

import colorsys
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw


def overlay(image: NDArray[np.uint8], result: dict[str, NDArray], classes: Sequence[str]) -> Image.Image:
    """Tint each mask of `result` (of `MaskRCNN.detect`) on the picture [H, W, 3]; add boxes and names."""
    tinted = image.astype(np.float32)
    count = len(result["class_ids"])
    colours = [
        tuple(round(255 * c) for c in colorsys.hsv_to_rgb((0.61 * i) % 1, 0.75, 1.0)) for i in range(count)
    ]
    # The best last, on top.
    for i in reversed(range(count)):
        mask = result["masks"][:, :, i]
        tinted[mask] = 0.55 * tinted[mask] + 0.45 * np.array(colours[i], np.float32)
    picture = Image.fromarray(tinted.astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    letters = max(10, picture.width // 60)
    for i in reversed(range(count)):
        y1, x1, y2, x2 = (int(v) for v in result["rois"][i])
        pen.rectangle((x1, y1, x2 - 1, y2 - 1), outline=colours[i])
        text = f"{classes[result['class_ids'][i] - 1]} {result['scores'][i]:.2f}"
        pen.text((x1 + 2, y1 + 1), text, fill="white", stroke_width=1, stroke_fill="black", font_size=letters)
    return picture


def contact_sheet(pictures: Sequence[Image.Image], columns: int = 4, width: int = 320) -> Image.Image:
    """Lay pictures out in rows of `columns`, each `width` pixels wide."""
    small = [p.resize((width, max(1, round(p.height * width / p.width)))) for p in pictures]
    rows = [small[i : i + columns] for i in range(0, len(small), columns)]
    heights = [max(p.height for p in row) for row in rows]
    sheet = Image.new("RGB", (columns * (width + 4), sum(heights) + 4 * len(rows)), "white")
    y = 0
    for row, height in zip(rows, heights, strict=True):
        for i, picture in enumerate(row):
            sheet.paste(picture, (i * (width + 4), y))
        y += height + 4
    return sheet


_WIDTH, _HEIGHT, _EDGE = 960, 460, 60


def curves(
    steps: Sequence[int],
    losses: Mapping[str, Sequence[float]],
    measured: Sequence[int] = (),
    precisions: Mapping[str, Sequence[float]] | None = None,
) -> Image.Image:
    """Plot `losses` over `steps`, smoothed, on a logarithmic scale; below it `precisions`, if there are any.

    `precisions` are values from 0 to 1 at the steps `measured`.
    """
    picture = Image.new("RGB", (_WIDTH, _HEIGHT * (2 if precisions else 1)), "white")
    pen = ImageDraw.Draw(picture)
    every = [*steps, *measured]
    span = (min(every), max(every))
    smooth = {name: _smooth(np.maximum(np.asarray(v, np.float64), 1e-4)) for name, v in losses.items() if v}
    if smooth:
        powers = {name: np.log10(values) for name, values in smooth.items()}
        low = float(np.floor(min(v.min() for v in powers.values())))
        high = max(float(np.ceil(max(v.max() for v in powers.values()))), low + 1)
        marks = {float(power): f"{10.0**power:g}" for power in np.arange(low, high + 1)}
        _panel(pen, 0, "losses", span, steps, powers, marks)
    if precisions:
        values = {name: np.nan_to_num(np.asarray(v, np.float64)) for name, v in precisions.items()}
        _panel(pen, _HEIGHT, "precision", span, measured, values, {v / 5: f"{v / 5:.1f}" for v in range(6)})
    return picture


def _panel(
    pen: ImageDraw.ImageDraw,
    top: int,
    title: str,
    span: tuple[int, int],
    steps: Sequence[int],
    values: Mapping[str, NDArray[np.float64]],
    marks: Mapping[float, str],
) -> None:
    """Draw lines over steps, named in their colours, with `marks` on the upright axis, from `top` down."""
    low, high = min(marks), max(marks)

    def across(step: NDArray) -> NDArray:
        return (step - span[0]) / max(1, span[1] - span[0]) * (_WIDTH - 2 * _EDGE) + _EDGE

    def down(value: NDArray) -> NDArray:
        return top + _HEIGHT - _EDGE - (value - low) / (high - low) * (_HEIGHT - 2 * _EDGE)

    pen.text((_EDGE, top + 8), title, fill="black", font_size=17)
    for mark, text in marks.items():
        y = float(down(np.asarray(mark)))
        pen.line((_EDGE, y, _WIDTH - _EDGE, y), fill="lightgrey")
        pen.text((_EDGE - 8, y), text, fill="black", font_size=13, anchor="rm")
    for step in np.linspace(*span, 5).round().astype(int):
        x = float(across(np.asarray(step)))
        pen.line((x, top + _HEIGHT - _EDGE, x, top + _HEIGHT - _EDGE + 5), fill="grey")
        pen.text((x, top + _HEIGHT - _EDGE + 8), f"{step}", fill="black", font_size=13, anchor="ma")
    for i, (name, v) in enumerate(values.items()):
        red, green, blue = (round(255 * c) for c in colorsys.hsv_to_rgb(i / len(values), 0.9, 0.75))
        line = list(zip(across(np.asarray(steps)).tolist(), down(v).tolist(), strict=True))
        pen.line(line, fill=(red, green, blue), width=2)
        for x, y in line if len(line) < 40 else ():
            pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=(red, green, blue))
        pen.text((_EDGE + 110 + 140 * i, top + 10), name, fill=(red, green, blue), font_size=15)


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average each value with its neighbours, a fiftieth of the whole wide."""
    reach = max(1, len(values) // 50)
    total = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    first, last = np.maximum(place - reach, 0), np.minimum(place + reach + 1, len(values))
    return (total[last] - total[first]) / (last - first)
