"""Attached pictures: what is refused before a pixel is decoded, and what becomes of the others."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pipeline import provenance, uploads
from pipeline.domain import GeneratorInfo
from pipeline.errors import InvalidRequest

INFO = GeneratorInfo("fake", 64, 96, 96, 8, 32, 1024)


def file(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks: bytes, width: int = 4, height: int = 4) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = zlib.compress(b"\0" * (4 * (4 * 3 + 1)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"size": 26 * 2**20}, "26.0 MiB"),
        ({"size": 10, "kind": "application/zip"}, "not a PNG, JPEG or WebP"),
        ({"size": 10, "kind": "image/svg+xml"}, "not a PNG, JPEG or WebP"),
        ({"size": 10, "kind": "image/png", "width": 8000, "height": 8000}, "8,000 × 8,000"),
        ({"size": 10, "width": 20_000, "height": 2}, "16,384 a side"),
    ],
)
def test_what_is_said_of_a_file_is_enough_to_refuse_it(declared, words):
    with pytest.raises(InvalidRequest, match=words):
        uploads.check_declared(**declared)


def test_what_may_pass_does():
    uploads.check_declared(size=10, kind="image/jpeg; charset=x", width=4000, height=3000)
    uploads.check_declared(size=10)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a PNG"),
        (b"MZ" + b"\0" * 4000, "not a PNG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a PNG"),
        (file(Image.new("RGB", (8, 8)), "GIF"), "not a PNG"),
        (file(Image.new("RGB", (8, 8)), "BMP"), "not a PNG"),
        (file(Image.new("RGB", (8, 8)), "TIFF"), "not a PNG"),
        (png(width=30_000, height=30_000), "too many pixels"),
        (png(width=9_000, height=9_000), "9,000 × 9,000|too many pixels"),
        (png(width=100_000, height=10), "100,000 × 10"),
        (png(chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 90_000_000))), "not a PNG"),
        (png(chunk(b"iCCP", b"a\0\0" + zlib.compress(b"\0" * 90_000_000))), "damaged|not a PNG"),
        (file(Image.effect_noise((64, 64), 50))[:2000], "damaged"),
        (file(Image.effect_noise((64, 64), 50), "JPEG")[:900], "damaged"),
        (b"x" * (uploads.MAX_BYTES + 1), "25.0 MiB"),
    ],
    ids=[
        *("empty", "exe", "svg", "gif", "bmp", "tiff", "bomb", "large", "long"),
        *("text-bomb", "profile-bomb", "cut-png", "cut-jpeg", "heavy"),
    ],
)
def test_harmful_files_are_refused_in_words(data, words):
    with pytest.raises(InvalidRequest, match=words):
        uploads.decode(data)


def test_a_bomb_is_refused_without_being_unfolded():
    """The pixels of this file are said to be many and are not there at all: only the header was read."""
    with pytest.raises(InvalidRequest, match="8,000 × 8,000"):
        uploads.decode(png(width=8000, height=8000))


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *(("PNG", mode) for mode in ("RGB", "L", "P", "RGBA", "LA", "1", "I;16")),
        *(("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
        *(("WEBP", mode) for mode in ("RGB", "RGBA")),
    ],
)
def test_pictures_of_every_kind_become_rgb(kind, mode):
    image = Image.new("L", (10, 6), 200)
    if mode == "I;16":
        image = Image.fromarray(np.full((6, 10), 200 * 257, np.uint16))
    else:
        image = image.convert(mode if mode != "P" else "RGB", dither=Image.Dither.NONE)
        image = image.quantize(8) if mode == "P" else image
    picture = uploads.decode(file(image, kind, **({"quality": 100} if kind != "PNG" else {})))
    assert (picture.shape, picture.dtype) == ((6, 10, 3), np.uint8)
    expected = 255 if mode == "1" else 200
    assert np.abs(picture.astype(int) - expected).max() <= 4


def test_what_is_transparent_becomes_white_and_what_lies_on_its_side_upright():
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert (uploads.decode(file(clear)) == 255).all()
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera on its side
    assert uploads.decode(file(Image.new("RGB", (20, 10)), "JPEG", exif=exif)).shape == (20, 10, 3)


@pytest.mark.parametrize(
    ("picture", "given", "expected"),
    [
        ((4000, 4000), {}, (96, 96)),
        ((4000, 2000), {}, (136, 64)),  # the shape is kept, the area is that of the backend's own
        ((10, 10_000), {}, (32, 1024)),  # as far as it goes
        ((4000, 2000), {"width": 200}, (200, 96)),
        ((4000, 2000), {"height": 200}, (400, 200)),
        ((4000, 2000), {"width": 64, "height": 64}, (64, 64)),
    ],
)
def test_the_sides_follow_the_picture_and_the_backend(picture, given, expected):
    width, height = picture
    sides = uploads.fit_sides(width, height, INFO, **{"width": None, "height": None} | given)
    assert sides == expected
    assert all(side % 8 == 0 for side in sides)


def test_a_picture_is_cut_not_stretched():
    picture = np.zeros((100, 300, 3), np.uint8)
    picture[:, 100:200] = 255  # the middle third
    cut = provenance.decode(uploads.cut_to(picture, 64, 64))
    assert cut.shape == (64, 64, 3)
    assert (cut[:, 4:60] == 255).all()
