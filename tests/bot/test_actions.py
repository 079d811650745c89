"""What members do below a picture to go on with it: deeper, tweak, again, undo, branch, keep."""

from __future__ import annotations

import pytest

from bot import views
from pipeline import locks, provenance
from pipeline.domain import StepKind, StepState
from playground import Actor, Message, SentInteraction
from playground.validate import walk
from tests.bot.conftest import House, MakeHouse
from tests.bot.test_session import AGAIN, begin, shown_is_what_is_stored
from tests.fakes import Pause


def custom_id(message: Message, end: str) -> str:
    """Return the custom id below a message that ends like this."""
    ids = [str(c["custom_id"]) for c in walk(message.components) if c.get("custom_id")]
    return next(i for i in ids if i.endswith(f":{end}"))


async def press(actor: Actor, message: Message, action: str) -> SentInteraction:
    """Press a button, as members do: when the bot has answered, it is over."""
    return await actor.click(message, custom_id(message, action))


async def choose(actor: Actor, message: Message, menu: str, *values: str) -> SentInteraction:
    return await actor.select(message, custom_id(message, menu), *values)


async def told(house: House, sent: SentInteraction) -> Message:
    """Wait for what an interaction is answered with, for its member alone."""

    def answer() -> Message | None:
        ours = [m for m in sent.messages if m is not sent.source and not m.loading and not m.deleted]
        return ours[0] if ours else None

    message = await house.discord.wait_for(answer)
    assert message is not None
    assert message.visible_to == sent.user_id
    return message


async def picture(house: House, step_id: int) -> Message:
    """Wait until a step is wholly shown; return the message with its picture."""
    await house.delivered(step_id)
    return await house.shown(await house.thread(), f"step {step_id} · picture")


def text(message: Message) -> str:
    return message.embeds[0]["description"]


async def restart(house: House) -> None:
    await house.stop()
    await house.start()


async def test_what_is_below_a_picture(house: House) -> None:
    await begin(house, depth=1)
    first, second = await picture(house, 1), await picture(house, 2)
    for message, undoable in ((first, False), (second, True)):
        buttons, menu = message.components
        assert [b["label"] for b in buttons["components"]] == ["Deeper", "Tweak", "Again", "Undo", "Look"]
        assert bool(buttons["components"][3].get("disabled")) is not undoable
        assert len(menu["components"][0]["options"]) == 6
    notes = await house.shown(await house.thread(), "step 2 · notes 1")
    assert notes.components == []


async def test_deeper_by_button_also_after_a_restart(house: House) -> None:
    await begin(house)
    first = await picture(house, 1)
    bob = house.discord.member("bob")
    asked = await press(bob, first, "deeper")
    assert (await told(house, asked)).content == "Recursion 1 is in the queue."
    second = await picture(house, 2)
    assert f"<@{bob.id}>" in text(second)
    await restart(house)
    await press(bob, second, "deeper")
    await picture(house, 3)
    assert [(s.kind, s.parent_id, s.asked_by) for s in (await house.store.steps(1))[1:]] == [
        (StepKind.RECURSE, 1, str(bob.id)),
        (StepKind.RECURSE, 2, str(bob.id)),
    ]
    await shown_is_what_is_stored(house)


@pytest.mark.parametrize("action", ["deeper", "again"])
async def test_a_double_click_is_one_step_and_a_later_one_another(house: House, action: str) -> None:
    await begin(house)
    first = await picture(house, 1)
    bob, eve = house.discord.member("bob"), house.discord.member("eve")
    which = custom_id(first, action)
    once = await bob.click(first, which, settle=False)
    twice = await bob.click(first, which, settle=False)
    assert {(await told(house, sent)).content.split(";")[0] for sent in (once, twice)} == {
        "Recursion 1 is in the queue." if action == "deeper" else "First picture is in the queue.",
        "You have asked for that just now",
    }
    await press(eve, first, action)  # another member's click is another wish
    house.discord.advance(3)
    await press(bob, first, action)
    await house.delivered(2, 3, 4)
    assert [s.asked_by for s in (await house.store.steps(1))[1:]] == [str(m.id) for m in (bob, eve, bob)]


