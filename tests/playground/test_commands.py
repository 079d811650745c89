"""Slash commands, their schema, deadlines and answers."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import discord
import pytest
from discord import app_commands

from playground import Playground, RefusedError
from tests.playground.small_bot import Run, SmallBot, png


class Painter(SmallBot):
    """Defers, opens a thread from its answer, posts a picture into it."""

    def __init__(self) -> None:
        super().__init__()
        self.tree.command(name="imagine", description="Paint.")(self.imagine)
        self.style_choices = [app_commands.Choice(name=f"style {i}", value=f"s{i}") for i in range(3)]

    @app_commands.describe(prompt="What to paint.")
    async def imagine(
        self,
        interaction: discord.Interaction,
        prompt: app_commands.Range[str, 1, 200],
        depth: app_commands.Range[int, 1, 5] = 1,
        strength: float = 0.5,
        who: discord.Member | None = None,
        image: discord.Attachment | None = None,
        loud: bool = False,
    ) -> None:
        await interaction.response.defer()
        answer = await interaction.edit_original_response(content=f"{prompt} ({depth}, {strength}, {loud})")
        thread = await answer.create_thread(name=prompt[:100])
        await thread.send("Here it is.", file=discord.File(io.BytesIO(png()), "picture.png"))
        if who is not None:
            await thread.send(f"for {who.display_name}")
        if image is not None:
            data = await image.read()
            await thread.send(f"{image.filename} {len(data)} {image.width}x{image.height}")


@pytest.fixture
async def painter(run: Run) -> Painter:
    bot = Painter()
    await run(bot)
    return bot


async def test_defer_thread_from_the_answer_and_upload(server: Playground, painter: Painter) -> None:
    alice, bob = server.member("alice"), server.member("bob")
    given = png("blue", (64, 48))
    sent = await alice.slash(
        server.general,
        "imagine",
        prompt="a cat",
        depth=2,
        strength=1,
        who=bob,
        image=("in.png", given),
        loud=True,
    )
    assert not sent.failed
    assert sent.acknowledged_after is not None
    assert sent.callback_type == 5
    last = await server.wait_for_message(None, lambda m: "in.png" in m.content)
    assert last.content == f"in.png {len(given)} 64x48"
    # The acknowledgement comes before what took longer.
    kinds = [event.kind for event in server.feed.since(0)]
    assert kinds.index("INTERACTION_ACKNOWLEDGED") < kinds.index("THREAD_CREATE")
    (thread,) = server.threads(server.general)
    assert sent.response is not None
    assert thread.id == sent.response.id
    assert sent.response.content == "a cat (2, 1.0, True)"
    assert not sent.response.loading
    picture, for_bob, _ = server.messages(thread)
    assert for_bob.content == "for Bob"
    assert picture.attachments[0].data == png()
    assert (picture.attachments[0].width, picture.attachments[0].height) == (40, 30)
    # What the bot reads back from the CDN is what it sent.
    channel = await painter.fetch_channel(thread.id)
    assert isinstance(channel, discord.Thread)
    fetched = await channel.fetch_message(picture.id)
    assert await fetched.attachments[0].read() == png()
    assert fetched.attachments[0].content_type == "image/png"
    starter = await server_history(channel)
    assert starter[-1].type is discord.MessageType.thread_starter_message
    assert starter[-1].reference is not None
    assert starter[-1].reference.message_id == thread.id
    assert server.unknown_routes == []


async def server_history(channel: discord.Thread) -> list[discord.Message]:
    return [m async for m in channel.history()]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "needs prompt"),
        ({"prompt": "x", "depth": 6}, "takes 1 to 5"),
        ({"prompt": "x", "depth": "2"}, "does not take"),
        ({"prompt": "x", "depth": True}, "does not take"),
        ({"prompt": "x" * 201}, "characters"),
        ({"prompt": ""}, "characters"),
        ({"prompt": "x", "size": 3}, "no option"),
        ({"prompt": "x", "who": "bob"}, "does not take"),
    ],
)
async def test_the_client_checks_options(
    server: Playground, painter: Painter, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(RefusedError, match=why):
        await server.member("alice").slash(server.general, "imagine", **options)
    assert server.interactions.all == []


async def test_choices_subcommands_and_autocomplete(server: Playground, run: Run) -> None:
    bot = SmallBot()
    group = app_commands.Group(name="settings", description="Settings.")
    seen: list[object] = []

    @group.command(name="style", description="Choose.")
    @app_commands.choices(size=[app_commands.Choice(name="small", value=64)])
    async def style(interaction: discord.Interaction, name: str, size: int = 0) -> None:
        seen.append((name, size))
        await interaction.response.send_message("done", ephemeral=True)

    @style.autocomplete("name")
    async def complete(interaction: discord.Interaction, typed: str) -> list[app_commands.Choice[str]]:
        namespace = interaction.namespace
        return [
            app_commands.Choice(name=f"{typed}{i} {namespace.size}", value=f"{typed}{i}") for i in range(3)
        ]

    bot.tree.add_command(group)
    await run(bot)
    alice = server.member("alice")
    offered = await alice.autocomplete(server.general, "settings style", "name", "past", size=64)
    assert [c["value"] for c in offered] == ["past0", "past1", "past2"]
    assert offered[0]["name"] == "past0 64"
    sent = await alice.slash(server.general, "settings style", name="pastel", size="small")
    assert seen == [("pastel", 64)]
    assert sent.ephemeral
    assert sent.response is not None
    assert sent.response.visible_to == alice.id
    with pytest.raises(RefusedError, match="not shown"):
        await server.member("bob").react(sent.response, "👍")
    for wrong in ("settings", "settings nothing", "nothing"):
        with pytest.raises(RefusedError):
            await alice.slash(server.general, wrong)
    # The bot cannot fetch an ephemeral message from the channel.
    channel = bot.get_channel(server.general.id)
    assert isinstance(channel, discord.TextChannel)
    with pytest.raises(discord.NotFound) as error:
        await channel.fetch_message(sent.response.id)
    assert error.value.code == 10008


async def test_late_acknowledgement(server: Playground, run: Run) -> None:
    bot = SmallBot()
    late = asyncio.Event()

    @bot.tree.command(description="Sleeps.")
    async def slow(interaction: discord.Interaction) -> None:
        await late.wait()
        await interaction.response.send_message("too late")

    @bot.tree.command(description="Answers twice.")
    async def twice(interaction: discord.Interaction) -> None:
        await interaction.response.defer()
        interaction.response._response_type = None  # so that discord.py lets the second through
        await interaction.response.defer()

    await run(bot)
    alice = server.member("alice")
    sent = await alice.slash(server.general, "slow", settle=False)
    server.advance(3.0)
    await sent.settled()
    assert sent.failed
    late.set()
    await server.wait_for_event("REQUEST", lambda e: e.data["path"].endswith("/callback"))
    error = await asyncio.wait_for(bot.errors.get(), 5)
    assert isinstance(error, discord.NotFound)
    assert error.code == 10062
    assert server.messages(server.general) == []

    await alice.slash(server.general, "twice")
    error = await asyncio.wait_for(bot.errors.get(), 5)
    assert isinstance(error, discord.HTTPException)
    assert error.code == 40060


async def test_follow_ups_and_the_fifteen_minutes(server: Playground, run: Run) -> None:
    bot = SmallBot()
    kept: list[discord.Interaction] = []

    @bot.tree.command(description="Follows up.")
    async def follow(interaction: discord.Interaction) -> None:
        kept.append(interaction)
        await interaction.response.defer(ephemeral=True)
        await interaction.followup.send("takes the place of thinking", wait=True)
        second = await interaction.followup.send("second", wait=True)
        await second.edit(content="second, edited")
        await interaction.followup.send("third")

    await run(bot)
    alice = server.member("alice")
    sent = await alice.slash(server.general, "follow")
    await server.wait_for(lambda: len(sent.followups) == 2)
    assert sent.response is not None
    assert sent.response.content == "takes the place of thinking"
    assert sent.response.visible_to == alice.id
    assert [m.content for m in sent.followups] == ["second, edited", "third"]
    assert sent.followups[0].visible_to is None
    await kept[0].delete_original_response()
    assert sent.response.deleted
    with pytest.raises(discord.NotFound):
        await kept[0].edit_original_response(content="x")
    server.advance(15 * 60 + 1)
    with pytest.raises(discord.HTTPException) as error:
        await kept[0].followup.send("after the end")
    assert error.value.code == 50027


async def test_commands_keep_their_ids_and_are_counted(server: Playground, run: Run) -> None:
    bot = Painter()
    await run(bot)
    first = await bot.tree.sync()
    assert server.limiter.command_creates == 1
    again = await bot.tree.sync()
    assert [c.id for c in first] == [c.id for c in again]
    assert server.limiter.command_creates == 1
    guild = discord.Object(server.guild.id)
    bot.tree.copy_global_to(guild=guild)
    (mine,) = await bot.tree.sync(guild=guild)
    assert server.limiter.command_creates == 2
    sent = await server.member("alice").slash(server.general, "imagine", prompt="guild's own")
    assert sent.data["id"] == str(mine.id)
    bad = {"name": "BAD NAME", "description": "", "type": 1}
    with pytest.raises(discord.HTTPException) as error:
        await bot.http.bulk_upsert_global_commands(bot.application_id or 0, [bad])
    assert error.value.code == 50035
    assert "0.name" in str(error.value)
