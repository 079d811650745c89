"""What goes wrong: backends, uploads, Discord's own failures, threads that are gone."""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pytest
import pytest_asyncio
from PIL import Image

from pipeline.domain import StepState
from pipeline.errors import GeneratorError
from playground import Limits, Playground, connect_here
from tests.bot.conftest import House, MakeHouse, footer
from tests.bot.test_session import AGAIN, begin, said_to, shown_is_what_is_stored
from tests.fakes import PaintingGenerator


def marks(house: House, place: int) -> list[str]:
    return [mark.split(" · depth")[0] for mark in house.footers(place)]


async def test_a_failure_is_a_sentence_and_a_reaction_tries_again(house: House) -> None:
    sentence = "The Stable Diffusion server is busy; try again in a minute."
    house.generator.turns.add(None, None, GeneratorError(sentence, retryable=True))
    await begin(house, depth=2)
    thread = await house.thread()
    error = await house.shown(thread, "step 2 · error 1")
    await house.delivered(2)
    text = error.embeds[0]["description"]
    assert sentence in text
    assert "1 more picture waits for this one." in text
    assert "Traceback" not in text
    assert [s.state for s in await house.store.steps(1)] == [
        StepState.DONE,
        StepState.FAILED,
        StepState.CANCELLED,
    ]
    bob = house.discord.member("bob")
    await bob.react(error, AGAIN)
    await house.delivered(1, 2, 3)
    assert marks(house, thread.id) == [
        "step 1 · picture",
        "step 2 · error 1",
        "step 2 · picture",
        "step 2 · notes 1 of 1",
        "step 3 · picture",
        "step 3 · notes 1 of 1",
    ]
    # What was paid for before the failure was not painted again.
    assert len(house.generator.inpainted) == 1 + 1 + 2 + 3
    # The error is answered: reacting to it once more changes nothing.
    await house.discord.member("eve").react(error, AGAIN)
    await house.discord.member("eve").react(house.discord.messages(thread)[0], AGAIN)
    await house.shown(thread, "step 4 · picture")
    assert (await house.store.step(2)).attempt == 2


async def test_an_unexpected_error_tells_members_no_more_than_they_need(house: House) -> None:
    house.generator.turns.add(RuntimeError("/secret/path/model.safetensors"))
    await begin(house)
    error = await house.shown(await house.thread(), "step 1 · error 1")
    assert "Something broke" in error.embeds[0]["description"]
    assert "secret" not in str(house.discord.payload(error))


async def test_an_error_in_a_command_is_one_sentence_for_the_one_who_used_it(house: House) -> None:
    async def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("/secret/path")

    house.pipeline.imagine = broken  # type: ignore[method-assign]
    asked = await house.discord.member("ada").slash(house.discord.general, "imagine", prompt="a")
    assert asked.ephemeral
    assert asked.messages[0].content.startswith("Something broke that should not have; the log says more")


@pytest_asyncio.fixture
async def narrow() -> Playground:
    """A Discord that takes 30 kB a file, and does not say so of its guild."""
    return Playground(limits=Limits.loose(), upload_limit=30_000)


async def test_a_picture_that_is_too_large_is_shown_smaller(narrow: Playground, database: str) -> None:
    async with narrow as discord:
        connect_here(discord.rest_url)
        house = House(discord, database, generator=PaintingGenerator(grain=60))
        try:
            await house.start()
            await begin(house, width=256, height=256)
            picture = await house.shown(await house.thread(), "step 1 · picture")
            await house.delivered(1)
            png = await house.store.picture(1) or b""
            assert len(png) > 100_000
            (file,) = picture.attachments
            assert file.filename == "step-1.webp"
            assert len(file.data) <= 30_000
            assert "too much here: shown as WebP of quality" in picture.embeds[0]["description"]
            kept, shown = [np.asarray(Image.open(io.BytesIO(data)), int) for data in (png, file.data)]
            assert np.abs(kept - shown).mean() < 30
            assert marks(house, (await house.thread()).id) == ["step 1 · picture"]
        finally:
            await house.stop()
            await house.store.aclose()


async def test_a_picture_that_fits_in_no_way_is_said_to_be_kept(database: str) -> None:
    async with Playground(limits=Limits.loose(), upload_limit=100) as discord:
        connect_here(discord.rest_url)
        house = House(discord, database)
        try:
            await house.start()
            await begin(house)
            picture = await house.shown(await house.thread(), "step 1 · picture")
            assert picture.attachments == []
            assert "It is kept." in picture.embeds[0]["description"]
            # It can be gone on from all the same.
            await house.discord.member("bob").react(picture, AGAIN)
            await house.shown(await house.thread(), "step 2 · picture")
        finally:
            await house.stop()
            await house.store.aclose()


