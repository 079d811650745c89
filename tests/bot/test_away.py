"""What happened while the bot was away, and how it starts and stops."""

from __future__ import annotations

import asyncio

import pytest

from bot.outbox import NOWHERE
from pipeline.domain import StepKind, StepState
from playground import Message
from tests.bot.conftest import House, MakeHouse, footer
from tests.bot.test_session import AGAIN, begin, shown_is_what_is_stored
from tests.fakes import PaintingGenerator


async def first_picture(house: House) -> Message:
    await begin(house)
    picture = await house.shown(await house.thread(), "step 1 · picture")
    await house.delivered(1)
    return picture


async def test_reactions_and_replies_during_an_absence_are_taken_in_once(make_house: MakeHouse) -> None:
    house = make_house()
    await house.start()
    picture = await first_picture(house)
    thread = await house.thread()
    ada, bob = house.discord.member("ada"), house.discord.member("bob")
    await bob.react(picture, AGAIN)
    await house.delivered(1)
    await house.shown(thread, "step 2 · picture")
    await house.delivered(2)
    await house.stop()

    await ada.react(picture, AGAIN)
    await ada.send(thread, "2: green", reply_to=picture)
    await ada.send(thread, "not for the bot", reply_to=picture, ping=False)
    for _ in range(2):  # a second start has nothing to take in
        before = house.discord.feed.last
        await house.start()
        await house.delivered(3, 4)
        await house.discord.wait_for(lambda seen=before: asked_who_reacted(house, seen, first=picture))
        await house.stop()
    steps = await house.store.steps(1)
    assert sorted((step.kind, step.asked_by) for step in steps[2:]) == [
        (StepKind.RECURSE, str(ada.id)),
        (StepKind.TWEAK, str(ada.id)),
    ]
    assert len([m for m in house.discord.messages(thread) if m.author.bot and not footer(m)]) == 0
    await shown_is_what_is_stored(house)


def asked_who_reacted(house: House, since: int, *, first: Message) -> bool:
    """Tell whether the bot has asked for a message's reactions since an event."""
    return any(
        event.kind == "REQUEST"
        and event.data["method"] == "GET"
        and f"/{first.id}/reactions" in event.data["path"]
        for event in house.discord.feed.since(since)
    )


async def test_a_lost_gateway_session_is_caught_up_with(house: House) -> None:
    picture = await first_picture(house)
    await house.discord.gateway.drop(resumable=False, code=0)
    await house.discord.member("bob").react(picture, AGAIN)
    # discord.py waits five seconds before it identifies again.
    await house.discord.wait_for_message(None, lambda m: footer(m).startswith("step 2 · picture"), 15)
    await house.delivered(2)
    assert len(await house.store.steps(1)) == 2


async def test_a_failed_step_is_tried_again_by_a_reaction_during_an_absence(make_house: MakeHouse) -> None:
    house = make_house()
    house.segmenter.objects = []
    await house.start()
    await begin(house, depth=1)
    thread = await house.thread()
    error = await house.shown(thread, "step 2 · error 1")
    await house.delivered(2)
    await house.stop()
    house.segmenter.objects = type(house.segmenter)().objects
    await house.discord.member("ada").react(error, AGAIN)
    await house.start()
    await house.shown(thread, "step 2 · picture")
    assert (await house.store.step(2)).attempt == 2


async def test_stopped_in_mid_painting_it_goes_on_at_the_next_start(make_house: MakeHouse) -> None:
    house = make_house()
    painting, blocked = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        painting.set()
        await blocked.wait()

    house.generator.turns.add(None, None, hang)  # the second object of the recursion
    await house.start()
    await begin(house, depth=1)
    await painting.wait()
    assert len(house.generator.inpainted) == 2
    await house.stop()
    assert (await house.store.step(2)).state is StepState.RUNNING
    await house.start()
    await house.delivered(1, 2)
    # The first object is not painted again: 1 + (1 lost) + 2.
    assert len(house.generator.inpainted) == 4
    thread = await house.thread()
    assert [m.split(" · depth")[0] for m in house.footers(thread)] == [
        "step 1 · picture",
        "step 2 · picture",
        "step 2 · notes 1 of 1",
    ]
    await shown_is_what_is_stored(house)


