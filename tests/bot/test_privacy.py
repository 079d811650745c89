"""/privacy, as members see it."""

from __future__ import annotations

import asyncio
import json

from pipeline import provenance
from playground import Message
from tests.bot.conftest import House
from tests.bot.test_sessions_command import answered, begin, files_of, grown
from tests.bot.test_start_picture import photograph


async def use(house: House, command: str, name: str = "ada") -> Message:
    asked = await house.discord.member(name).slash(house.discord.general, f"privacy {command}")
    said = await answered(house, asked)
    assert said.visible_to == house.discord.member(name).id
    return said


async def finished(house: House, said: Message) -> str:
    await house.discord.wait_for(lambda: "deleted" in said.content and "Deleting" not in said.content)
    return said.content


async def test_show_tells_in_plain_words(house: House) -> None:
    assert "I keep nothing about you." in (await use(house, "show")).content
    await begin(house, image=("me.jpg", photograph()))
    thread = await house.thread()
    picture = await house.shown(thread, "step 2 · picture")
    await house.discord.member("bob").react(picture, "🔁")
    await house.delivered(1, 2, 3)
    said = (await use(house, "show")).content
    assert "1 session since" in said
    assert "3 pictures (" in said
    assert "1 picture that you attached" in said
    assert "a model on the machine that runs me" in said
    assert "1 step that you asked for in other members' sessions" in (await use(house, "show", "bob")).content


async def test_export_gives_it_all(house: House) -> None:
    assert "I keep nothing" in (await use(house, "export")).content
    await begin(house, depth=0, image=("me.jpg", photograph()))
    await house.delivered(1)
    await begin(house, depth=1, prompt="a hat")
    await house.delivered(1, 2, 3)
    await begin(house, "bob", depth=0, prompt="his own")
    thread = (await house.discord.wait_for(lambda: house.discord.threads()[2:]))[0]
    his = await house.shown(thread, "step 4 · picture")
    await house.discord.member("ada").send(thread, "1: purple", reply_to=his)
    await house.shown(thread, "step 5 · picture")
    asked = await house.discord.member("ada").slash(house.discord.general, "privacy export")
    first, last = await answered(house, asked), await answered(house, asked, 1)
    assert last.content == "That is all: 1 file."
    files = files_of(first.attachments[0].data)
    about = json.loads(files["about-you.json"])
    assert about["sessions"] == [1, 2]
    assert [item["words"] for item in about["asked_for_in_others_sessions"]] == ["1: purple"]
    assert files["session-1/source.png"] == await house.store.source(1)
    assert files["session-2/pictures/001-recurse-step-3.png"] == await house.store.picture(3)
    assert not any("his own" in data.decode(errors="ignore") for data in files.values())


async def test_a_large_export_comes_in_parts(house: House) -> None:
    for number in range(3):
        await begin(house, depth=1, prompt=f"hat {number}")
    await house.delivered(*range(1, 7))
    house.discord.guild.upload_limit_override = 25_000
    asked = await house.discord.member("ada").slash(house.discord.general, "privacy export")
    await house.discord.wait_for(lambda: [m for m in asked.messages if "That is all" in m.content])
    *parts, last = [m for m in asked.messages if not m.deleted]
    assert last.content == f"That is all: {len(parts)} files."
    assert len(parts) > 1
    files = files_of(*(part.attachments[0].data for part in parts))
    assert sum("/pictures/" in name for name in files) == 6


