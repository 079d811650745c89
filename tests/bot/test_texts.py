"""Words and pictures within Discord's limits."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bot import images, texts
from pipeline.domain import Box, Detection, SceneObject

_UNESCAPED = re.compile(r"(?<!\\)(?:\\\\)*[*_~`|<\[@]")


@given(st.text(), st.integers(8, 80))
def test_a_quote_keeps_to_its_limit_and_leaves_no_syntax(text: str, limit: int) -> None:
    quoted = texts.quote(text, limit)
    assert len(quoted) <= limit
    assert quoted[0] == "\u2068"
    assert quoted[-1] == "\u2069"
    inner = quoted[1:-1]
    assert not _UNESCAPED.search(inner)
    assert not set(inner) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\n")
    assert (len(inner) - len(inner.rstrip("\\"))) % 2 == 0  # no escape reaches out of the quote


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=30))
def test_what_a_reader_sees_of_a_quote_is_what_was_written(text: str) -> None:
    inner = texts.quote(text, 200)[1:-1]
    # As Discord does: a backslash before what is neither letter, digit nor space goes.
    assert re.sub(r"\\([^0-9A-Za-z\s])", r"\1", inner) == text


def noisy(side: int) -> bytes:
    picture = np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def test_encodings_get_smaller_down_to_almost_nothing() -> None:
    png = noisy(512)
    encodings = list(images.encodings(png))
    assert encodings[0].data == png
    assert encodings[0].remark == ""
    sizes = [len(encoding.data) for encoding in encodings]
    assert sizes[2:] == sorted(sizes[2:], reverse=True)  # the lossless one may be larger than the PNG
    assert sizes[-1] < len(png) / 20
    with Image.open(io.BytesIO(encodings[1].data)) as image:
        assert np.array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(png))))
    with Image.open(io.BytesIO(encodings[-1].data)) as image:
        assert max(image.size) <= 256


@pytest.mark.parametrize(
    "box", [Box(0, 0, 64, 64), Box(60, 60, 64, 64), Box(0, 30, 64, 33), Box(10, 20, 11, 21)]
)
def test_thumbnails_show_the_object_wherever_it_is(box: Box) -> None:
    picture = np.full((64, 64, 3), 30, np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[box.y1 : box.y2, box.x1 : box.x2] = True
    picture[mask] = (250, 20, 20)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    item = SceneObject(1, Detection("Hat", 1.0, box, mask), "hat")
    (cut,) = images.thumbnails(buffer.getvalue(), [item])
    with Image.open(io.BytesIO(cut)) as image:
        assert max(image.size) == images.THUMBNAIL
        pixels = np.asarray(image.convert("RGB")).astype(int)
    red = (pixels[..., 0] > 150) & (pixels[..., 1] < 120)
    assert red.any()
    # The rest is dimmed: nothing is as dark as the picture was.
    if not mask.all():
        assert pixels.sum(axis=2).min() > 30 * 3
