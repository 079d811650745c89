"""Waiting and cancelling, as members see it."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.domain import Limits, StepKind, StepState
from pipeline.errors import ConfigurationError
from playground import Message
from tests.bot.conftest import House, MakeHouse, footer
from tests.bot.test_session import AGAIN, begin, said_to, shown_is_what_is_stored


class Hang:
    """A turn of the painter's that waits until it is told to go on, and notes when it was stopped."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()
        self.stopped = False

    async def __call__(self) -> None:
        self.reached.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.stopped = True
            raise


def hang(house: House) -> Hang:
    turn = Hang()
    house.generator.turns.add(turn)
    return turn


async def waiting_message(house: House, mark: str, words: str = "waiting") -> Message:
    """Wait for a step's message that says that it waits."""
    return await house.discord.wait_for_message(
        None, lambda m: footer(m) == mark and words in m.embeds[0]["title"]
    )


def buttons(message: Message) -> list[str]:
    return [item["custom_id"] for row in message.components for item in row["components"]]


async def test_who_waits_is_told_their_place_and_when(house: House) -> None:
    first = hang(house)
    await begin(house)
    await first.reached.wait()
    bob, eve = house.discord.member("bob"), house.discord.member("eve")
    await bob.slash(house.discord.general, "imagine", prompt="a hat", depth=0)
    await eve.slash(house.discord.general, "imagine", prompt="a bag", depth=1)
    told = await waiting_message(house, "step 3 · progress 1")
    text = told.embeds[0]["description"]
    assert "1 picture is before it." in text
    # Nothing was painted here so far: nobody pretends to know how long that takes.
    assert "not known" in text
    assert buttons(told) == ["cancel:3"]
    assert not [
        m for m in house.footers(told.channel_id) if m.startswith("step 4")
    ]  # it waits for its parent
    first.go_on.set()
    await house.delivered(1, 2, 3, 4)
    assert told.deleted
    # Now it is known, and said in a way that Discord's client counts down.
    again, other = hang(house), hang(house)
    await begin(house, prompt="another")
    await again.reached.wait()
    await bob.slash(house.discord.general, "imagine", prompt="a shoe", depth=0)
    told = await waiting_message(house, "step 6 · progress 1")
    assert "It is next.\nIt should begin <t:" in told.embeds[0]["description"]
    # The same message shows its progress.
    again.go_on.set()
    await other.reached.wait()
    await house.discord.wait_for(lambda: told.embeds[0]["title"] == "First picture")
    assert buttons(told) == ["cancel:6"]
    other.go_on.set()
    await house.delivered(5, 6)
    assert told.deleted
    await shown_is_what_is_stored(house)


async def test_the_owner_cancels_what_is_being_painted(house: House) -> None:
    painting = hang(house)
    await begin(house, depth=2)
    await painting.reached.wait()
    thread = await house.thread()
    progress = await house.shown(thread, "step 1 · progress 1")
    assert buttons(progress) == ["cancel:1"]
    refused = await house.discord.member("bob").click(progress, "cancel:1")
    assert refused.ephemeral
    assert "Only who asked" in refused.messages[0].content
    assert not painting.stopped
    ada = house.discord.member("ada")
    pressed = await ada.click(progress, "cancel:1")
    assert pressed.messages[0].content == "Cancelled: 3 pictures."
    said = await house.shown(thread, "step 1 · error 1")
    assert painting.stopped
    assert said.embeds[0]["title"] == "First picture: cancelled"
    assert f"Cancelled by <@{ada.id}>." in said.embeds[0]["description"]
    assert "2 more pictures wait" in said.embeds[0]["description"]
    await house.delivered(1)
    assert progress.deleted
    assert await house.states(1) == ["cancelled"] * 3
    # The slot is free: the next one is painted.
    await begin(house, prompt="another")
    await house.delivered(4)
    # And what was cancelled can be taken up again.
    await house.discord.member("bob").react(said, AGAIN)
    await house.delivered(1, 2, 3)
    assert await house.states(1) == ["done"] * 3
    await shown_is_what_is_stored(house)


async def test_a_moderator_cancels_what_waits_and_what_is_painted_stays(house: House) -> None:
    painting = hang(house)
    await begin(house)
    await painting.reached.wait()
    bob = house.discord.member("bob")
    await bob.slash(house.discord.general, "imagine", prompt="a hat", depth=1)
    told = await waiting_message(house, "step 2 · progress 1")
    moderator = house.discord.member("mo", permissions="manage_messages")
    assert (await moderator.click(told, "cancel:2")).messages[0].content == "Cancelled: 2 pictures."
    said = await house.shown(told.channel_id, "step 2 · error 1")
    await house.delivered(2)
    assert told.deleted
    assert not painting.stopped
    painting.go_on.set()
    await house.delivered(1)
    assert await house.states(2) == ["cancelled"] * 2
    assert f"<@{moderator.id}>" in said.embeds[0]["description"]