async def test_a_branch_says_which_picture_it_starts_from(house: House) -> None:
    await begin(house, depth=1)
    first, second = await picture(house, 1), await picture(house, 2)
    assert f"-# from [First picture](https://discord.com/channels/{first.guild_id}/" in text(second)
    assert "Branch" not in text(second)
    await press(house.discord.member("bob"), first, "deeper")
    third = await picture(house, 3)
    thread = await house.thread()
    link = f"https://discord.com/channels/{first.guild_id}/{thread.id}/{first.id}"
    assert f"🌿 Branch from [First picture]({link})" in text(third)


async def test_again_gives_each_kind_of_picture_another_seed(house: House) -> None:
    await begin(house, depth=1)
    ada, thread = house.discord.member("ada"), await house.thread()
    second = await picture(house, 2)
    await ada.send(thread, "2: red", reply_to=second)
    shown = {number: await picture(house, number) for number in (1, 2, 3)}
    await restart(house)
    for number in (1, 2, 3):
        await press(ada, shown[number], "again")
        await picture(house, number + 3)
    steps = {step.id: step for step in await house.store.steps(1)}
    for number in (1, 2, 3):
        one, other = steps[number], steps[number + 3]
        assert (one.kind, one.parent_id, one.request) == (other.kind, other.parent_id, other.request)
        assert one.seed != other.seed
        assert await house.store.picture(one.id) != await house.store.picture(other.id)
        assert "🎲" in text(await picture(house, other.id))


async def test_a_tweak_by_menu_and_form_across_restarts(house: House) -> None:
    await begin(house, depth=1)
    second = await picture(house, 2)
    bob = house.discord.member("bob")
    offered = await told(house, await press(bob, second, "tweak"))
    options = offered.components[0]["components"][0]["options"]
    assert [o["label"] for o in options] == ["1 · jacket", "2 · bag", "3 · hat"]
    assert options[1]["description"] == "bag, pastel, soft light"
    await restart(house)
    opened = await choose(bob, offered, "tweak", "2")
    assert opened.modal is not None
    assert opened.modal["title"] == "2 · bag"
    (label,) = opened.modal["components"]
    assert label["component"]["value"] == "bag, pastel, soft light"
    await restart(house)
    sent = await bob.submit_modal(opened, {"words": "bag, red leather\nstriped"})
    assert "Object 2 will be repainted" in (await told(house, sent)).content
    await picture(house, 3)
    step = await house.store.step(3)
    assert (step.kind, step.parent_id, step.asked_by) == (StepKind.TWEAK, 2, str(bob.id))
    assert step.request == "2: bag, red leather, striped"
    assert [item.repaint for item in await house.store.objects(3)] == [False, True, False]


async def test_tweak_object_in_the_context_menu(house: House) -> None:
    await begin(house)
    first = await picture(house, 1)
    ada = house.discord.member("ada")
    # The objects of a first picture are looked for when they are asked for, once.
    offered = await told(house, await ada.context_menu(first, "Tweak object"))
    again = await told(house, await press(ada, first, "tweak"))
    assert house.segmenter.depths == [0]
    assert (
        again.components[0]["components"][0]["options"] == offered.components[0]["components"][0]["options"]
    )
    opened = await choose(ada, offered, "tweak", "3")
    assert (await ada.submit_modal(opened, {"words": "a straw hat"})).response is not None
    await picture(house, 2)
    assert (await house.store.step(2)).request == "3: a straw hat"
    notes = await house.shown(await house.thread(), "step 2 · notes 1")
    assert (await told(house, await ada.context_menu(notes, "Tweak object"))).content.startswith("Which")
    # On what is no picture of ours it says so.
    talk = await ada.send(await house.thread(), "nice")
    assert "none of my pictures" in (await told(house, await ada.context_menu(talk, "Tweak object"))).content
    empty = await choose(ada, offered, "tweak", "1")
    refused = await ada.submit_modal(empty, {"words": " \n "})
    assert "reply is empty" in (await told(house, refused)).content


