"""Contact sheets: rows of pictures in one PNG."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def write_sheet(path: Path, rows: Sequence[Iterable[NDArray[np.uint8]]], gap: int = 4) -> None:
    """Write rows of pictures uint8 [H, W, 3], which may differ in number and size, as one PNG."""
    filled = [list(row) for row in rows]
    height = sum(max(p.shape[0] for p in row) + gap for row in filled)
    width = max(sum(p.shape[1] + gap for p in row) for row in filled)
    sheet = np.full((height, width, 3), 255, np.uint8)
    y = 0
    for row in filled:
        x = 0
        for picture in row:
            sheet[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
            x += picture.shape[1] + gap
        y += max(p.shape[0] for p in row) + gap
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path)