async def test_discord_failing_in_passing_costs_nothing_and_posts_nothing_twice(house: House) -> None:
    faults = house.discord.faults
    faults.fail("POST", r"/messages$", status=503, times=6)  # more than discord.py tries by itself
    faults.fail("PUT", r"/reactions/", status=500)
    faults.rate_limit("POST", r"/messages$", seconds=0.05)
    await begin(house, depth=1)
    thread = await house.thread()
    await house.delivered(1, 2)
    assert marks(house, thread.id) == ["step 1 · picture", "step 2 · picture", "step 2 · notes 1 of 1"]
    await shown_is_what_is_stored(house)


async def test_an_answer_that_is_lost_does_not_make_a_second_message(house: House) -> None:
    # The message is made, and then the line is cut: discord.py sends it again, with the same nonce.
    house.discord.faults.disconnect("POST", r"/messages$", times=3, after=True)
    house.discord.faults.disconnect("POST", r"/threads$", times=1, after=True)
    await begin(house, depth=1)
    thread = await house.thread()
    await house.delivered(1, 2)
    assert marks(house, thread.id) == ["step 1 · picture", "step 2 · picture", "step 2 · notes 1 of 1"]
    assert house.discord.threads() == [thread]


async def test_where_it_cannot_look_the_nonce_keeps_a_message_single(house: House) -> None:
    painting, go_on = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        painting.set()
        await go_on.wait()

    house.generator.turns.add(hang)
    await begin(house)
    await painting.wait()
    discord, thread = house.discord, await house.thread()
    await house.shown(thread, "step 1 · progress 1")
    discord.deny(discord.general, discord.bot, "read_message_history")
    discord.faults.disconnect("POST", r"/messages$", times=2, after=True)
    go_on.set()
    await house.delivered(1)
    assert marks(house, thread.id) == ["step 1 · picture"]


async def test_too_late_an_acknowledgement_still_gets_its_pictures(house: House) -> None:
    gate = house.discord.faults.hold("POST", "/callback")
    ada = house.discord.member("ada")
    asked = await ada.slash(house.discord.general, "imagine", settle=False, prompt="a hat", depth=0, seed=1)
    await gate.reached.wait()
    house.discord.advance(4)
    gate.release()
    assert (await asked.settled()).failed
    thread = await house.thread()
    await house.shown(thread, "step 1 · picture")
    (starter,) = house.discord.messages(house.discord.general)
    assert thread.id == starter.id
    assert "a hat" in starter.embeds[0]["description"]


async def test_a_deleted_thread_ends_its_session(house: House) -> None:
    painting, go_on = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        painting.set()
        await go_on.wait()

    house.generator.turns.add(hang)
    await begin(house, depth=2)
    await painting.wait()
    house.discord.delete_channel(await house.thread())
    go_on.set()
    await house.delivered(1)
    async with asyncio.timeout(5):
        while await house.states(1) != ["done", "cancelled", "cancelled"]:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
    # The bot goes on for others.
    await begin(house, prompt="another")
    thread = await house.thread()
    await house.shown(thread, "step 4 · picture")


async def test_an_archived_thread_is_opened_by_the_next_picture(house: House) -> None:
    painting, go_on = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        painting.set()
        await go_on.wait()

    house.generator.turns.add(None, hang)
    await begin(house, depth=1)
    await painting.wait()
    thread = await house.thread()
    house.discord.edit_thread(thread, archived=True)
    go_on.set()
    await house.shown(thread, "step 2 · picture")
    await house.delivered(1, 2)
    assert thread.thread is not None
    assert not thread.thread.archived
    assert not [m for m in house.footers(thread) if "progress" in m]


async def test_permissions_lost_in_mid_work_end_in_no_loop(house: House) -> None:
    painting, go_on = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        painting.set()
        await go_on.wait()

    house.generator.turns.add(hang)
    await begin(house)
    await painting.wait()
    discord = house.discord
    discord.deny(discord.general, discord.bot, "send_messages_in_threads")
    go_on.set()
    await house.delivered(1)
    assert await house.store.picture(1)
    thread = await house.thread()
    assert marks(house, thread.id) == []
    # With the permission back, the picture that a member still sees nowhere is not lost.
    assert (await house.store.step(1)).state is StepState.DONE


async def test_a_deleted_message_is_not_posted_again(house: House) -> None:
    await begin(house)
    thread = await house.thread()
    picture = await house.shown(thread, "step 1 · picture")
    await house.delivered(1)
    house.discord.delete_message(picture)
    await house.stop()
    await house.start()
    await begin(house, prompt="another")
    await house.delivered(2)
    assert marks(house, thread.id) == []