async def test_a_picture_without_objects_is_said(house: House) -> None:
    house.segmenter.objects.clear()
    await begin(house)
    first = await picture(house, 1)
    ada = house.discord.member("ada")
    for action in ("tweak", "look"):
        assert "No objects were found" in (await told(house, await press(ada, first, action))).content
    assert "No objects" in (await told(house, await choose(ada, first, "more", "keep"))).content


async def test_undo_shows_the_parent_again_and_cancels_what_waits(house: House) -> None:
    await begin(house, depth=1)
    second, thread = await picture(house, 2), await house.thread()
    bob = house.discord.member("bob")
    # Two recursions wait behind one that is being painted.
    painting = Pause()
    house.generator.turns.add(painting)
    await press(bob, second, "deeper")
    await painting.reached()
    waiting = await house.pipeline.recurse(3, asked_by=str(bob.id), origin="test:1")
    await house.pipeline.recurse(waiting.id, asked_by=str(bob.id), origin="test:2")
    sent = await press(bob, second, "undo")
    answer = await told(house, sent)
    shown = await house.shown(thread, f"step 1 · shown {sent.id}")
    assert f"/{thread.id}/{shown.id})" in answer.content
    assert "(3) is cancelled" in answer.content
    assert f"<@{bob.id}> went back to this picture" in text(shown)
    assert shown.attachments[0].data == await house.store.picture(1)
    # What was being painted is stopped, and shown as /cancel shows it.
    stopped = await house.shown(thread, "step 3 · error 1")
    assert stopped.embeds[0]["title"] == "Recursion 2: cancelled"
    assert f"Undone by <@{bob.id}>." in text(stopped)
    await house.delivered(3)
    assert [s.state for s in await house.store.steps(1)][2:] == [StepState.CANCELLED] * 3
    assert await house.store.picture(3) is None
    assert not any(" · progress " in mark for mark in house.footers(thread))
    current = await house.store.current(1)
    assert current is not None
    assert current.id == 1

    # Again it changes nothing; and the picture that is shown again serves as the first did.
    await restart(house)
    assert "undone already" in (await told(house, await press(bob, second, "undo"))).content
    assert len([mark for mark in house.footers(thread) if " · shown " in mark]) == 1
    await press(bob, shown, "deeper")
    assert "Branch from" in text(await picture(house, 6))
    await bob.react(shown, AGAIN)
    await picture(house, 7)
    await bob.send(thread, "1: blue", reply_to=shown)
    await picture(house, 8)
    assert [s.parent_id for s in await house.store.steps(1)][5:] == [1, 1, 1]


async def test_branch_goes_on_from_an_earlier_picture(house: House) -> None:
    await begin(house, depth=2)
    second, _ = await picture(house, 2), await picture(house, 3)
    thread, bob = await house.thread(), house.discord.member("bob")
    sent = await choose(bob, second, "more", "branch")
    assert "grows as a branch" in (await told(house, sent)).content
    shown = await house.shown(thread, f"step 2 · shown {sent.id}")
    assert "goes on from this picture" in text(shown)
    current = await house.store.current(1)
    assert current is not None
    assert current.id == 2
    await restart(house)
    assert "already" in (await told(house, await choose(bob, second, "more", "branch"))).content
    assert len([mark for mark in house.footers(thread) if " · shown " in mark]) == 1


