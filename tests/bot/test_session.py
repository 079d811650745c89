"""A session as members see it: the command, its thread, reactions and replies."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from bot.cogs.imagine import NEEDED
from pipeline import masks, provenance
from pipeline.domain import PaintParams, StepKind, StepState
from playground import Message, RefusedError
from tests.bot.conftest import House, MakeHouse, footer
from tests.fakes import INFO, Pause

AGAIN = "🔁"


async def begin(house: House, **options: object) -> None:
    await house.discord.member("ada").slash(
        house.discord.general, "imagine", **{"prompt": "a red jacket", "depth": 0, "seed": 7, **options}
    )


async def test_imagine_opens_a_thread_and_shows_pictures_and_notes(house: House) -> None:
    discord, ada = house.discord, house.discord.member("ada")
    painting = Pause()
    house.generator.turns.add(painting)
    asked = await ada.slash(discord.general, "imagine", prompt="a red jacket", depth=2, seed=7)
    # Acknowledged while no picture is painted yet: nothing of the answer waits for one.
    assert asked.acknowledged_after is not None
    await painting.reached()
    assert await house.states(1) == ["running", "queued", "queued"]
    painting.go_on()
    await house.delivered(1, 2, 3)

    thread = await house.thread()
    (starter,) = discord.messages(discord.general)
    assert thread.id == starter.id == asked.messages[0].id
    assert starter.content == f"🎨 <@{ada.id}>"
    assert "a red jacket" in starter.embeds[0]["description"]
    assert thread.name == "🎨 a red jacket"

    marks = [mark.split(" · depth")[0] for mark in house.footers(thread)]
    assert marks == [
        "step 1 · picture",
        "step 2 · picture",
        "step 2 · notes 1 of 1",
        "step 3 · picture",
        "step 3 · notes 1 of 1",
    ]
    assert "seed 7" in house.footers(thread)[0]
    notes = discord.messages(thread)[2]
    story, *objects = notes.embeds
    assert house.writer.story in story["description"]
    assert "written by" in story["description"]
    assert [embed["title"] for embed in objects] == ["1 · ⁨jacket⁩", "2 · ⁨bag⁩", "3 · ⁨hat⁩"]
    assert all("pastel" in embed["description"] for embed in objects)
    # Every thumbnail is a file of this message, and a picture.
    for embed in objects:
        with Image.open(io.BytesIO(discord.file(embed["thumbnail"]["url"]))) as image:
            assert max(image.size) == 192
    assert len(notes.attachments) == 1 + 3

    await shown_is_what_is_stored(house)
    for message in discord.messages(thread):
        expected = {AGAIN: [discord.bot.id]} if " picture " in footer(message) else {}
        assert message.reactions == expected
    assert discord.unknown_routes == []
    # The interaction's token is a secret; it is not kept longer than it serves.
    assert (await house.store.session(1)).meta["token"] == ""


async def shown_is_what_is_stored(house: House) -> None:
    """Check every post against the database: the same messages, the same bytes."""
    sessions = {session.id: session for session in await house.store.sessions()}
    for session in sessions.values():
        shown = {m.id: m for m in house.discord.messages(int(session.place))}
        for step in await house.store.steps(session.id):
            for post in await house.store.posts(step.id):
                assert post.place == session.place
                message = shown[int(post.message)]
                assert footer(message).startswith(f"step {step.id} · {post.part.replace(':', ' ')}")
                if post.part == "picture":
                    png = await house.store.picture(step.id)
                    assert message.attachments[0].data == png
                    record = provenance.read(message.attachments[0].data)
                    assert record is not None
                    assert record["seed"] == step.seed


async def test_another_member_goes_one_recursion_deeper(house: House) -> None:
    await begin(house)
    thread = await house.thread()
    first = await house.shown(thread, "step 1 · picture")
    bob = house.discord.member("bob")
    await bob.react(first, AGAIN)
    second = await house.shown(thread, "step 2 · picture")
    assert f"<@{bob.id}>" in second.embeds[0]["description"]
    await bob.react(second, AGAIN)
    await house.shown(thread, "step 3 · picture")
    await house.delivered(1, 2, 3)
    steps = await house.store.steps(1)
    assert [(s.kind, s.depth, s.parent_id) for s in steps] == [
        (StepKind.GENERATE, 0, None),
        (StepKind.RECURSE, 1, 1),
        (StepKind.RECURSE, 2, 2),
    ]
    assert steps[2].asked_by == str(bob.id)
    await shown_is_what_is_stored(house)


async def test_a_reaction_is_one_recursion_and_given_again_another(house: House) -> None:
    await begin(house)
    thread = await house.thread()
    picture = await house.shown(thread, "step 1 · picture")
    bob = house.discord.member("bob")
    await bob.react(picture, AGAIN)
    await house.shown(thread, "step 2 · picture")
    await bob.unreact(picture, AGAIN)
    await bob.react(picture, AGAIN)
    await house.shown(thread, "step 3 · picture")
    await bob.react(picture, "❤️")
    await house.discord.member("ada").react(picture, AGAIN)
    await house.shown(thread, "step 4 · picture")
    await house.delivered(1, 2, 3, 4)
    steps = await house.store.steps(1)
    assert [step.parent_id for step in steps] == [None, 1, 1, 1]
    assert len({step.seed for step in steps}) == 4


async def test_an_event_that_comes_twice_counts_once(house: House) -> None:
    await begin(house)
    thread = await house.thread()
    picture = await house.shown(thread, "step 1 · picture")
    bob = house.discord.member("bob")
    await bob.react(picture, AGAIN)
    await house.shown(thread, "step 2 · picture")
    event = next(
        e
        for e in reversed(house.discord.feed.since(0))
        if e.kind == "MESSAGE_REACTION_ADD" and e.data["user_id"] == str(bob.id)
    )
    house.discord.hub.tell("MESSAGE_REACTION_ADD", dict(event.data), channel=thread)
    # What comes after it has been taken in shows that nothing is to come of it.
    await house.discord.member("eve").react(picture, AGAIN)
    await house.shown(thread, "step 3 · picture")
    assert [step.asked_by for step in await house.store.steps(1)][1:] == [
        str(bob.id),
        str(house.discord.member("eve").id),
    ]


async def test_a_reaction_during_a_lost_connection_counts_once(house: House) -> None:
    await begin(house)
    thread = await house.thread()
    picture = await house.shown(thread, "step 1 · picture")
    await house.discord.gateway.drop(code=0)
    await house.discord.member("bob").react(picture, AGAIN)
    await house.shown(thread, "step 2 · picture")
    assert len(await house.store.steps(1)) == 2
    assert [e for e in house.discord.feed.since(0) if e.kind == "GATEWAY_RESUME"]


async def test_a_reply_changes_its_object_and_nothing_else(house: House) -> None:
    await begin(house, depth=1)
    thread = await house.thread()
    notes = await house.shown(thread, "step 2 · notes 1")
    bob = house.discord.member("bob")
    reply = await bob.send(thread, "2: red leather", reply_to=notes)
    changed = await house.shown(thread, "step 3 · picture")
    await house.delivered(1, 2, 3)
    step = await house.store.step(3)
    assert (step.kind, step.parent_id, step.depth, step.asked_by) == (StepKind.TWEAK, 2, 1, str(bob.id))
    assert house.generator.inpainted[-1].prompt == "red leather, Bag"
    assert len(house.generator.inpainted) == 3 + 1
    assert reply.reactions == {"👀": [house.discord.bot.id]}
    assert "2\\: red leather" in changed.embeds[0]["description"]
    (posted,) = [m for m in house.discord.messages(thread) if footer(m).startswith("step 3 · notes")]
    assert [embed.get("title") for embed in posted.embeds[1:]] == ["2 · ⁨bag⁩"]

    before, after = [
        provenance.decode(await house.store.picture(number) or b"").astype(int) for number in (2, 3)
    ]
    bag = (await house.store.objects(3))[1]
    params = PaintParams()
    patch = masks.plan_patch(
        bag.detection.mask,
        grow=params.grow,
        blur=params.blur,
        padding=params.padding,
        native_size=INFO.native_size,
        multiple=INFO.multiple,
    )
    may_change = np.zeros(before.shape[:2], bool)
    window = patch.window
    may_change[window.y1 : window.y2, window.x1 : window.x2] = patch.alpha > 0
    differs = (before != after).any(axis=2)
    assert not differs[~may_change].any()
    assert differs[bag.detection.mask].mean() > 0.9


async def test_a_reply_to_the_first_picture_finds_its_objects(house: House) -> None:
    await begin(house)
    thread = await house.thread()
    picture = await house.shown(thread, "step 1 · picture")
    await house.discord.member("ada").send(thread, f"{mention(house)} 1: blue", reply_to=picture, ping=False)
    await house.shown(thread, "step 2 · picture")
    assert (await house.store.step(2)).request == "1: blue"


def mention(house: House) -> str:
    return f"<@{house.discord.bot.id}>"


async def test_a_reply_that_means_nothing_is_answered_in_words(house: House) -> None:
    await begin(house)
    thread = await house.thread()
    picture = await house.shown(thread, "step 1 · picture")
    ada = house.discord.member("ada")
    await ada.send(thread, "wow", reply_to=picture)
    error = await house.shown(thread, "step 2 · error 1")
    await house.delivered(2)
    assert "write for example" in error.embeds[0]["description"]
    assert error.reactions == {AGAIN: [house.discord.bot.id]}
    answer_to = await ada.send(thread, "1: blue", reply_to=error)
    said = await said_to(house, answer_to)
    assert "no picture to change" in said.content


async def said_to(house: House, message: Message) -> Message:
    """Wait for the answer to a message."""
    return await house.discord.wait_for_message(
        message.channel_id,
        lambda m: m.reference is not None and m.reference.message_id == message.id and m.author.bot,
    )


async def test_a_reply_without_ping_is_explained_once(house: House) -> None:
    await begin(house)
    thread = await house.thread()
    picture = await house.shown(thread, "step 1 · picture")
    ada = house.discord.member("ada")
    first = await ada.send(thread, "1: blue", reply_to=picture, ping=False)
    said = await said_to(house, first)
    assert "only when it pings me" in said.content
    assert said.mentions == []
    second = await ada.send(thread, "lovely", reply_to=picture, ping=False)
    await house.discord.wait_for(lambda: second.reactions)
    assert second.reactions == {"🔕": [house.discord.bot.id]}
    assert len(await house.store.steps(1)) == 1
    empty = await ada.send(thread, "", reply_to=picture, files=[("a.txt", b"hello")])
    assert "reply is empty" in (await said_to(house, empty)).content


async def test_ordinary_talk_is_left_alone(house: House) -> None:
    await begin(house)
    thread = await house.thread()
    await house.shown(thread, "step 1 · picture")
    await house.delivered(1)
    ada, bob = house.discord.member("ada"), house.discord.member("bob")
    said = await ada.send(thread, f"{mention(house)} what a bot")
    answer = await bob.send(thread, "indeed", reply_to=said)
    await bob.react(said, AGAIN)
    # Events are taken in order: when this one is answered, those before were not.
    picture = house.discord.messages(thread)[0]
    await ada.send(thread, "1: blue", reply_to=picture)
    await house.shown(thread, "step 2 · picture")
    assert said.reactions == {AGAIN: [bob.id]}
    assert answer.reactions == {}
    await house.delivered(2)
    ours = [m for m in house.discord.messages(thread) if m.author.bot and not footer(m)]
    assert ours == []


async def test_too_deep_is_said_plainly(make_house: MakeHouse) -> None:
    house = make_house(settings={"max_depth": 1})
    house.options = type(house.options)(max_depth=1)
    await house.start()
    await begin(house, depth=1)
    thread = await house.thread()
    deepest = await house.shown(thread, "step 2 · picture")
    await house.discord.member("bob").react(deepest, AGAIN)
    said = await said_to(house, deepest)
    assert "deeper than 1 is not possible" in said.content
    with pytest.raises(RefusedError):  # and the command does not offer it
        await begin(house, depth=2)


async def test_only_the_requester_where_it_is_set_so(make_house: MakeHouse) -> None:
    house = make_house(settings={"iterate_by": "requester"})
    await house.start()
    await begin(house)
    thread = await house.thread()
    picture = await house.shown(thread, "step 1 · picture")
    bob = house.discord.member("bob")
    await bob.react(picture, AGAIN)
    assert "only who asked" in (await said_to(house, picture)).content
    reply = await bob.send(thread, "1: blue", reply_to=picture)
    assert "only who asked" in (await said_to(house, reply)).content
    assert len(await house.store.steps(1)) == 1
    await house.discord.member("ada").react(picture, AGAIN)
    await house.shown(thread, "step 2 · picture")


async def test_in_a_dm_everything_happens_in_the_dm(house: House) -> None:
    ada = house.discord.member("ada")
    await ada.slash(ada.dm(), "imagine", prompt="a hat", depth=1, seed=3)
    picture = await house.shown(ada.dm(), "step 1 · picture")
    await house.shown(ada.dm(), "step 2 · notes 1")
    assert house.discord.threads() == []
    await ada.react(picture, AGAIN)
    await house.shown(ada.dm(), "step 3 · picture")
    await ada.send(ada.dm(), "3: green", reply_to=picture, ping=False)  # in a DM all words are seen
    await house.shown(ada.dm(), "step 4 · picture")
    await house.delivered(1, 2, 3, 4)
    await shown_is_what_is_stored(house)


async def test_in_a_thread_that_thread_is_used(house: House) -> None:
    ada = house.discord.member("ada")
    thread = await ada.start_thread(house.discord.general, "ours")
    await ada.slash(thread, "imagine", prompt="a hat", depth=0, seed=3)
    await house.shown(thread, "step 1 · picture")
    assert house.discord.threads() == [thread]


async def test_missing_permissions_are_named_before_any_work(house: House) -> None:
    discord, ada = house.discord, house.discord.member("ada")
    discord.deny(discord.general, discord.bot, "create_public_threads attach_files")
    asked = await ada.slash(discord.general, "imagine", prompt="a hat")
    assert asked.ephemeral
    assert "I lack Create Public Threads, Attach Files." in asked.messages[0].content
    assert await house.store.sessions() == []
    assert NEEDED.attach_files


HARMFUL = (
    "@everyone @here <@1> <@&2> <#3> </imagine:4> **bold** ||spoiler|| `code` ```block``` "
    "[link](https://example.org) https://example.org # heading > quote"
)


@pytest.mark.parametrize(
    "prompt",
    [
        HARMFUL,
        "# heading",
        "שלום עולם \u202e reversed \u2066 isolated",
        "مدينة في الليل",
        "빨간 재킷을 입은 소녀, 밤하늘",
        "👩‍🎨🏙️",
        "a\u0007b\u0000c\r\nd\te",
        "\\" * 4000,
        "x" * 4000,
        "字" * 4000,
        "_",
    ],
    ids=[
        "mentions",
        "heading",
        "rtl",
        "arabic",
        "korean",
        "emoji",
        "control",
        "backslashes",
        "long",
        "han",
        "one",
    ],
)
async def test_prompts_of_every_kind_do_no_harm(house: House, prompt: str) -> None:
    await begin(house, prompt=prompt, negative=prompt, depth=1)
    thread = await house.thread()
    picture = await house.shown(thread, "step 1 · picture")
    await house.discord.member("ada").send(thread, f"1: {prompt}"[:2000], reply_to=picture)
    await house.delivered(1, 2, 3)
    assert [s.state for s in await house.store.steps(1)] == [StepState.DONE] * 3
    for message in (*house.discord.messages(house.discord.general), *house.discord.messages(thread)):
        if message.author.bot:
            assert message.mentions == []
            assert not message.mention_everyone
            assert message.mention_roles == []
            for embed in message.embeds:
                text = embed.get("description", "")
                assert text.count("\u2068") == text.count("\u2069")
                assert "\u202e" not in text
                assert "**bold**" not in text
    await shown_is_what_is_stored(house)


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("depth", 99, "depth must be from 0 to 8"),
        ("depth", -1, "depth must be"),
        ("seed", 2**32, "seed must be"),
        ("seed", -5, "seed must be"),
        ("width", 5000, "width must be from 32 to 1024"),
        ("height", 1, "height must be from 32 to 1024"),
        ("prompt", "x" * 4001, "4,001 characters"),
        ("prompt", "\u0007 \n", "prompt is empty"),
    ],
)
async def test_options_out_of_range_get_a_clear_answer(
    house: House, option: str, value: int | str, word: str
) -> None:
    if len(str(value)) > 3 or isinstance(value, int):
        with pytest.raises(RefusedError):  # Discord's client does not send it
            await begin(house, **{option: value})
    # A client that sends it all the same is answered.
    discord, ada = house.discord, house.discord.member("ada")
    command = discord.world.command(discord.guild.id, "imagine", 1)
    assert command is not None
    given = {"prompt": "a hat"} | {option: value}
    options = [
        {"name": name, "type": 3 if isinstance(entry, str) else 4, "value": entry}
        for name, entry in given.items()
    ]
    data = {"id": command["id"], "name": "imagine", "type": 1, "options": options}
    asked = await discord.interactions.begin(2, ada.id, discord.general, data, command="imagine").settled()
    assert asked.ephemeral
    assert word in asked.messages[0].content
    assert await house.store.sessions() == []


async def test_notes_of_the_backend_are_shown_small(house: House) -> None:
    house.generator.notes = ("Another sampler was used: Euler.",)
    await begin(house)
    picture = await house.shown(await house.thread(), "step 1 · picture")
    assert "-# ⁨Another sampler was used\\: Euler.⁩" in picture.embeds[0]["description"]


async def test_the_posted_file_is_the_picture(house: House) -> None:
    await begin(house, width=120, height=64)
    picture = await house.shown(await house.thread(), "step 1 · picture")
    (file,) = picture.attachments
    assert (file.filename, file.width, file.height) == ("step-1.png", 120, 64)
    stored = await house.store.picture(1)
    assert hashlib.sha256(file.data).digest() == hashlib.sha256(stored or b"").digest()