async def test_a_cancel_outlives_the_process(make_house: MakeHouse) -> None:
    house = make_house()
    await house.start()
    painting = hang(house)
    await begin(house, depth=1)
    await painting.reached.wait()
    thread = await house.thread()
    progress = await house.shown(thread, "step 1 · progress 1")
    gate = house.discord.faults.hold("POST", r"/messages$")
    await house.discord.member("ada").click(progress, "cancel:1")
    await gate.reached.wait()  # written down, and not said yet
    await house.stop()
    gate.drop()
    painted = len(house.generator.generated)
    await house.start()
    await house.shown(thread, "step 1 · error 1")
    await house.delivered(1)
    assert progress.deleted
    assert len(house.generator.generated) == painted
    assert await house.states(1) == ["cancelled"] * 2


async def test_a_button_from_before_a_restart_works(make_house: MakeHouse) -> None:
    house = make_house()
    await house.start()
    painting = hang(house)
    await begin(house)
    await painting.reached.wait()
    progress = await house.shown(await house.thread(), "step 1 · progress 1")
    await house.stop()
    again = hang(house)
    await house.start()
    await again.reached.wait()
    pressed = await house.discord.member("ada").click(progress, "cancel:1")
    assert pressed.messages[0].content == "Cancelled: 1 picture."
    await house.delivered(1)
    assert again.stopped


async def test_a_button_whose_picture_is_done_says_so(house: House) -> None:
    painting = hang(house)
    await begin(house)
    await painting.reached.wait()
    progress = await house.shown(await house.thread(), "step 1 · progress 1")
    gate = house.discord.faults.hold("POST", r"/messages$")
    painting.go_on.set()
    await gate.reached.wait()  # painted, and not shown yet
    pressed = await house.discord.member("ada").click(progress, "cancel:1")
    assert "not waiting or being painted any more" in pressed.messages[0].content
    gate.release()
    await house.delivered(1)
    assert await house.states(1) == ["done"]


async def test_the_command_cancels_here_or_everything_of_mine(house: House) -> None:
    painting = hang(house)
    ada, bob = house.discord.member("ada"), house.discord.member("bob")
    await begin(house)
    await painting.reached.wait()
    for prompt in ("a hat", "a bag"):
        await bob.slash(house.discord.general, "imagine", prompt=prompt, depth=1)
    nothing = await ada.slash(house.discord.general, "cancel")
    assert nothing.ephemeral
    assert "Nothing that you can cancel" in nothing.messages[0].content
    thread = (await waiting_message(house, "step 2 · progress 1")).channel_id  # of bob's first picture
    assert "Nothing that you can" in (await ada.slash(thread, "cancel")).messages[0].content
    assert (await bob.slash(thread, "cancel")).messages[0].content == "Cancelled: 2 pictures."
    every = await bob.slash(house.discord.general, "cancel", everything=True)
    assert every.messages[0].content == "Cancelled: 2 pictures."
    assert not painting.stopped
    painting.go_on.set()
    await house.delivered(1)
    assert [await house.states(number) for number in (1, 2, 3)] == [["done"], *[["cancelled"] * 2] * 2]
    again = await bob.slash(house.discord.general, "cancel", everything=True)
    assert again.messages[0].content == "Nothing of yours is waiting or being painted."


async def test_cancelling_works_in_a_dm(house: House) -> None:
    painting = hang(house)
    ada = house.discord.member("ada")
    await ada.slash(ada.dm(), "imagine", prompt="a hat", depth=1)
    await painting.reached.wait()
    assert (await ada.slash(ada.dm(), "cancel")).messages[0].content == "Cancelled: 2 pictures."
    await house.shown(ada.dm(), "step 1 · error 1")
    assert painting.stopped


async def test_the_queue_is_shown_on_demand(house: House) -> None:
    ada, bob = house.discord.member("ada"), house.discord.member("bob")
    empty = await ada.slash(house.discord.general, "queue")
    assert empty.ephemeral
    assert "Being painted: 0. Waiting: 0. Of all these, yours: 0." in empty.messages[0].content
    painting = hang(house)
    await begin(house, depth=1)
    await painting.reached.wait()
    await bob.slash(house.discord.general, "imagine", prompt="a hat", depth=0)
    seen = (await ada.slash(house.discord.general, "queue")).messages[0].content
    assert "Being painted: 1. Waiting: 2. Of all these, yours: 2." in seen
    assert ": being painted" in seen
    assert "1 before it; when it begins is not known yet" in seen
    painting.go_on.set()
    await house.delivered(1, 2, 3)


