"""Image info, as members see it."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from pipeline import provenance
from playground import Message
from tests.bot.conftest import House, MakeHouse
from tests.bot.test_sessions_command import answered, begin, grown
from tests.bot.test_start_picture import photograph

Files = list[tuple[str, bytes]]


async def info(house: House, message: Message, name: str = "bob") -> Message:
    asked = await house.discord.member(name).context_menu(message, "Image info")
    said = await answered(house, asked)
    assert said.visible_to == house.discord.member(name).id
    return said


async def uploaded(house: House, *files: tuple[str, bytes], text: str = "") -> Message:
    return await house.discord.member("bob").send(house.discord.general, text, files=files)


def fields(message: Message) -> dict[str, str]:
    return {field["name"]: field["value"] for field in message.embeds[0].get("fields", [])}


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


async def test_on_our_own_messages(house: House) -> None:
    thread = await grown(house)
    picture = await house.shown(thread, "step 4 · picture")
    told = await info(house, picture)
    assert told.embeds[0]["description"] == "Step 4 of session 1."
    found = fields(told)
    assert "a red jacket" in found["prompt"]
    assert "one thing changed, depth 1" in found["made by"]
    assert "2\\: red leather" in found["asked for"]
    assert found["objects"] == "\u20682 bag\\: red leather\u2069"
    notes = await house.shown(thread, "step 2 · notes 1")
    assert house.writer.story in fields(await info(house, notes))["story"]


async def test_on_a_picture_that_somebody_uploaded_again(house: House) -> None:
    await begin(house, depth=0, image=("me.jpg", photograph()))
    thread = await house.thread()
    picture = await house.shown(thread, "step 1 · picture")
    again = await uploaded(house, ("copy.png", picture.attachments[0].data))
    told = await info(house, again)
    link = f"https://discord.com/channels/{house.discord.guild.id}/{thread.id}/{picture.id}"
    assert told.embeds[0]["description"] == f"Exactly step 1 of session 1: [the original]({link})."
    assert "seed" in fields(told)
    assert "strength 0\\.6" in fields(told)["painted over"] or "0.6" in fields(told)["painted over"]


async def test_a_copy_of_a_hidden_session_gives_no_link(house: House) -> None:
    discord = house.discord
    hidden = discord.add_channel("hidden")
    discord.deny(hidden, discord.member("bob"), "view_channel")
    await discord.member("ada").slash(hidden, "imagine", prompt="a secret hat", depth=0)
    await house.delivered(1)
    again = await uploaded(house, ("copy.png", await house.store.picture(1) or b""))
    told = await info(house, again)
    assert "cannot vouch" in told.embeds[0]["description"]


async def test_on_the_webp_that_is_shown_where_a_png_is_too_large(make_house: MakeHouse) -> None:
    house = make_house()
    house.generator = type(house.generator)(grain=120)
    await house.start()
    house.discord.guild.upload_limit_override = 12_000
    await begin(house, depth=0)
    picture = await house.shown(await house.thread(), "step 1 · picture")
    (file,) = picture.attachments
    assert file.filename.endswith(".webp")
    again = await uploaded(house, (file.filename, file.data))
    told = await info(house, again)
    assert "a red jacket" in fields(told)["prompt"]
    assert "cannot vouch" in told.embeds[0]["description"]


def stripped(png: bytes) -> bytes:
    return saved(Image.open(io.BytesIO(png)).convert("RGB"), "JPEG")


async def test_without_provenance_it_says_so(house: House) -> None:
    await begin(house, depth=0)
    await house.delivered(1)
    screenshot = stripped(await house.store.picture(1) or b"")
    told = await info(house, await uploaded(house, ("screen.jpg", screenshot)))
    assert "tells nothing of how it was made" in told.embeds[0]["description"]
    other = PngImagePlugin.PngInfo()
    other.add_text("parameters", "a cat **bold** @everyone\nSteps: 3")
    foreign = saved(Image.new("RGB", (8, 8)), "PNG", pnginfo=other)
    told = await info(house, await uploaded(house, ("cat.png", foreign)))
    assert "another program's parameters" in told.embeds[0]["description"]
    assert "\\*\\*bold\\*\\*" in told.embeds[0]["description"]


async def test_what_cannot_be_read_is_refused_in_words(house: House) -> None:
    said = await info(house, await uploaded(house, text="hello https://example.org/a.png"))
    assert "no picture attached" in said.content
    said = await info(house, await uploaded(house, ("notes.txt", b"hello")))
    assert "no picture attached" in said.content
    for name, data, words in (
        ("a.png", b"hello", "not a PNG"),
        ("a.gif", photograph(kind="GIF"), "not a PNG"),
        ("bomb.png", photograph(kind="PNG")[:16] + b"\0\0\xff\xff" * 2 + photograph(kind="PNG")[24:], ""),
    ):
        told = await info(house, await uploaded(house, (name, data)))
        assert words in told.embeds[0]["description"]
        assert "fields" not in told.embeds[0] or not told.embeds[0]["fields"]


LIES = {
    "prompt": "@everyone **x** \u202e" * 400,
    "story": "y" * 90_000,
    "objects": [
        {"number": n, "name": "n" * 500, "tags": ["t" * 500] * 20, "repainted": True} for n in range(300)
    ],
    "models": {"a" * 500: "b" * 5000},
    "guidance": 1e308,
    "software": "z" * 9000,
}


@pytest.mark.parametrize(
    "record", [LIES, {"seed": "seven"}, {}, {"objects": 7}], ids=["long", "type", "empty", "shape"]
)
async def test_lies_do_no_harm(house: House, record: dict) -> None:
    png = provenance.encode(np.zeros((8, 8, 3), np.uint8), {provenance.KEY: json.dumps(record)})
    told = await info(house, await uploaded(house, ("lies.png", png)))
    (embed,) = told.embeds
    assert not told.mention_everyone
    assert "\u202e" not in json.dumps(embed, ensure_ascii=False)
    assert "cannot vouch" in embed["description"] or "tells nothing" in embed["description"]


async def test_several_pictures_of_one_message(house: House) -> None:
    await begin(house, depth=1)
    await house.delivered(1, 2)
    files: Files = [(f"{n}.png", await house.store.picture(n) or b"") for n in (1, 2)]
    asked = await house.discord.member("bob").context_menu(await uploaded(house, *files), "Image info")
    first, second = await answered(house, asked), await answered(house, asked, 1)
    assert "step 1 of" in first.embeds[0]["description"]
    assert "step 2 of" in second.embeds[0]["description"]