async def test_commands_are_registered_when_they_change_only(make_house: MakeHouse) -> None:
    house = make_house()
    for _ in range(2):
        await house.start()
        await house.stop()
    assert registrations(house) == 1
    house.settings["max_depth"] = 3  # the depth's range is part of the command
    await house.start()
    assert registrations(house) == 2


def registrations(house: House) -> int:
    return len(
        [
            event
            for event in house.discord.feed.since(0)
            if event.kind == "REQUEST" and event.data["method"] == "PUT" and "/commands" in event.data["path"]
        ]
    )


@pytest.mark.timeout(30)
@pytest.mark.parametrize("part", ["progress 1", "picture", "notes 1"])
async def test_what_was_sent_and_not_written_down_is_found_when_nonces_are_forgotten(
    make_house: MakeHouse, part: str
) -> None:
    house = make_house(generator=PaintingGenerator(seconds=0.05))
    await house.start()
    picture = await first_picture(house)
    gate = house.discord.faults.hold("POST", r"/messages$", after=True)
    await house.discord.member("bob").react(picture, AGAIN)
    while True:
        await gate.reached.wait()
        latest = house.discord.messages(await house.thread())[-1]
        if footer(latest).startswith(f"step 2 · {part}"):
            break
        following = house.discord.faults.hold("POST", r"/messages$", after=True)
        gate.release()
        gate = following
    await house.stop()
    gate.drop()
    house.discord.advance(3600)  # Discord remembers a nonce for minutes
    await house.start()
    await house.delivered(2)
    thread = await house.thread()
    assert [m.split(" · depth")[0] for m in house.footers(thread)] == [
        "step 1 · picture",
        "step 2 · picture",
        "step 2 · notes 1 of 1",
    ]
    await shown_is_what_is_stored(house)


@pytest.mark.parametrize("minutes", [1, 20])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("method", "pattern"),
    [("POST", "/callback$"), ("PATCH", "@original$"), ("POST", "/threads$")],
    ids=["acknowledging", "first message", "thread"],
)
async def test_an_opening_that_was_interrupted_is_completed(
    make_house: MakeHouse, method: str, pattern: str, after: bool, minutes: int
) -> None:
    house = make_house()
    discord = house.discord
    await house.start()
    gate = discord.faults.hold(method, pattern, after=after)
    ada = discord.member("ada")
    await ada.slash(discord.general, "imagine", settle=False, prompt="a hat", depth=0, seed=5)
    await gate.reached.wait()
    await house.stop()
    gate.drop()
    discord.advance(minutes * 60)
    await house.start()
    await house.delivered(1)
    (thread,) = discord.threads()
    assert [m.split(" · depth")[0] for m in house.footers(thread)] == ["step 1 · picture"]
    starters = [message for message in discord.messages(discord.general) if footer(message)]
    assert [message.id for message in starters] == [thread.id]
    assert (await house.store.session(1)).meta["token"] == ""
    # The command's own answer may go on saying "thinking" only where nobody can finish it any more.
    loading = [message for message in discord.messages(discord.general) if message.loading]
    assert len(loading) == (pattern == "/callback$" and after and minutes > 15)


async def test_a_session_whose_channel_is_gone_is_given_up(make_house: MakeHouse) -> None:
    house = make_house()
    discord = house.discord
    await house.start()
    channel = discord.add_channel("short-lived")
    gate = discord.faults.hold("PATCH", "@original$")
    await discord.member("ada").slash(channel, "imagine", settle=False, prompt="a hat", depth=1, seed=5)
    await gate.reached.wait()
    await house.stop()
    gate.drop()
    discord.delete_channel(channel)
    for _ in range(2):
        await house.start()
        await begin(house)  # others are served
        await house.shown((await house.thread()).id, "step")
        await house.stop()
    assert "queued" not in await house.states(1)
    assert (await house.store.session(1)).place == NOWHERE
