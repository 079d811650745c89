"""Pictures for people: what was found, with numbered outlines."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from skimage.segmentation import expand_labels

from pipeline.domain import Detection, Mask

# Far apart in hue for eyes of all kinds; more objects than these get hues between them.
_COLOURS = (
    "#ffd400",
    "#00b7ff",
    "#ff3d7f",
    "#37d67a",
    "#ff8a1f",
    "#9b6bff",
    "#00e0d0",
    "#e03131",
    "#b2f200",
    "#ff7ae0",
)
_SMALLEST = 512  # pixels of the longer side: below that a number hides what it names


def outline_colour(number: int) -> tuple[int, int, int]:
    """Give the colour (R, G, B) of object `number`, 1-based."""
    if number <= len(_COLOURS):
        value = _COLOURS[number - 1]
        return int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)
    red, green, blue = colorsys.hsv_to_rgb(number * 0.618034 % 1, 0.75, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def outlined(png: bytes, detections: Sequence[Detection]) -> bytes:
    """Draw the outline of each detection and its number, from 1 in order, on a picture.

    Small pictures are enlarged by a whole factor until the longer side has 512 pixels. Gives a PNG, RGB.
    """
    with Image.open(io.BytesIO(png)) as opened:
        image = opened.convert("RGB")
    factor = max(1, -(-_SMALLEST // max(image.size)))
    image = image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)
    line = max(2, round(max(image.size) / 320))
    canvas = np.asarray(image).copy()  # uint8 [H, W, 3]
    masks = [detection.mask.repeat(factor, 0).repeat(factor, 1) for detection in detections]
    # Large objects first, so that the outline of a small one in front is whole.
    for index in sorted(range(len(masks)), key=lambda index: -masks[index].sum()):
        _outline(canvas, masks[index], line, outline_colour(index + 1))
    image = Image.fromarray(canvas)
    _number(image, masks, round(max(14, max(image.size) / 42)))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _outline(
    canvas: NDArray[np.uint8], mask: Mask, line: int, colour: tuple[int, int, int]
) -> None:  # canvas [H, W, 3]
    """Draw a line around a mask with a dark and a light rim, legible on any background."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return
    margin = 2 * line + 2
    top, left = max(0, rows[0] - margin), max(0, columns[0] - margin)
    area = np.s_[top : rows[-1] + margin + 1, left : columns[-1] + margin + 1]
    # A border of False inside the picture's edge: an object that leaves the picture is outlined there too.
    inside = np.pad(mask, 1)[1:-1, 1:-1].copy()
    inside[:line], inside[-line:], inside[:, :line], inside[:, -line:] = False, False, False, False
    labels = inside[area].astype(np.uint8)
    if not labels.any():
        labels = mask[area].astype(np.uint8)
    rim = max(1, line // 2)
    crop = canvas[area]
    near = expand_labels(labels, line).astype(bool)
    crop[expand_labels(labels, line + rim).astype(bool) & ~near] = (20, 20, 20)
    crop[near & ~labels.astype(bool)] = colour


def _number(image: Image.Image, masks: Sequence[Mask], size: int) -> None:
    """Put a number tag at each mask, where it hides no other tag and little of small objects."""
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=size)
    weight = np.zeros((image.height, image.width), np.float32)  # [H, W] how much a pixel matters
    for mask in masks:
        if mask.any():
            weight[mask] = np.maximum(weight[mask], 1 / mask.sum())
    for number, mask in enumerate(masks, start=1):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            continue
        width, height = round(draw.textlength(str(number), font) + 0.7 * size), round(1.3 * size)
        box = int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
        large = box[2] - box[0] > 3 * height and box[3] - box[1] > 3 * width

        costs: list[tuple[float, int, int, int]] = []
        for rank, (y, x) in enumerate(_places(box, width, height, image.size, large)):
            hidden = float(weight[y : y + height, x : x + width].sum())
            # The tag of a large object lies on it: beside it, it could be its neighbour's.
            away = large and not mask[y + height // 2, x + width // 2]
            costs.append((hidden + 0.5 * away, rank, y, x))
        _, _, y, x = min(costs)
        weight[y : y + height, x : x + width] += 1  # no tag on a tag
        colour = outline_colour(number)
        dark = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] < 140
        edges = (x, y, x + width - 1, y + height - 1)
        draw.rounded_rectangle(edges, size // 4, fill=colour, outline=(20, 20, 20), width=max(1, size // 10))
        middle = (x + width / 2, y + height / 2)
        draw.text(middle, str(number), fill="white" if dark else "black", font=font, anchor="mm")


def _places(
    box: tuple[int, int, int, int], width: int, height: int, size: tuple[int, int], large: bool
) -> list[tuple[int, int]]:
    """List where the tag of a box (y1, x1, y2, x2) may go: (y, x) of its corner, inside a picture (W, H)."""
    y1, x1, y2, x2 = box
    inset = height // 3 if large else 0
    top, bottom = y1 + inset, y2 - height - inset
    left, right = x1 + inset, x2 - width - inset
    middle_y, middle_x = (y1 + y2 - height) // 2, (x1 + x2 - width) // 2
    corners = [(top, left), (top, right), (bottom, left), (bottom, right)]
    inside = [*corners, (top, middle_x), (bottom, middle_x), (middle_y, left), (middle_y, middle_x)]
    around = [(y1 - height, middle_x), (y2, middle_x), (middle_y, x2), (middle_y, x1 - width)]
    wanted = inside if large else [*around, *corners]
    return [
        (min(max(0, y), max(0, size[1] - height)), min(max(0, x), max(0, size[0] - width))) for y, x in wanted
    ]
