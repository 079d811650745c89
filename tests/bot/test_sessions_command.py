"""/session, as members see it: the tree, the list, the export, the deletion."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import re
import zipfile
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from bot import texts
from bot.cogs import sessions
from pipeline import provenance
from pipeline.domain import Post, StepKind
from pipeline.store import png_to_mask
from playground import Message, RefusedError
from playground.interactions import SentInteraction
from tests.bot.conftest import House, MakeHouse
from tests.bot.test_start_picture import photograph

AGAIN = "🔁"


async def begin(house: House, name: str = "ada", **options: Any) -> SentInteraction:
    return await house.discord.member(name).slash(
        house.discord.general, "imagine", **{"prompt": "a red jacket", "depth": 1, "seed": 7, **options}
    )


async def answered(house: House, asked: SentInteraction, number: int = 0) -> Message:
    """Wait for what an interaction says in the end."""

    def said() -> Message | None:
        messages = [m for m in asked.messages if not m.loading and not m.deleted]
        return messages[number] if len(messages) > number else None

    message = await house.discord.wait_for(said)
    assert message is not None
    return message


async def use(house: House, where: Any, command: str, name: str = "ada", **options: Any) -> Message:
    asked = await house.discord.member(name).slash(where, f"session {command}", **options)
    return await answered(house, asked)


async def grown(house: House) -> Any:
    """A session with a branch: two recursions of which one has a tweak."""
    await begin(house, depth=2)
    thread = await house.thread()
    notes = await house.shown(thread, "step 2 · notes 1")
    await house.delivered(1, 2, 3)
    await house.discord.member("bob").send(thread, "2: red leather", reply_to=notes)
    await house.shown(thread, "step 4 · picture")
    await house.delivered(4)
    return thread


# -- show -----------------------------------------------------------------------------------------


async def test_show_draws_the_tree_and_links_every_message(house: House) -> None:
    thread = await grown(house)
    said = await use(house, thread, "show")
    (embed,) = said.embeds
    assert said.visible_to == house.discord.member("ada").id
    assert embed["title"] == "Session 1"
    assert said.attachments[0].filename in embed["image"]["url"]
    with Image.open(io.BytesIO(said.attachments[0].data)) as image:
        assert image.width > 3 * 228  # three columns of cards
        assert image.height > 2 * 314  # in two rows
    links = re.findall(r"\((https://[^)]+)\)", embed["description"])
    guild = house.discord.guild.id
    expected = {f"https://discord.com/channels/{guild}/{house.discord.general.id}/{thread.id}"}
    for post in await house.store.posts_of(1):
        expected.add(f"https://discord.com/channels/{guild}/{post.place}/{post.message}")
    assert set(links) == expected
    lines = embed["description"].splitlines()
    assert lines[-1].startswith("▶ [4 · Tweak")
    assert "2\\: red leather" in lines[-1]
    assert "Jacket, Bag, Hat" in lines[2]


async def test_show_names_a_session_of_the_server_from_anywhere_in_it(house: House) -> None:
    await begin(house)
    await house.delivered(1, 2)
    elsewhere = house.discord.add_channel("elsewhere")
    said = await use(house, elsewhere, "show", "bob", session="1", public=True)
    assert said.visible_to is None
    assert said.embeds[0]["title"] == "Session 1"
    assert (await use(house, elsewhere, "show", "bob", session="#1 · a red jacket")).embeds


async def test_show_refuses_what_a_member_may_not_see(house: House) -> None:
    discord = house.discord
    hidden = discord.add_channel("hidden")
    bob = discord.member("bob")
    discord.deny(hidden, bob, "view_channel")
    await discord.member("ada").slash(hidden, "imagine", prompt="secret hat", depth=0)
    await house.delivered(1)
    said = await use(house, discord.general, "show", "bob", session="1")
    assert "There is no session 1" in said.content
    assert said.visible_to == bob.id
    choices = await bob.autocomplete(discord.general, "session show", "session", "secret")
    assert choices == []
    assert (await use(house, discord.general, "show", session="1")).embeds, "its owner sees it"
    in_a_dm = await bob.slash(bob.dm(), "session show", session="1")
    assert "There is no session 1" in (await answered(house, in_a_dm)).content


async def test_show_without_a_session_here_says_what_to_do(house: House) -> None:
    assert "not the thread of a session" in (await use(house, house.discord.general, "show")).content
    assert "There is no session 9" in (await use(house, house.discord.general, "show", session="9")).content
    assert (
        "write its number" in (await use(house, house.discord.general, "show", session="the red one")).content
    )


async def test_an_age_restricted_session_is_not_shown_elsewhere(house: House) -> None:
    discord = house.discord
    adults = discord.add_channel("adults", nsfw=True)
    await discord.member("ada").slash(adults, "imagine", prompt="a hat", depth=0)
    await house.delivered(1)
    assert "age-restricted" in (await use(house, discord.general, "show", session="1")).content
    assert (await use(house, adults, "show", session="1")).embeds


async def test_an_archived_thread_is_still_seen(house: House) -> None:
    await begin(house, depth=0)
    thread = await house.thread()
    await house.delivered(1)
    house.discord.edit_thread(thread, archived=True)
    await house.stop()
    await house.start()  # whose cache knows only threads that are not archived
    said = await use(house, house.discord.general, "show", "bob", session="1")
    assert said.embeds[0]["title"] == "Session 1"


async def test_a_private_threads_session_is_for_its_members(house: House) -> None:
    discord, ada, bob = house.discord, house.discord.member("ada"), house.discord.member("bob")
    thread = await ada.start_thread(discord.general, "ours", private=True)
    discord.threads_service.join(discord.bot.id, thread)
    await ada.slash(thread, "imagine", prompt="a hat", depth=0)
    await house.delivered(1)
    assert "There is no session 1" in (await use(house, discord.general, "show", "bob", session="1")).content
    discord.threads_service.join(bob.id, thread)
    assert (await use(house, discord.general, "show", "bob", session="1")).embeds


async def test_many_steps_are_paged_and_the_pages_turn_after_a_restart(house: House) -> None:
    house.segmenter.objects = house.segmenter.objects[:1]
    await begin(house, depth=0)
    thread = await house.thread()
    picture = await house.shown(thread, "step 1 · picture")
    bob = house.discord.member("bob")
    for number in range(2, 15):
        await bob.react(picture, AGAIN)
        await house.shown(thread, f"step {number} · picture")
        await bob.unreact(picture, AGAIN)
    await house.delivered(*range(1, 15))
    asked = await house.discord.member("ada").slash(thread, "session show")
    said = await answered(house, asked)
    assert "14 steps" in said.embeds[0]["footer"]["text"]
    assert "page 2 of 2" in said.embeds[0]["footer"]["text"], "where the latest picture is"
    await house.stop()
    await house.start()
    await house.discord.member("ada").click(said, "session:show:1:back:0")
    assert "page 1 of 2" in said.embeds[0]["footer"]["text"]
    assert "[1 · First picture]" in said.embeds[0]["description"]
    assert said.attachments


async def test_the_longest_page_cuts_no_link(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await begin(house, depth=1)
    await house.delivered(1, 2)
    session, (_, step) = await house.store.session(1), await house.store.steps(1)
    steps = [
        replace(step, id=10**6 + n, depth=99, kind=StepKind.TWEAK, request="*" * 99)
        for n in range(sessions.STEPS)
    ]
    place, message = str(10**19), str(10**19 + 1)
    parts = ("picture", "notes:10", "gallery:10", "progress:10")
    posts = [Post(one.id, part, place, message + part[0]) for one in steps for part in parts]

    async def posts_of(_: int) -> list[Post]:
        return posts

    monkeypatch.setattr(house.pipeline.store, "posts_of", posts_of)
    client = SimpleNamespace(pipeline=house.pipeline)
    embed, _ = await sessions._show_page(client, replace(session, meta={"guild": place}), steps, None)  # type: ignore[arg-type]
    lines = (embed.description or "").splitlines()
    assert len(lines) == len(steps)
    assert lines[-1].endswith(texts.quote("*" * 99, 50))


async def test_a_failed_step_is_drawn_and_linked(house: House) -> None:
    house.segmenter.objects = []
    await begin(house)
    thread = await house.thread()
    await house.shown(thread, "step 2 · error 1")
    await house.delivered(1, 2)
    said = await use(house, thread, "show")
    assert "❌ [2 · Recursion 1](https://" in said.embeds[0]["description"]


# -- list and completion --------------------------------------------------------------------------


async def test_list_pages_ones_own_sessions(house: House) -> None:
    assert "no sessions yet" in (await use(house, house.discord.general, "list")).content
    for number in range(12):
        await begin(house, prompt=f"hat {number}", depth=0)
    await begin(house, "bob", prompt="not hers", depth=0)
    await house.delivered(*range(1, 14))
    said = await use(house, house.discord.general, "list")
    assert said.visible_to == house.discord.member("ada").id
    text = said.embeds[0]["description"]
    assert text.index("hat 11") < text.index("hat 2")
    assert "not hers" not in text
    assert said.embeds[0]["footer"]["text"] == "12 in all · page 1 of 2"
    session = await house.store.session(12)
    assert f"[Session 12](https://discord.com/channels/{house.discord.guild.id}/{session.place}/" in text
    with pytest.raises(RefusedError):
        await house.discord.member("ada").click(
            said, f"session:list:{house.discord.member('ada').id}:back:-1"
        )
    await house.discord.member("ada").click(said, f"session:list:{house.discord.member('ada').id}:on:1")
    assert "hat 0" in said.embeds[0]["description"]


async def test_the_option_completes_with_number_and_prompt(house: House) -> None:
    await begin(house, prompt="a red hat", depth=0)
    await begin(house, "bob", prompt="a blue coat", depth=0)
    await house.delivered(1, 2)
    ada = house.discord.member("ada")
    for command in ("show", "export", "delete"):
        choices = await ada.autocomplete(house.discord.general, f"session {command}", "session", "")
        assert [c["value"] for c in choices] == ["2", "1"]
    found = await ada.autocomplete(house.discord.general, "session show", "session", "blue")
    assert found == [{"name": "#2 · a blue coat", "value": "2"}]
    found = await ada.autocomplete(house.discord.general, "session show", "session", "#1")
    assert [c["value"] for c in found] == ["1"]
    assert await ada.autocomplete(house.discord.general, "session show", "session", "100%") == []


# -- export ---------------------------------------------------------------------------------------


def files_of(*parts: bytes) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for part in parts:
        with zipfile.ZipFile(io.BytesIO(part)) as archive:
            assert archive.testzip() is None
            for name in archive.namelist():
                assert name not in files
                files[name] = archive.read(name)
    return files


async def test_export_has_everything(house: House) -> None:
    await begin(house, image=("me.jpg", photograph()), strength=0.4)
    thread = await house.thread()
    await house.delivered(1, 2)
    said = await use(house, thread, "export")
    assert said.visible_to == house.discord.member("ada").id
    assert said.attachments[0].filename == "session-1.zip"
    files = {
        name.removeprefix("session-1/"): data for name, data in files_of(said.attachments[0].data).items()
    }
    record = json.loads(files["session.json"])
    session = await house.store.session(1)
    assert record["session"]["prompt"] == session.prompt
    assert record["session"]["seed"] == 7
    assert record["session"]["source"]["strength"] == 0.4
    assert files["source.png"] == await house.store.source(1)
    for told, step in zip(record["steps"], await house.store.steps(1), strict=True):
        png = files[told["picture"]["file"]]
        assert png == await house.store.picture(step.id)
        assert hashlib.sha256(png).hexdigest() == told["picture"]["sha256"]
        assert (told["seed"], told["kind"], told["story"]) == (step.seed, step.kind.value, step.story)
        for item, stored in zip(told["objects"], await house.store.objects(step.id), strict=True):
            assert (png_to_mask(files[item["mask"]]) == stored.detection.mask).all()
            assert item["tags"] == list(stored.tags)
            assert item["seed"] == stored.seed
    assert [name for name in files if name.startswith("previews/")] == [
        "previews/001-recurse-step-2-objects.webp",
        "previews/tree-1.webp",
    ]


async def test_the_attached_picture_is_for_its_owner(house: House) -> None:
    await begin(house, depth=0, image=("me.jpg", photograph()))
    thread = await house.thread()
    await house.delivered(1)
    said = await use(house, thread, "export", "bob")
    assert "is its owner's, and left out" in said.content
    files = files_of(said.attachments[0].data)
    assert "session-1/source.png" not in files
    assert await house.store.source(1) not in files.values()
    shown = [(await use(house, thread, "show", name)).attachments[0].data for name in ("ada", "bob")]
    assert shown[0] != shown[1]


async def test_an_export_over_the_limit_is_split_and_says_so(make_house: MakeHouse) -> None:
    house = make_house()
    house.generator = type(house.generator)(grain=60)
    await house.start()
    await begin(house, depth=1)
    thread = await house.thread()
    await house.delivered(1, 2)
    house.discord.guild.upload_limit_override = 26_000
    asked = await house.discord.member("ada").slash(thread, "session export")
    first = await answered(house, asked)
    number = int(re.findall(r"in (\d+) files", first.content)[0])
    assert number > 1
    assert "previews are left out" in first.content
    parts = [(await answered(house, asked, index)).attachments[0] for index in range(number)]
    assert all(len(part.data) <= 26_000 for part in parts)
    assert parts[-1].filename == f"session-1-part-{number}-of-{number}.zip"
    files = files_of(*(part.data for part in parts))
    pictures = [data for name, data in files.items() if "/pictures/" in name]
    assert [provenance.read(data) is not None for data in pictures] == [True, True]


async def test_what_is_too_large_for_any_part_is_named(make_house: MakeHouse) -> None:
    house = make_house()
    house.generator = type(house.generator)(grain=255)
    await house.start()
    await begin(house, depth=0, width=128, height=128)
    thread = await house.thread()
    await house.delivered(1)
    house.discord.guild.upload_limit_override = 9_000
    said = await use(house, thread, "export")
    assert "**left out**: 000-generate-step-1.png" in said.content
    files = files_of(said.attachments[0].data)
    assert "session-1/session.json" in files


# -- delete ---------------------------------------------------------------------------------------


async def emptied(house: House) -> None:
    """Wait until no session is left."""
    async with asyncio.timeout(10):
        while await house.store.sessions():  # noqa: ASYNC110 - a database tells nobody
            await asyncio.sleep(0.01)


async def confirm(house: House, where: Any, name: str = "ada", **options: Any) -> Message:
    said = await use(house, where, "delete", name, **options)
    assert "cannot be brought back" in said.content
    return said


async def test_delete_removes_all_of_it_and_the_thread(house: House) -> None:
    await begin(house)
    thread = await house.thread()
    await house.delivered(1, 2)
    ada = house.discord.member("ada")
    await ada.send(thread, "what a picture")
    said = await confirm(house, house.discord.general, session="1")
    assert "2 pictures" in said.content
    await ada.click(said, "session:delete:1")
    await house.discord.wait_for(lambda: "is deleted" in said.content)
    assert "The session with 2 pictures is deleted; 4 messages of mine and 1 thread went too." in said.content
    assert "Left" not in said.content
    assert house.discord.threads() == []
    assert [m for m in house.discord.messages(house.discord.general) if m.visible_to is None] == []
    assert await house.store.sessions() == []
    assert await house.store.picture(1) is None


async def test_delete_keeps_a_thread_in_which_others_wrote(house: House) -> None:
    thread = await grown(house)  # bob has replied in it
    said = await confirm(house, house.discord.general, session="1")
    assert "1 other member took part" in said.content
    await house.discord.member("ada").click(said, "session:delete:1")
    await house.discord.wait_for(lambda: "is deleted" in said.content)
    assert "Left (1): the thread stays, for others wrote in it." in said.content
    assert [m.author.bot for m in house.discord.messages(thread)] == [False]
    assert await house.store.sessions() == []


async def test_delete_says_what_it_may_not(house: House) -> None:
    discord = house.discord
    await begin(house, depth=0)
    thread = await house.thread()
    await house.delivered(1)
    discord.deny(discord.general, discord.bot, "manage_threads")
    discord.edit_thread(thread, archived=True, locked=True)
    said = await confirm(house, discord.general, session="1")
    await discord.member("ada").click(said, "session:delete:1")
    await discord.wait_for(lambda: "is deleted" in said.content)
    assert "Left (1): the thread stays, for I lack Manage Threads." in said.content
    assert [thread.id for thread in discord.threads()] == [thread.id]
    assert await house.store.sessions() == []


async def test_delete_says_which_messages_it_cannot_reach_any_more(house: House) -> None:
    discord = house.discord
    await begin(house)
    await house.delivered(1, 2)
    said = await confirm(house, discord.add_channel("elsewhere"), session="1")
    discord.deny(discord.general, discord.bot, "view_channel")
    await discord.member("ada").click(said, "session:delete:1")
    await discord.wait_for(lambda: "is deleted" in said.content)
    assert "0 messages of mine" in said.content
    assert "Left (4): I may not delete messages there any more." in said.content
    assert await house.store.sessions() == []


async def test_delete_inside_the_thread_that_goes(house: House) -> None:
    await begin(house, depth=0)
    thread = await house.thread()
    await house.delivered(1)
    said = await confirm(house, thread)
    await house.discord.member("ada").click(said, "session:delete:1")
    await house.discord.wait_for(lambda: not house.discord.threads())
    await emptied(house)


async def test_delete_is_for_the_owner_and_for_moderators(house: House) -> None:
    discord = house.discord
    await begin(house, depth=0)
    thread = await house.thread()
    await house.delivered(1)
    refused = await use(house, thread, "delete", "bob")
    assert "Only who began this session" in refused.content
    discord.allow(discord.general, discord.member("bob"), "manage_messages")
    said = await confirm(house, discord.general, "bob", session="1")
    await discord.member("bob").click(said, "session:delete:1")
    await discord.wait_for(lambda: "is deleted" in said.content)
    assert await house.store.sessions() == []


async def test_a_moderator_who_is_none_any_more_deletes_nothing(house: House) -> None:
    discord, bob = house.discord, house.discord.member("bob")
    await begin(house, depth=0)
    await house.delivered(1)
    discord.allow(discord.general, bob, "manage_messages")
    said = await confirm(house, discord.general, "bob", session="1")
    discord.deny(discord.general, bob, "manage_messages")
    asked = await bob.click(said, "session:delete:1")
    assert "Only who began" in (await answered(house, asked)).content
    assert len(await house.store.sessions()) == 1


async def test_a_second_thought_keeps_it_also_after_a_restart(house: House) -> None:
    await begin(house, depth=0)
    await house.delivered(1)
    said = await confirm(house, house.discord.general, session="1")
    await house.stop()
    await house.start()
    await house.discord.member("ada").click(said, "session:keep:1")
    assert said.content == "Session 1 is kept."
    assert said.components == []
    assert len(await house.store.sessions()) == 1


async def test_delete_in_mid_work_ends_the_work(house: House) -> None:
    discord = house.discord
    gate = asyncio.Event()
    house.generator.turns.add(None, gate.wait)
    await begin(house, depth=3)
    thread = await house.thread()
    await discord.wait_for(lambda: house.generator.inpainted)
    said = await confirm(house, thread)
    await discord.member("ada").click(said, "session:delete:1")
    await emptied(house)
    gate.set()
    await begin(house, "bob", prompt="a hat", depth=0)
    other = await house.discord.wait_for(lambda: house.discord.threads())
    await house.discord.wait_for(lambda: any(" picture " in mark for mark in house.footers(other[0])))
    assert [session.prompt for session in await house.store.sessions()] == ["a hat"]


async def test_delete_waits_for_a_discord_that_does_not_answer(house: House) -> None:
    discord = house.discord
    await begin(house, depth=0)
    await house.delivered(1)
    said = await confirm(house, discord.general, session="1")
    discord.faults.fail("GET", r"^/channels/\d+$", status=503)
    asked = await discord.member("ada").click(said, "session:delete:1")
    await discord.wait_for(lambda: any("delete it again" in m.content for m in [said, *asked.messages]))
    assert len(await house.store.sessions()) == 1