async def test_what_is_kept_stays_as_it_is(house: House) -> None:
    await begin(house, depth=1)
    second, bob = await picture(house, 2), house.discord.member("bob")
    menu = await told(house, await choose(bob, second, "more", "keep"))
    await restart(house)
    await choose(bob, menu, "keep", "1", "3")
    assert menu.content == "Kept from here on: \u20681 jacket, 3 hat\u2069."
    options = menu.components[0]["components"][0]["options"]
    assert [bool(o.get("default")) for o in options] == [True, False, True]
    await press(bob, second, "deeper")
    third = await picture(house, 3)
    assert "🔒 kept: \u20681 jacket, 3 hat\u2069" in text(third)
    before, after = [provenance.decode(await house.store.picture(n) or b"").astype(int) for n in (2, 3)]
    protect = locks.protected(await house.store.objects(3))
    assert protect is not None
    changed = (before != after).any(axis=2)
    assert not changed[protect].any()
    bag = (await house.store.objects(3))[1].detection.mask
    assert changed[bag].mean() > 0.9

    # Nothing else is offered to tweak, whoever asks and however.
    offered = await told(house, await press(bob, third, "tweak"))
    assert [o["value"] for o in offered.components[0]["components"][0]["options"]] == ["2"]
    opened = await choose(bob, offered, "tweak", "2")
    menu = await told(house, await choose(bob, third, "more", "keep"))
    await choose(bob, menu, "keep", "1", "2", "3")
    assert "is kept as it is" in (await told(house, await bob.submit_modal(opened))).content
    refused = await told(house, await press(bob, third, "tweak"))
    assert "release one first" in refused.content
    await choose(bob, menu, "keep")
    assert menu.content == "Nothing is kept from here on."
    assert len(await house.store.steps(1)) == 3


async def test_only_the_requester_goes_on_where_it_is_set_so(make_house: MakeHouse) -> None:
    house = make_house(settings={"iterate_by": "requester"})
    await house.start()
    await begin(house, depth=1)
    second, bob = await picture(house, 2), house.discord.member("bob")
    for action in ("deeper", "tweak", "again", "undo"):
        assert "Here only who asked" in (await told(house, await press(bob, second, action))).content
    for choice in ("branch", "keep", "gallery"):
        refused = await told(house, await choose(bob, second, "more", choice))
        assert "Here only who asked" in refused.content
    refused = await told(house, await bob.context_menu(second, "Tweak object"))
    assert "Here only who asked" in refused.content
    assert len(await house.store.steps(1)) == 2
    ada = house.discord.member("ada")
    assert "queue" in (await told(house, await press(ada, second, "deeper"))).content


async def test_too_deep_is_one_sentence(make_house: MakeHouse) -> None:
    house = make_house(settings={"max_depth": 1})
    house.options = type(house.options)(max_depth=1)
    await house.start()
    await begin(house, depth=1)
    refused = await press(house.discord.member("bob"), await picture(house, 2), "deeper")
    assert "deeper than 1 is not possible" in (await told(house, refused)).content


async def test_another_databases_buttons_do_nothing(house: House) -> None:
    await begin(house)
    first, ada = await picture(house, 1), house.discord.member("ada")
    # The same number, but a step of another origin: a database that began anew.
    button = next(c for c in walk(first.components) if str(c.get("custom_id")).endswith(":deeper"))
    step = await house.store.step(1)
    assert button["custom_id"] == f"step:{views.Ref.of(step)}:deeper"
    button["custom_id"] = "step:1:000000:deeper"
    assert "may have been deleted" in (await told(house, await press(ada, first, "deeper"))).content
    button["custom_id"] = "step:999:000000:deeper"
    assert "may have been deleted" in (await told(house, await press(ada, first, "deeper"))).content
    await house.store.delete_session(1)
    button["custom_id"] = f"step:{views.Ref.of(step)}:deeper"
    assert "may have been deleted" in (await told(house, await press(ada, first, "deeper"))).content
    with_menu = await choose(ada, first, "more", "film")
    assert "may have been deleted" in (await told(house, with_menu)).content


async def test_what_nobody_foresaw_is_one_sentence(house: House) -> None:
    async def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("/secret/path")

    await begin(house)
    first = await picture(house, 1)
    house.pipeline.recurse = broken  # type: ignore[method-assign]
    refused = await told(house, await press(house.discord.member("ada"), first, "deeper"))
    assert refused.content.startswith("Something broke")
    assert "secret" not in refused.content


async def test_too_late_an_acknowledgement_still_gets_its_picture(house: House) -> None:
    await begin(house)
    first = await picture(house, 1)
    house.discord.faults.delay("POST", "/callback$", seconds=0.2, times=1)
    asked = await house.discord.member("ada").click(first, custom_id(first, "deeper"), settle=False)
    house.discord.advance(4)
    assert asked.failed
    await picture(house, 2)