async def test_progress_is_one_message_that_goes_away(make_house: MakeHouse) -> None:
    house = make_house()
    first, second = asyncio.Event(), asyncio.Event()
    # It stops in the middle of the first object, and in the middle of the second.
    house.generator.turns.add(None, first.wait, second.wait)
    await house.start()
    await begin(house, depth=1)
    thread = await house.thread()
    progress = await house.discord.wait_for_message(
        thread,
        lambda m: footer(m) == "step 2 · progress 1" and "object 1 of 3" in m.embeds[0]["description"],
    )
    first.set()
    await house.discord.wait_for(lambda: "object 2 of 3" in progress.embeds[0]["description"])
    assert "Repainting object 2 of 3: ⁨bag⁩" in progress.embeds[0]["description"]
    assert "▰" in progress.embeds[0]["description"]
    await house.discord.wait_for(lambda: len(progress.attachments) == 2)
    assert set(progress.embeds[0]) >= {"image", "thumbnail"}
    assert progress.revisions
    reply = await house.discord.member("ada").send(thread, "1: blue", reply_to=progress)
    assert "not finished yet" in (await said_to(house, reply)).content
    second.set()
    await house.delivered(1, 2)
    assert progress.deleted
    assert [post.part for post in await house.store.posts(2)] == ["notes:1", "picture"]


@pytest.mark.parametrize("count", [9, 10, 24])
async def test_many_objects_take_as_many_messages_as_they_need(make_house: MakeHouse, count: int) -> None:
    house = make_house()
    house.segmenter.objects = [("Hat", 0.1 + n / 50, 0.1, 0.3 + n / 50, 0.3) for n in range(count)]
    house.writer.tags = tuple(f"{n} " + "very long tag " * 8 for n in range(9))
    house.writer.story = "word " * 1500
    await house.start()
    await begin(house, depth=1)
    thread = await house.thread()
    await house.delivered(1, 2)
    pages = [m for m in house.discord.messages(thread) if footer(m).startswith("step 2 · notes")]
    titles = [embed["title"].split(" ")[0] for page in pages for embed in page.embeds if "title" in embed]
    assert titles == [str(number) for number in range(1, count + 1)]
    assert all(footer(page).endswith(f"of {len(pages)}") for page in pages)
    # A reply to any page is a reply to the picture.
    await house.discord.member("ada").send(thread, f"{count}: red", reply_to=pages[-1])
    await house.delivered(3)
    await shown_is_what_is_stored(house)


async def test_a_storm_of_429s_and_500s_costs_nothing_and_posts_nothing_twice(house: House) -> None:
    faults = house.discord.faults
    faults.rate_limit("*", r"/channels/", seconds=0.02, times=12)
    faults.rate_limit("*", r"/channels/", seconds=0.02, times=3, is_global=True)
    faults.fail("PATCH", r"/messages/\d+$", status=500, times=3)  # progress
    faults.fail("DELETE", r"/messages/\d+$", status=502)
    for prompt in ("a hat", "a bag"):
        await begin(house, prompt=prompt, depth=1)
    await house.delivered(1, 2, 3, 4)
    threads = house.discord.threads()
    assert len(threads) == 2
    assert sorted(mark for thread in threads for mark in marks(house, thread.id)) == sorted(
        mark
        for step in (1, 3)
        for mark in (
            f"step {step} · picture",
            f"step {step + 1} · picture",
            f"step {step + 1} · notes 1 of 1",
        )
    )
    await shown_is_what_is_stored(house)


async def test_a_locked_thread_without_the_right_to_open_it_loses_no_step(house: House) -> None:
    painting, go_on = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        painting.set()
        await go_on.wait()

    house.generator.turns.add(hang)
    await begin(house, depth=1)
    await painting.wait()
    discord, thread = house.discord, await house.thread()
    discord.deny(discord.general, discord.bot, "manage_threads")
    discord.edit_thread(thread, archived=True, locked=True)
    go_on.set()
    await house.delivered(1, 2)
    assert await house.states(1) == ["done", "done"]
    assert await house.store.picture(2)
    assert marks(house, thread.id) == []
    # Others are served all the while.
    await begin(house, prompt="another")
    await house.delivered(3)


async def test_a_channel_that_is_deleted_while_pictures_wait_ends_them(house: House) -> None:
    painting, go_on = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        painting.set()
        await go_on.wait()

    house.generator.turns.add(hang)
    await begin(house)
    await painting.wait()
    discord, bob = house.discord, house.discord.member("bob")
    channel = discord.add_channel("short-lived")
    await bob.slash(channel, "imagine", prompt="a bag", depth=1)
    await discord.wait_for_message(None, lambda m: footer(m) == "step 2 · progress 1")
    discord.delete_channel(channel)
    go_on.set()
    await house.delivered(1, 2)
    async with asyncio.timeout(5):
        while "queued" in await house.states(2):  # noqa: ASYNC110 - a database tells nobody
            await asyncio.sleep(0.01)
    await begin(house, prompt="another")
    await house.delivered(4)


async def test_a_new_gateway_session_in_mid_queue_loses_no_step(house: House) -> None:
    painting, go_on = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        painting.set()
        await go_on.wait()

    house.generator.turns.add(hang)
    await begin(house, depth=1)
    await painting.wait()
    await begin(house, prompt="another")
    await house.discord.gateway.drop(resumable=False, code=0)
    go_on.set()
    await house.delivered(1, 2, 3)
    assert len(house.discord.threads()) == 2
    assert len(house.generator.generated) == 2
    await shown_is_what_is_stored(house)