async def test_members_take_turns_and_nothing_is_lost(house: House) -> None:
    """Ten members who ask for three pictures each, all at once: in rounds, every one shown."""
    first = hang(house)
    await begin(house)
    await first.reached.wait()
    members = [house.discord.member(f"m{number}") for number in range(10)]
    for member in members:  # one after another: the first has asked for everything before the second asks
        for number in range(3):
            await member.slash(house.discord.general, "imagine", prompt=f"hat {number}", depth=0)
    first.go_on.set()
    await house.delivered(*range(1, 32))
    steps = [step for number in range(2, 32) for step in await house.store.steps(number)]
    assert {step.state for step in steps} == {StepState.DONE}
    steps.sort(key=lambda step: step.started_at or step.created_at)
    order = [step.asked_by for step in steps]
    for begins in range(0, 30, 10):
        assert sorted(order[begins : begins + 10]) == sorted(str(member.id) for member in members)
    await shown_is_what_is_stored(house)


async def test_too_many_at_once_is_said_plainly(make_house: MakeHouse) -> None:
    house = make_house(limits=Limits(member_waiting=2))
    await house.start()
    painting = hang(house)
    await begin(house, depth=1)
    await painting.reached.wait()
    ada, bob = house.discord.member("ada"), house.discord.member("bob")
    refused = await ada.slash(house.discord.general, "imagine", prompt="more", depth=0)
    assert refused.ephemeral
    assert "At most 2 pictures of yours" in refused.messages[0].content
    assert len(house.discord.threads()) == 1
    await bob.slash(house.discord.general, "imagine", prompt="a hat", depth=1)
    painting.go_on.set()
    await house.delivered(1, 2, 3, 4)
    # Reactions and replies count as well, and are answered.
    picture = await house.shown(house.discord.threads()[0], "step 1 · picture")
    held = hang(house)
    await ada.react(picture, AGAIN)
    await held.reached.wait()
    taken = await ada.send(picture.channel_id, "1: red", reply_to=picture)
    await house.discord.wait_for(lambda: taken.reactions)
    reply = await ada.send(picture.channel_id, "2: red", reply_to=picture)
    assert "At most 2 pictures of yours" in (await said_to(house, reply)).content
    held.go_on.set()
    await house.delivered(5, 6)


@pytest.mark.parametrize("kind", ["iterate", "priority"])
async def test_roles_that_may_go_on_and_that_come_first(house: House, kind: str) -> None:
    discord = house.discord
    painters = discord.role("Painters")
    bob, eve = discord.member("bob"), discord.member("eve", roles=(painters,))
    owner = discord.member("owner")
    told = await owner.slash(discord.general, "settings set", name=kind, value="painters")
    assert f"<@&{painters.id}>" in told.messages[0].content
    if kind == "iterate":
        await begin(house)
        picture = await house.shown(await house.thread(), "step 1 · picture")
        await bob.react(picture, AGAIN)
        assert "has the role for it" in (await said_to(house, picture)).content
        await eve.react(picture, AGAIN)
        await house.shown(await house.thread(), "step 2 · picture")
        await discord.member("ada").react(picture, AGAIN)
        await house.shown(await house.thread(), "step 3 · picture")
        assert [step.kind for step in await house.store.steps(1)][1:] == [StepKind.RECURSE] * 2
        return
    painting = hang(house)
    await begin(house)
    await painting.reached.wait()
    for member in (bob, eve):
        for _ in range(2):
            await member.slash(discord.general, "imagine", prompt="a hat", depth=0)
    painting.go_on.set()
    await house.delivered(1, 2, 3, 4, 5)
    steps = [await house.store.step(number) for number in (2, 3, 4, 5)]
    steps.sort(key=lambda step: step.started_at or step.created_at)
    assert [step.asked_by for step in steps] == [str(eve.id)] * 2 + [str(bob.id)] * 2


async def test_two_bots_never_work_on_one_database(make_house: MakeHouse) -> None:
    house, other = make_house(), make_house()
    await house.start()
    with pytest.raises(ConfigurationError, match="Another process works on this database"):
        await other._serve(other.make_pipeline())
    await house.stop()
    await other.start()
    await begin(other)
    await other.delivered(1)
