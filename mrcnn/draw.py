"""Pictures of what was found."""

import colorsys
from collections.abc import Sequence

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
    for i in reversed(range(count)):
        y1, x1, y2, x2 = (int(v) for v in result["rois"][i])
        pen.rectangle((x1, y1, x2 - 1, y2 - 1), outline=colours[i])
        text = f"{classes[result['class_ids'][i] - 1]} {result['scores'][i]:.2f}"
        pen.text((x1 + 2, y1 + 1), text, fill="white", stroke_width=1, stroke_fill="black")
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