async def test_delete_removes_ones_sessions_and_ones_name(house: House) -> None:
    discord, bob = house.discord, house.discord.member("bob")
    thread = await grown(house)  # ada's, in which bob asked for step 4
    await begin(house, "bob", depth=0, prompt="his own")
    await house.delivered(5)
    said = await use(house, "delete", "bob")
    assert "1 session with 1 picture" in said.content
    assert "1 step that you asked for in others' sessions stay" in said.content
    shown = await house.shown(thread, "step 4 · picture")
    assert str(bob.id) in shown.embeds[0]["description"]
    before = provenance.decode(await house.store.picture(4) or b"")
    await bob.click(said, f"privacy:delete:{bob.id}")
    words = await finished(house, said)
    assert "The session with 1 picture is deleted" in words
    assert "1 step in others' sessions no longer has your id and words." in words
    assert [session.id for session in await house.store.sessions()] == [1]

    step = await house.store.step(4)
    assert (step.asked_by, step.request) == ("", "")
    assert str(bob.id) not in step.origin
    png = await house.store.picture(4)
    assert png is not None
    assert (provenance.decode(png) == before).all()
    assert b"2: red leather" not in png
    assert str(bob.id) not in json.dumps(shown.embeds)
    assert "red leather" not in shown.embeds[0]["description"]
    assert shown.attachments[0].data == png
    assert "I keep nothing about you." in (await use(house, "show", "bob")).content
    # What is left can be worked with.
    await discord.member("ada").react(shown, "🔁")
    await house.discord.wait_for(lambda: sum("depth 2" in mark for mark in house.footers(thread)) == 2)


async def test_delete_takes_others_steps_with_ones_own_pictures(house: House) -> None:
    await grown(house)
    said = await use(house, "delete")
    assert "1 step that others asked for in your sessions go too" in said.content
    ada = house.discord.member("ada")
    await ada.click(said, f"privacy:delete:{ada.id}")
    assert "Left (1): the thread stays" in await finished(house, said)
    assert await house.store.sessions() == []


async def test_a_waiting_wish_in_anothers_session_is_taken_back(house: House) -> None:
    gate = asyncio.Event()
    await begin(house, depth=0)
    thread = await house.thread()
    first = await house.shown(thread, "step 1 · picture")
    await house.delivered(1)
    house.generator.turns.add(gate.wait)
    await begin(house, "eve", depth=0, prompt="in the way")
    await house.discord.wait_for(lambda: len(house.generator.generated) == 2)
    bob = house.discord.member("bob")
    await bob.send(thread, "1: purple", reply_to=first)
    await house.discord.wait_for(lambda: any(m.reactions.get("👀") for m in house.discord.messages(thread)))
    said = await use(house, "delete", "bob")
    await bob.click(said, f"privacy:delete:{bob.id}")
    await house.discord.wait_for(lambda: "no longer has" in said.content)
    gate.set()
    await house.delivered(2)
    assert (await house.states(1)) == ["done", "cancelled"]


async def test_delete_is_asked_first_and_only_of_oneself(house: House) -> None:
    assert "I keep nothing" in (await use(house, "delete")).content
    await begin(house, depth=0)
    await house.delivered(1)
    said = await use(house, "delete")
    await house.stop()
    await house.start()
    ada = house.discord.member("ada")
    await ada.click(said, f"privacy:keep:{ada.id}")
    assert said.content == "Everything is kept."
    assert len(await house.store.sessions()) == 1


async def test_what_discord_hinders_is_said(house: House) -> None:
    await begin(house, depth=0)
    await begin(house, depth=0, prompt="a hat")
    await house.delivered(1, 2)
    said = await use(house, "delete")
    house.discord.faults.fail("GET", r"^/channels/\d+$", status=503)
    ada = house.discord.member("ada")
    await ada.click(said, f"privacy:delete:{ada.id}")
    words = await finished(house, said)
    assert "sessions are kept, for Discord did not answer" in words
    assert [session.id for session in await house.store.sessions()] == [1]


async def test_ones_own_defaults_are_shown_given_and_forgotten(house: House) -> None:
    bob = house.discord.member("bob")
    assert "I keep nothing" in (await use(house, "show", "bob")).content
    await house.store.set_preference("member", str(bob.id), "depth", "2")
    assert "Your own defaults" in (await use(house, "show", "bob")).content
    said = await use(house, "delete", "bob")
    await bob.click(said, f"privacy:delete:{bob.id}")
    await finished(house, said)
    assert await house.store.preferences("member", str(bob.id)) == {}
    assert "I keep nothing about you." in (await use(house, "show", "bob")).content
