"""Pictures made small enough to send. All of it is slow: call it in a thread."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipeline.domain import Box, SceneObject

THUMBNAIL = 192  # pixels
OVERLAY = 1024
PREVIEW = 512
FRAME, LAST_FRAME = 1200, 2400  # milliseconds of an animation's pictures, and of its last


@dataclass(frozen=True, slots=True)
class Encoding:
    """A picture's file and what to say about it where it is not the picture itself."""

    extension: str
    data: bytes
    remark: str = ""


def encodings(png: bytes) -> Iterator[Encoding]:
    """Yield a picture's files, the best first, each made only when the one before was too large."""
    yield Encoding("png", png)
    with Image.open(io.BytesIO(png)) as opened:
        image = opened.convert("RGB")
    yield Encoding("webp", _save(image, "WEBP", lossless=True, method=4), "shown as lossless WebP")
    for quality in (95, 85, 70):
        yield Encoding(
            "webp", _save(image, "WEBP", quality=quality, method=4), f"shown as WebP of quality {quality}"
        )
    while max(image.size) > 256:
        image = image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.LANCZOS)
        remark = f"shown smaller, {image.width} × {image.height}"
        yield Encoding("webp", _save(image, "WEBP", quality=85, method=4), remark)


def preview(picture: bytes) -> bytes:
    """Make a small WebP of a picture that is still being painted."""
    return _shrunk(picture, PREVIEW)


def overview(picture: bytes) -> bytes:
    """Make a WebP of a picture with outlines, small enough to go beside ten thumbnails."""
    return _shrunk(picture, OVERLAY)


def thumbnails(png: bytes, objects: Sequence[SceneObject]) -> list[bytes]:
    """Cut each object out of the picture, what is around it dimmed, as WebP at most THUMBNAIL pixels."""
    with Image.open(io.BytesIO(png)) as opened:
        picture = np.asarray(opened.convert("RGB"))  # [H, W, 3]
    return [_thumbnail(picture, item) for item in objects]


def film(pngs: Sequence[bytes], limit: int) -> bytes | None:
    """Make an animated WebP of pictures in order, as large as `limit` bytes allow, None if nothing fits."""
    for side, quality in ((1024, 85), (768, 80), (512, 80), (384, 75), (256, 60)):
        frames: list[Image.Image] = []
        for png in pngs:
            with Image.open(io.BytesIO(png)) as opened:
                frame = opened.convert("RGB")
            frame.thumbnail((side, side), Image.Resampling.LANCZOS)
            # Every picture of a session has one size; a frame of another would be refused.
            frames.append(frame if not frames else frame.resize(frames[0].size))
        buffer = io.BytesIO()
        frames[0].save(
            buffer,
            "WEBP",
            save_all=True,
            append_images=frames[1:],
            duration=[FRAME] * (len(frames) - 1) + [LAST_FRAME],
            loop=0,
            quality=quality,
            method=2,
        )
        if buffer.tell() <= limit:
            return buffer.getvalue()
    return None


def _thumbnail(picture: np.ndarray, item: SceneObject) -> bytes:
    box = _around(item.detection.box, *picture.shape[:2])
    window = (slice(box.y1, box.y2), slice(box.x1, box.x2))
    crop, mask = picture[window], item.detection.mask[window]
    shown = np.where(mask[..., None], crop, 170 + (crop.astype(np.int16) - 170) // 3).astype(np.uint8)
    image = Image.fromarray(shown)
    # A hat of 20 pixels must still be seen: small windows are enlarged.
    scale = THUMBNAIL / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return _save(image.resize(size, Image.Resampling.LANCZOS), "WEBP", quality=90, method=2)


def _around(box: Box, height: int, width: int) -> Box:
    """Widen a box by an eighth and to a square, as far as the picture goes."""
    side = round(max(box.height, box.width, 16) * 1.25)
    y = (box.y1 + box.y2 - side) // 2
    x = (box.x1 + box.x2 - side) // 2
    return Box(max(0, y), max(0, x), min(height, y + side), min(width, x + side))


def _shrunk(picture: bytes, side: int) -> bytes:
    with Image.open(io.BytesIO(picture)) as opened:
        image = opened.convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return _save(image, "WEBP", quality=85, method=2)


def _save(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
