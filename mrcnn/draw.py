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


def curves(steps: Sequence[int], values: Mapping[str, Sequence[float]]) -> Image.Image:
    """Plot each of `values` over `steps`, smoothed, on one logarithmic scale."""
    width, height, edge = 960, 540, 60
    smooth = {name: _smooth(np.maximum(np.asarray(v, np.float64), 1e-4)) for name, v in values.items()}
    low = np.floor(np.log10(min(v.min() for v in smooth.values())))
    high = max(np.ceil(np.log10(max(v.max() for v in smooth.values()))), low + 1)
    picture = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(picture)
    across = (np.asarray(steps) - steps[0]) / max(1, steps[-1] - steps[0]) * (width - 2 * edge) + edge

    def down(value: NDArray) -> NDArray:
        return height - edge - (np.log10(value) - low) / (high - low) * (height - 2 * edge)

    for power in np.arange(low, high + 1):
        y = float(down(np.asarray(10.0**power)))
        pen.line((edge, y, width - edge, y), fill="lightgrey")
        pen.text((8, y - 7), f"{10.0**power:g}", fill="black", font_size=13)
    for x, step in ((edge, steps[0]), (width - edge, steps[-1])):
        pen.text((x - 10, height - edge + 8), f"{step}", fill="black", font_size=13)
    for i, (name, v) in enumerate(smooth.items()):
        colour = tuple(round(255 * c) for c in colorsys.hsv_to_rgb(i / len(smooth), 0.9, 0.75))
        pen.line(list(zip(across.tolist(), down(v).tolist(), strict=True)), fill=colour, width=2)
        pen.text((edge + 150 * i, 20), name, fill=colour, font_size=15)
    return picture


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average each value with its neighbours, a fiftieth of the whole wide."""
    reach = max(1, len(values) // 50)
    total = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    first, last = np.maximum(place - reach, 0), np.minimum(place + reach + 1, len(values))
    return (total[last] - total[first]) / (last - first)
