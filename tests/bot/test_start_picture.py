"""/imagine from an attached picture, as members see it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipeline import provenance
from playground import RefusedError
from tests.bot.conftest import House


def photograph(width: int = 300, height: int = 150, kind: str = "JPEG") -> bytes:
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([rows % 256, columns % 256, (rows + columns) % 256], -1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


async def imagine(house: House, name: str, data: bytes, **options: object):
    return await house.discord.member("ada").slash(
        house.discord.general,
        "imagine",
        **{"prompt": "a red jacket", "depth": 0, "seed": 7, "image": (name, data), **options},
    )


async def test_a_session_starts_from_the_attached_picture(house: House) -> None:
    await imagine(house, "me.jpg", photograph(), strength=0.3)
    picture = await house.shown(await house.thread(), "step 1 · picture")
    session = await house.store.session(1)
    assert session.source is not None
    assert (session.width, session.height, session.source.strength) == (136, 64, 0.3)
    (request,) = house.generator.generated
    assert request.image == await house.store.source(1)
    record = provenance.read(picture.attachments[0].data)
    assert record is not None
    assert record["source"] == {"sha256": session.source.sha256, "strength": 0.3}


async def test_what_is_killed_before_it_is_painted_starts_from_the_same_picture(house: House) -> None:
    waiting = house.discord.wait_for  # the picture is on its way when the bot stops
    house.generator.turns.add(lambda: waiting(lambda: False, timeout=60))
    await imagine(house, "me.png", photograph(kind="PNG"))
    await waiting(lambda: house.generator.generated)
    await house.stop()
    await house.start()
    await house.shown(await house.thread(), "step 1 · picture")
    before, after = house.generator.generated
    assert before == after
    assert after.image is not None


@pytest.mark.parametrize(
    ("name", "data", "options", "words"),
    [
        ("notes.txt", b"hello", {}, "not a PNG, JPEG or WebP"),
        ("me.gif", photograph(kind="GIF"), {}, "not a PNG, JPEG or WebP"),
        ("me.png", b"hello", {}, "not a PNG, JPEG or WebP"),
        ("me.jpg", photograph()[:900], {}, "damaged"),
    ],
    ids=["text", "gif", "not-a-picture", "cut"],
)
async def test_other_files_are_refused_in_words(house: House, name, data, options, words) -> None:
    asked = await imagine(house, name, data, **options)
    said = await house.discord.wait_for(
        lambda: [m for m in asked.messages if not m.deleted and not m.loading and m.content]
    )
    assert words in said[-1].content
    assert said[-1].visible_to == house.discord.member("ada").id
    assert await house.store.sessions() == []
    assert [m for m in house.discord.messages(house.discord.general) if m.visible_to is None] == []


async def test_a_strength_needs_a_picture(house: House) -> None:
    ada = house.discord.member("ada")
    asked = await ada.slash(house.discord.general, "imagine", prompt="a hat", strength=0.5)
    assert asked.ephemeral
    assert "needs a picture" in asked.messages[0].content
    with pytest.raises(RefusedError):
        await imagine(house, "me.jpg", photograph(), strength=1.5)
    assert await house.store.sessions() == []
