"""Threads: from a message once, archived, locked, private, deleted."""

from __future__ import annotations

import asyncio

import discord
import pytest

from playground import ApiError, Playground, RefusedError
from tests.playground.small_bot import Run, SmallBot


@pytest.fixture
async def bot(run: Run) -> SmallBot:
    bot = SmallBot()

    @bot.tree.command(description="Answers.")
    async def hello(interaction: discord.Interaction) -> None:
        await interaction.response.send_message("hi")

    await run(bot)
    return bot


async def general(bot: SmallBot, server: Playground) -> discord.TextChannel:
    channel = await bot.fetch_channel(server.general.id)
    assert isinstance(channel, discord.TextChannel)
    return channel


async def test_a_message_has_one_thread(server: Playground, bot: SmallBot) -> None:
    message = await (await general(bot, server)).send("start")
    thread = await message.create_thread(name="t")
    assert thread.id == message.id
    with pytest.raises(discord.HTTPException) as error:
        await message.create_thread(name="again")
    assert (error.value.status, error.value.code) == (400, 160004)
    again = await (await general(bot, server)).fetch_message(message.id)
    assert again.flags.has_thread
    assert again.thread is not None
    assert again.thread.id == thread.id
    for name in ("", "n" * 101):
        with pytest.raises(discord.HTTPException) as error:
            await (await general(bot, server)).create_thread(
                name=name, type=discord.ChannelType.public_thread
            )
        assert error.value.code == 50035


async def test_archived_and_locked(server: Playground, bot: SmallBot) -> None:
    alice = server.member("alice")
    message = await (await general(bot, server)).send("start")
    thread = await message.create_thread(name="t", auto_archive_duration=60)
    inside = await thread.send("picture")
    (kept,) = server.threads(server.general)
    assert kept.thread is not None
    server.advance(59 * 60)
    assert not kept.thread.archived
    server.advance(61)
    assert kept.thread.archived
    for refused in (inside.add_reaction("🔁"), inside.edit(content="x")):
        with pytest.raises(discord.HTTPException) as error:
            await refused
        assert error.value.code == 50083
    with pytest.raises(ApiError) as no:
        await alice.react(kept.messages[inside.id], "🔁")
    assert no.value.code == 50083
    with pytest.raises(RefusedError, match="archived"):
        await alice.slash(kept, "hello")
    archived = [t async for t in (await general(bot, server)).archived_threads()]
    assert [t.id for t in archived] == [thread.id]
    # The cache has let it go, so bots must fetch.
    guild = bot.get_guild(server.guild.id)
    assert guild is not None
    assert guild.get_thread(thread.id) is None
    await alice.send(kept, "I open it again")
    assert not kept.thread.archived
    await alice.slash(kept, "hello")

    server.edit_thread(kept, locked=True, archived=True)
    with pytest.raises(ApiError) as no:
        await alice.send(kept, "locked out")
    assert no.value.code == 160005
    # The bot may manage threads: its message opens even a locked one.
    await bot.get_partial_messageable(thread.id, guild_id=server.guild.id).send("still me")
    assert not kept.thread.archived
    server.edit_thread(kept, archived=True)
    server.deny(server.general, server.bot, "manage_threads")
    with pytest.raises(discord.HTTPException) as error:
        await bot.get_partial_messageable(thread.id).send("no more")
    assert error.value.code == 160005
    with pytest.raises(discord.Forbidden):
        await thread.edit(locked=False, archived=False)
    active = await guild.active_threads()
    assert active == []


async def test_private_and_standalone_threads(server: Playground, bot: SmallBot) -> None:
    alice, bob = server.member("alice"), server.member("bob")
    channel = await general(bot, server)
    public = await channel.create_thread(name="open", type=discord.ChannelType.public_thread)
    private = await channel.create_thread(name="closed", type=discord.ChannelType.private_thread)
    assert [m.type.name for m in server.messages(server.general, system=True)] == ["THREAD_CREATED"]
    await private.add_user(discord.Object(alice.id))
    await alice.send(private.id, f"<@{server.bot.id}> I am in")
    with pytest.raises(ApiError) as no:
        await bob.send(private.id, "and I am not")
    assert no.value.code == 50001
    await bob.send(public.id, "here I can write")
    assert {m.id for m in await private.fetch_members()} == {server.bot.id, alice.id}
    carol, dave = server.member("carol"), server.member("dave")
    quiet = discord.AllowedMentions.none()
    await private.send(f"{carol.mention} come in")
    await private.send(f"{dave.mention} stay out", allowed_mentions=quiet)
    assert {m.id for m in await private.fetch_members()} == {server.bot.id, alice.id, carol.id}
    await private.delete()
    assert [t.name for t in server.threads()] == ["open"]


async def test_gone_while_in_use(server: Playground, bot: SmallBot) -> None:
    message = await (await general(bot, server)).send("start")
    thread = await message.create_thread(name="t")
    deleted = asyncio.create_task(bot.wait_for("thread_delete", timeout=5))
    await asyncio.sleep(0)
    server.delete_channel(server.threads()[0])
    assert (await deleted).id == thread.id
    with pytest.raises(discord.NotFound) as error:
        await thread.send("x")
    assert error.value.code == 10003
    server.deny(server.general, server.bot, "create_public_threads")
    other = await (await general(bot, server)).send("another")
    with pytest.raises(discord.Forbidden) as forbidden:
        await other.create_thread(name="t")
    assert forbidden.value.code == 50013
