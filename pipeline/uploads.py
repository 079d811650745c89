"""Pictures that members bring: checked before a pixel is decoded, then brought to what a backend paints."""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image, ImageOps

from pipeline.domain import GeneratorInfo
from pipeline.errors import InvalidRequest
from pipeline.masks import Picture
from pipeline.provenance import encode

MAX_BYTES = 25 * 2**20
MAX_PIXELS = 40_000_000  # 120 MB decoded; a telephone's camera makes 12 to 50 million
MAX_SIDE = 16_384
FORMATS = ("PNG", "JPEG", "WEBP")
_KINDS = ("image/png", "image/jpeg", "image/webp")


def check_declared(
    *, size: int, kind: str | None = None, width: int | None = None, height: int | None = None
) -> None:
    """Refuse a file by what is said of it, before it is fetched: bytes, MIME type, pixels. InvalidRequest."""
    if size > MAX_BYTES:
        raise InvalidRequest(
            f"The file has {size / 2**20:.1f} MiB; at most {MAX_BYTES // 2**20} MiB are possible: "
            "attach a smaller one."
        )
    if kind is not None and kind.partition(";")[0].strip().lower() not in _KINDS:
        raise InvalidRequest("The file is not a PNG, JPEG or WebP picture: attach one of these.")
    if width and height:
        _check_pixels(width, height)


def open_checked(data: bytes) -> Image.Image:
    """Open a PNG, JPEG or WebP file without decoding its pixels. InvalidRequest for everything else.

    The header says how many pixels there will be: a file of a few bytes that unfolds to gigabytes, in its
    pixels or in its texts, is refused here.
    """
    check_declared(size=len(data))
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidRequest(_too_many()) from error
    # Pillow tells broken files in many ways, among them SyntaxError, ValueError, struct.error, zlib.error.
    except Exception as error:
        raise InvalidRequest(
            "The file is not a PNG, JPEG or WebP picture, or it is damaged: attach another one."
        ) from error
    _check_pixels(*image.size)
    return image


def decode(data: bytes) -> Picture:
    """Decode a checked file, upright, to RGB [H, W, 3]; what is transparent becomes white. InvalidRequest."""
    with open_checked(data) as image:
        try:
            image.load()
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits of grey, which `convert` would clip
                upright = Image.fromarray((np.asarray(upright, np.float64) / 257).clip(0, 255).astype("u1"))
            if upright.has_transparency_data:
                clear = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
            return np.asarray(upright.convert("RGB"))
        except Exception as error:
            raise InvalidRequest("The picture is damaged: attach another one.") from error


def fit_sides(
    picture_width: int, picture_height: int, info: GeneratorInfo, *, width: int | None, height: int | None
) -> tuple[int, int]:
    """Return the (width, height) to paint over a picture: its shape, as large as the backend's own pictures.

    A side that is given stays; with both nothing is left to choose. Every side is a multiple that the backend
    takes and within its limits, so the shape of a very long picture is not kept wholly.
    """
    shape = picture_width / picture_height
    if width and not height:
        height = round(width / shape)
    elif height and not width:
        width = round(height * shape)
    elif not width or not height:
        area = info.default_width * info.default_height
        width, height = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
    return _side(width, info), _side(height, info)


def cut_to(picture: Picture, width: int, height: int) -> bytes:
    """Scale a picture [H, W, 3] to cover `width` x `height` and cut off what stands out; give a PNG."""
    size = (width, height)
    fitted = ImageOps.fit(Image.fromarray(picture), size, Image.Resampling.LANCZOS, centering=(0.5, 0.5))
    return encode(np.asarray(fitted))


def _side(pixels: int, info: GeneratorInfo) -> int:
    low, high = -(-info.min_side // info.multiple), info.max_side // info.multiple
    return min(max(round(pixels / info.multiple), low), high) * info.multiple


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise InvalidRequest(_too_many(f" has {width:,} × {height:,} pixels"))


def _too_many(found: str = " has too many pixels") -> str:
    return (
        f"The picture{found}; at most {MAX_PIXELS // 1_000_000} million, "
        f"and {MAX_SIDE:,} a side, are possible: attach a smaller one."
    )
