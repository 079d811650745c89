"""What members do with a picture that makes no new one: look, animate, show elsewhere, delete."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from bot.gallery import gallery_channel, gallery_key
from pipeline import provenance
from pipeline.domain import StepState
from playground import Channel, Message
from tests.bot.conftest import House, MakeHouse, footer
from tests.bot.test_actions import choose, custom_id, picture, press, restart, text, told
from tests.bot.test_session import AGAIN, begin
from tests.fakes import Pause


def shown_pixels(message: Message) -> np.ndarray:
    """Return the picture of a message's only file, [H, W, 3]."""
    (file,) = message.attachments
    with Image.open(io.BytesIO(file.data)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


async def test_outlines_are_shown_and_switched_for_one_member_alone(house: House) -> None:
    await begin(house, depth=1)
    second, bob = await picture(house, 2), house.discord.member("bob")
    sent = await press(bob, second, "look")
    view = await told(house, sent)
    assert "numbered" in view.content
    assert "[Recursion 1](https://discord.com/channels/" in view.content
    outlined = shown_pixels(view)
    assert outlined.shape[0] >= 512  # small pictures are enlarged, or a number hides what it names
    await restart(house)
    shown = {"outlines": outlined}
    for look in ("plain", "before"):
        await press(bob, view, look)
        await house.discord.wait_for(lambda look=look: f"-{look}.webp" in view.attachments[0].filename)
        shown[look] = shown_pixels(view)
        (row,) = view.components
        pressed = [b["label"] for b in row["components"] if b.get("disabled")]
        assert pressed == [{"plain": "Picture", "before": "Before"}[look]]
    for look, step_id in (("plain", 2), ("before", 1)):
        png = provenance.decode(await house.store.picture(step_id) or b"").astype(int)
        assert np.abs(shown[look] - png).mean() < 12  # a lossy WebP of it
    assert np.abs(shown["plain"] - shown["before"]).mean() > 20
    assert second.attachments[0].data == await house.store.picture(2)  # the posted picture is untouched

    # A first picture has no picture before it.
    view = await told(house, await press(bob, await picture(house, 1), "look"))
    assert [b["label"] for b in view.components[0]["components"]] == ["Outlines", "Picture"]


async def test_an_animation_from_the_first_picture_to_this_one(house: House) -> None:
    await begin(house, depth=2)
    third, bob = await picture(house, 3), house.discord.member("bob")
    await restart(house)
    film = await told(house, await choose(bob, third, "more", "film"))
    assert film.content == "All 3 pictures from the first to this one."
    with Image.open(io.BytesIO(film.attachments[0].data)) as image:
        assert image.format == "WEBP"
        assert getattr(image, "n_frames", 1) == 3
        for index in range(3):
            image.seek(index)
            frame = np.asarray(image.convert("RGB")).astype(int)
            png = provenance.decode(await house.store.picture(index + 1) or b"").astype(int)
            assert np.abs(frame - png).mean() < 15
    refused = await told(house, await choose(bob, await picture(house, 1), "more", "film"))
    assert "only one picture" in refused.content
    # The menu was sent anew with its acknowledgement, so that the same can be chosen again.
    assert await told(house, await choose(bob, third, "more", "film"))


async def test_an_animation_that_fits_in_no_size_is_said(house: House) -> None:
    await begin(house, depth=1)
    second = await picture(house, 2)
    house.discord.guild.upload_limit_override = 100
    sent = await choose(house.discord.member("bob"), second, "more", "film")
    assert "too large for this channel" in (await told(house, sent)).content


async def set_gallery(house: House, channel: Channel) -> None:
    await house.store.keep(gallery_key(house.discord.guild.id), str(channel.id))


async def test_the_gallery_shows_each_picture_once(house: House) -> None:
    gallery = house.discord.add_channel("gallery")
    await begin(house)
    first, bob = await picture(house, 1), house.discord.member("bob")
    refused = await told(house, await choose(bob, first, "more", "gallery"))
    assert "no gallery channel yet" in refused.content
    assert "/settings" in refused.content
    await set_gallery(house, gallery)
    assert await gallery_channel(house.store, house.discord.guild.id) == gallery.id
    answer = await told(house, await choose(bob, first, "more", "gallery"))
    (shown,) = house.discord.messages(gallery)
    assert f"/{gallery.id}/{shown.id}" in answer.content
    assert shown.attachments[0].data == await house.store.picture(1)
    assert f"/{first.id})" in text(shown)
    assert "a red jacket" in text(shown)
    assert shown.mentions == []
    await restart(house)
    again = await told(house, await choose(house.discord.member("eve"), first, "more", "gallery"))
    assert "already" in again.content
    # People talk there, and react: it is no place to go on.
    await bob.send(gallery, "lovely", reply_to=shown)
    await bob.react(shown, AGAIN)
    await press(bob, first, "deeper")
    await picture(house, 2)
    assert [m.author.bot for m in house.discord.messages(gallery)] == [True, False]
    assert len(await house.store.steps(1)) == 2


async def test_a_gallery_where_the_bot_may_not_write_is_said_and_costs_nothing(house: House) -> None:
    gallery = house.discord.add_channel("gallery")
    house.discord.deny(gallery, house.discord.bot, "attach_files")
    await set_gallery(house, gallery)
    await begin(house)
    first, bob = await picture(house, 1), house.discord.member("bob")
    refused = await told(house, await choose(bob, first, "more", "gallery"))
    assert f"cannot post in <#{gallery.id}>" in refused.content
    house.discord.delete_channel(gallery)
    refused = await told(house, await choose(bob, first, "more", "gallery"))
    assert f"cannot post in <#{gallery.id}>" in refused.content
    other = house.discord.add_channel("better")
    await set_gallery(house, other)
    assert "in the gallery now" in (await told(house, await choose(bob, first, "more", "gallery"))).content
    assert len(house.discord.messages(other)) == 1
    assert (await house.store.session(1)).place == str((await house.thread()).id)


async def test_an_age_restricted_picture_stays_out_of_an_open_gallery(house: House) -> None:
    gallery, adults = house.discord.add_channel("gallery"), house.discord.add_channel("adults", nsfw=True)
    await set_gallery(house, gallery)
    ada = house.discord.member("ada")
    await ada.slash(adults, "imagine", prompt="a red jacket", depth=0, seed=7)
    await house.delivered(1)
    (thread,) = house.discord.threads(adults)
    first = await house.shown(thread, "step 1 · picture")
    refused = await told(house, await choose(ada, first, "more", "gallery"))
    assert "age-restricted" in refused.content
    assert house.discord.messages(gallery) == []


async def test_there_is_no_gallery_in_a_dm(house: House) -> None:
    ada = house.discord.member("ada")
    await ada.slash(ada.dm(), "imagine", prompt="a hat", depth=1, seed=3)
    await house.delivered(1, 2)
    second = await house.shown(ada.dm(), "step 2 · picture")
    assert "https://discord.com/channels/@me/" in text(second)
    assert "belongs to a server" in (await told(house, await choose(ada, second, "more", "gallery"))).content
    await press(ada, second, "deeper")
    await house.shown(ada.dm(), "step 3 · picture")
    await house.delivered(3)
    confirm = await told(house, await choose(ada, second, "more", "delete"))
    done = await press(ada, confirm, "really")
    await house.discord.wait_for(lambda: confirm.content.startswith("Deleted"))
    assert not done.failed
    assert [mark for mark in house.footers(ada.dm()) if mark.startswith("step")] == [
        footer(await house.shown(ada.dm(), "step 1 · picture"))
    ]


async def test_a_copy_to_my_dms_and_closed_dms(house: House) -> None:
    await begin(house)
    first, bob = await picture(house, 1), house.discord.member("bob")
    await restart(house)
    for _ in range(2):
        assert (await told(house, await choose(bob, first, "more", "dm"))).content == "I sent you a copy."
    (copy,) = house.discord.messages(bob.dm())
    assert copy.attachments[0].data == await house.store.picture(1)
    assert f"/{first.id})" in text(copy)
    eve = house.discord.member("eve")
    eve.user.dms_closed = True
    refused = await told(house, await choose(eve, first, "more", "dm"))
    assert "DMs are closed" in refused.content
    assert house.discord.messages(eve.dm()) == []


async def test_a_deleted_picture_is_gone_with_all_that_was_made_from_it(house: House) -> None:
    gallery = house.discord.add_channel("gallery")
    await set_gallery(house, gallery)
    await begin(house, depth=2)
    thread, ada, bob = await house.thread(), house.discord.member("ada"), house.discord.member("bob")
    first, second, _ = [await picture(house, number) for number in (1, 2, 3)]
    await choose(ada, second, "more", "gallery")
    await house.discord.wait_for(lambda: house.discord.messages(gallery))
    # These stand when the bot comes back: what they made must not come back with it.
    await bob.react(first, AGAIN)
    await picture(house, 4)
    await bob.send(thread, "2: red", reply_to=first)
    await picture(house, 5)
    answers = []
    for number, count in ((2, 1), (4, 0), (5, 0)):
        confirm = await told(house, await choose(ada, await picture(house, number), "more", "delete"))
        assert ("(1 more)" in confirm.content) is bool(count)
        await restart(house)
        twice = [await ada.click(confirm, custom_id(confirm, "really"), settle=False) for _ in range(2)]
        await house.discord.wait_for(lambda confirm=confirm: confirm.content.startswith("Deleted"))
        answers.append(confirm.content)
        later = [m for sent in twice for m in sent.followups]
        assert all("may have been deleted" in m.content for m in later)
    # Two pictures, their notes, and the gallery's; one picture and its notes.
    assert answers == [
        "Deleted: pictures and steps 2, messages 5.",
        "Deleted: pictures and steps 1, messages 2.",
        "Deleted: pictures and steps 1, messages 2.",
    ]
    assert house.discord.messages(gallery) == []
    assert [footer(m).split(" · depth")[0] for m in house.discord.messages(thread) if footer(m)] == [
        "step 1 · picture"
    ]
    assert [step.id for step in await house.store.steps(1)] == [1]
    for number in range(2, 6):
        assert await house.store.picture(number) is None
    await restart(house)
    await press(ada, first, "deeper")
    await picture(house, 6)
    assert [step.id for step in await house.store.steps(1)] == [1, 6]


async def test_who_may_delete(house: House) -> None:
    await begin(house)
    first = await picture(house, 1)
    bob, eve = house.discord.member("bob"), house.discord.member("eve")
    mod = house.discord.member("mod", permissions="manage_messages")
    await press(bob, first, "deeper")
    second = await picture(house, 2)
    refused = await told(house, await choose(bob, first, "more", "delete"))
    assert "Only who asked for this picture" in refused.content
    # One's own step, in another's session, as long as nobody else went on from it.
    confirm = await told(house, await choose(bob, second, "more", "delete"))
    await press(eve, second, "deeper")
    third = await picture(house, 3)
    late = await press(bob, confirm, "really")
    assert "Only who asked for this picture" in (await told(house, late)).content
    assert len(await house.store.steps(1)) == 3
    confirm = await told(house, await choose(mod, third, "more", "delete"))
    await press(mod, confirm, "really")
    await house.discord.wait_for(lambda: confirm.content.startswith("Deleted"))
    confirm = await told(house, await choose(house.discord.member("ada"), first, "more", "delete"))
    await press(house.discord.member("ada"), confirm, "really")
    await house.discord.wait_for(lambda: confirm.content.startswith("Deleted"))
    assert house.footers(await house.thread()) == []
    # A click that was on its way when its picture went.
    pressed = await told(house, await press(eve, await told_again(house, confirm), "really"))
    assert "may have been deleted" in pressed.content


async def told_again(house: House, confirm: Message) -> Message:
    """Put the confirmation's button back, as a slow client may still show it."""
    confirm.components = list(confirm.components) or [
        {
            "type": 1,
            "components": [{"type": 2, "style": 4, "label": "x", "custom_id": "step:1:000000:really"}],
        }
    ]
    confirm.visible_to = house.discord.member("eve").id
    return confirm


async def test_what_is_deleted_while_it_is_painted_is_not_shown(make_house: MakeHouse) -> None:
    house = make_house()
    painting = Pause()
    house.generator.turns.add(None, None, None, None, painting)
    await house.start()
    await begin(house, depth=1)
    thread, ada = await house.thread(), house.discord.member("ada")
    second = await picture(house, 2)
    await press(ada, second, "deeper")
    await painting.reached()
    progress = await house.shown(thread, "step 3 · progress 1")
    confirm = await told(house, await choose(ada, second, "more", "delete"))
    await press(ada, confirm, "really")
    await house.discord.wait_for(lambda: confirm.content.startswith("Deleted"))
    assert progress.deleted
    painting.go_on()
    first = await picture(house, 1)
    await press(ada, first, "deeper")
    await picture(house, 4)
    assert not [mark for mark in house.footers(thread) if mark.startswith(("step 2 ", "step 3 "))]
    assert [step.state for step in await house.store.steps(1)] == [StepState.DONE] * 2


@pytest.mark.parametrize("lost", [False, True])
async def test_a_recovered_message_has_its_buttons(make_house: MakeHouse, lost: bool) -> None:
    house = make_house()
    await house.start()
    gate = house.discord.faults.hold("POST", r"/channels/\d+/messages$", after=not lost)
    await begin(house)
    await gate.reached.wait()
    gate.drop()  # the bot dies while its picture is being sent: before it is there, or before it knows
    await house.stop()
    house.discord.faults.clear()
    await house.start()
    first = await picture(house, 1)
    assert len(house.footers(await house.thread())) == 1
    await press(house.discord.member("bob"), first, "deeper")
    await picture(house, 2)
