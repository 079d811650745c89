"""Messages: content rules, replies, nonce, limits of size, mentions, reactions, edits, history."""

from __future__ import annotations

import io

import discord
import pytest
from discord import app_commands

from playground import ApiError, Channel, Playground, RefusedError, connect_here
from tests.playground.small_bot import Run, SmallBot, png, running


@pytest.fixture
async def bot(run: Run) -> SmallBot:
    bot = SmallBot()
    await run(bot)
    return bot


async def text_channel(bot: SmallBot, channel: Channel) -> discord.TextChannel:
    found = await bot.fetch_channel(channel.id)
    assert isinstance(found, discord.TextChannel)
    return found


async def hear(bot: SmallBot, count: int) -> list[discord.Message]:
    """Return the first messages that the bot heard, once there are so many."""
    await bot.until(lambda: len(bot.heard) >= count)
    return bot.heard


async def test_content_is_withheld_without_the_intent(server: Playground, bot: SmallBot) -> None:
    alice = server.member("alice")
    channel = await text_channel(bot, server.general)
    await channel.send("a picture", file=discord.File(io.BytesIO(png()), "p.png"))
    (picture,) = server.messages(server.general)

    @bot.tree.command(description="Answers.")
    async def hello(interaction: discord.Interaction) -> None:
        await interaction.response.send_message("an answer")

    await bot.tree.sync()
    answered = await alice.slash(server.general, "hello")
    assert answered.response is not None

    said = [
        await alice.send(server.general, "plain", files=[("x.txt", b"x")]),
        await alice.send(server.general, f"<@{server.bot.id}> mentioned"),
        await alice.send(server.general, "pinged reply", reply_to=picture),
        await alice.send(server.general, "silent reply", reply_to=picture, ping=False),
        await alice.send(server.general, "reply to an answer", reply_to=answered.response),
        await alice.send(alice.dm(), "in private"),
    ]
    heard = await hear(bot, 6)
    assert [m.content for m in heard] == [
        "",
        f"<@{server.bot.id}> mentioned",
        "pinged reply",
        "",
        "",
        "in private",
    ]
    assert [len(m.attachments) for m in heard[:2]] == [0, 0]
    assert [m.id for m in heard] == [m.id for m in said]
    for reply in heard[2:4]:
        assert reply.type is discord.MessageType.reply
        assert reply.reference is not None
        assert isinstance(reply.reference.resolved, discord.Message)
        assert reply.reference.resolved.content == "a picture"
    assert bot.user in heard[2].mentions
    assert bot.user not in heard[3].mentions
    # The same rule over REST.
    assert (await channel.fetch_message(said[0].id)).content == ""
    assert (await channel.fetch_message(said[2].id)).content == "pinged reply"


async def test_content_is_open_with_the_intent() -> None:
    async with Playground(message_content=True) as server:
        connect_here(server.rest_url)
        bot = SmallBot(message_content=True)
        async with running(bot, server):
            await server.member("alice").send(server.general, "plain")
            (message,) = await hear(bot, 1)
            assert message.content == "plain"


async def test_the_privileged_intent_must_be_granted(server: Playground) -> None:
    bot = SmallBot(message_content=True)
    async with bot:
        with pytest.raises(discord.PrivilegedIntentsRequired):
            await bot.start(server.token)


async def test_a_wrong_token(server: Playground) -> None:
    bot = SmallBot()
    async with bot:
        with pytest.raises(discord.LoginFailure):
            await bot.start("wrong")


async def test_the_same_nonce_makes_one_message(server: Playground, bot: SmallBot) -> None:
    channel = await text_channel(bot, server.general)
    first = await channel.send("once", nonce="step-7")
    second = await channel.send("once, again", nonce="step-7")
    assert first.id == second.id
    assert [m.content for m in server.messages(server.general)] == ["once"]
    server.advance(301)
    third = await channel.send("much later", nonce="step-7")
    assert third.id != first.id
    with pytest.raises(discord.HTTPException) as error:
        await channel.send("x", nonce="n" * 26)
    assert error.value.code == 50035


@pytest.mark.parametrize(
    ("content", "embeds", "where"),
    [
        ("x" * 2001, [], "content"),
        ("", [discord.Embed(title="t" * 257)], "embeds.0.title"),
        ("", [discord.Embed(description="d" * 4097)], "embeds.0.description"),
        ("", [discord.Embed().add_field(name="n" * 257, value="v")], "embeds.0.fields.0.name"),
        ("", [discord.Embed().add_field(name="n", value="v" * 1025)], "embeds.0.fields.0.value"),
        ("", [discord.Embed().add_field(name="", value="v")], "embeds.0.fields.0.name"),
        ("", [discord.Embed(description="d" * 3001)] * 2, "embeds"),
    ],
)
async def test_sizes(
    server: Playground, bot: SmallBot, content: str, embeds: list[discord.Embed], where: str
) -> None:
    channel = await text_channel(bot, server.general)
    with pytest.raises(discord.HTTPException) as error:
        await channel.send(content or None, embeds=embeds)
    assert error.value.status == 400
    assert error.value.code == 50035
    assert f"In {where}:" in str(error.value)
    assert server.messages(server.general) == []


async def test_an_empty_message(server: Playground, bot: SmallBot) -> None:
    channel = await text_channel(bot, server.general)
    with pytest.raises(discord.HTTPException) as error:
        await channel.send("   ")
    assert error.value.code == 50006


async def test_files_over_the_limit(server: Playground, bot: SmallBot) -> None:
    server.guild.upload_limit_override = 1000
    channel = await text_channel(bot, server.general)
    await channel.send(file=discord.File(io.BytesIO(b"x" * 1000), "small.bin"))
    with pytest.raises(discord.HTTPException) as error:
        await channel.send(file=discord.File(io.BytesIO(b"x" * 1001), "large.bin"))
    assert (error.value.status, error.value.code) == (413, 40005)
    server.guild.upload_limit_override = 100 * 1024 * 1024
    parts = [discord.File(io.BytesIO(b"x" * (9 * 1024 * 1024)), f"{i}.bin") for i in range(3)]
    with pytest.raises(discord.HTTPException) as error:
        await channel.send(files=parts)
    assert (error.value.status, error.value.code) == (413, 40005)
    assert len(server.messages(server.general)) == 1


async def test_edits_keep_replace_and_remove_files(server: Playground, bot: SmallBot) -> None:
    channel = await text_channel(bot, server.general)
    files = [discord.File(io.BytesIO(png(c)), f"{c}.png") for c in ("red", "blue")]
    message = await channel.send("one", files=files)
    (kept,) = server.messages(server.general)
    message = await message.edit(content="two")
    assert [a.filename for a in kept.attachments] == ["red.png", "blue.png"]
    new = discord.File(io.BytesIO(png("green")), "green.png")
    message = await message.edit(attachments=[message.attachments[1], new])
    assert [a.filename for a in kept.attachments] == ["blue.png", "green.png"]
    assert [a.filename for a in message.attachments] == ["blue.png", "green.png"]
    await message.edit(attachments=[])
    assert kept.attachments == []
    with pytest.raises(discord.NotFound):
        await message.attachments[0].read()
    assert kept.content == "two"
    assert kept.revisions[0] == ("one", [])
    assert kept.edited_at is not None
    with pytest.raises(discord.HTTPException) as error:
        await message.edit(content=None)
    assert error.value.code == 50006
    by_alice = await server.member("alice").send(server.general, "mine")
    with pytest.raises(discord.Forbidden) as forbidden:
        await channel.get_partial_message(by_alice.id).edit(content="yours")
    assert forbidden.value.code == 50005


async def test_a_picture_in_an_embed(server: Playground, bot: SmallBot) -> None:
    channel = await text_channel(bot, server.general)
    embed = discord.Embed(title="t").set_image(url="attachment://p.png")
    message = await channel.send(embed=embed, file=discord.File(io.BytesIO(png()), "p.png"))
    # Discord does not list the file a second time.
    assert message.attachments == []
    url = message.embeds[0].image.url
    assert url is not None
    assert server.file(url) == png()
    assert message.embeds[0].image.width == 40
    edited = await message.edit(content="more")
    assert edited.embeds[0].image.url == url


async def test_who_is_pinged(server: Playground, bot: SmallBot) -> None:
    alice = server.member("alice")
    channel = await text_channel(bot, server.general)
    mine = await alice.send(server.general, "hi")
    text = f"{alice.mention} @everyone <@&{server.guild.id}>"
    everyone = await channel.send(text)
    none = await channel.send(text, allowed_mentions=discord.AllowedMentions.none())
    reply = await channel.send("re", reference=channel.get_partial_message(mine.id))
    quiet = await channel.send("re", reference=channel.get_partial_message(mine.id), mention_author=False)
    sent = server.general.messages
    assert sent[everyone.id].mentions == [alice.id]
    assert not sent[everyone.id].mention_everyone  # the bot lacks that permission
    server.allow(server.general, server.bot, "mention_everyone")
    loud = await channel.send(text)
    assert sent[loud.id].mention_everyone
    assert sent[none.id].mentions == []
    assert not sent[none.id].mention_everyone
    assert sent[reply.id].mentions == [alice.id]
    assert sent[quiet.id].mentions == []


async def test_reactions(server: Playground, bot: SmallBot) -> None:
    alice, bob = server.member("alice"), server.member("bob")
    channel = await text_channel(bot, server.general)
    message = await channel.send("picture")
    kept = server.general.messages[message.id]
    await message.add_reaction("🔁")
    await alice.react(kept, "🔁")
    await alice.react(kept, "🔁")
    await bob.react(kept, "👍")
    await bot.until(lambda: len(bot.reactions) == 3)
    heard = [(e.user_id, str(e.emoji)) for e in bot.reactions]
    assert heard == [(server.bot.id, "🔁"), (alice.id, "🔁"), (bob.id, "👍")]
    member = bot.reactions[1].member
    assert member is not None
    assert member.display_name == "Alice"
    fetched = await channel.fetch_message(message.id)
    assert [(str(r.emoji), r.count, r.me) for r in fetched.reactions] == [("🔁", 2, True), ("👍", 1, False)]
    assert {u.id async for u in fetched.reactions[0].users()} == {server.bot.id, alice.id}
    await message.remove_reaction("🔁", discord.Object(alice.id))
    assert kept.reactions["🔁"] == [server.bot.id]
    await message.clear_reactions()
    assert kept.reactions == {}
    with pytest.raises(discord.NotFound) as error:
        await message.add_reaction("not an emoji")
    assert error.value.code == 10014


async def test_history(server: Playground, bot: SmallBot) -> None:
    channel = await text_channel(bot, server.general)
    sent = [await channel.send(str(i)) for i in range(7)]

    async def texts(**where: object) -> list[str]:
        return [m.content async for m in channel.history(**where)]  # type: ignore[arg-type]

    assert await texts(limit=3) == ["6", "5", "4"]
    assert await texts(limit=2, before=sent[3]) == ["2", "1"]
    assert await texts(limit=2, after=sent[3]) == ["4", "5"]
    assert await texts(limit=3, around=sent[3]) == ["4", "3", "2"]
    assert await texts(oldest_first=True) == [str(i) for i in range(7)]
    await sent[0].delete()
    await server.member("moderator", permissions="manage_messages").delete(
        server.general.messages[sent[1].id]
    )
    assert await texts(limit=None, oldest_first=True) == ["2", "3", "4", "5", "6"]
    with pytest.raises(discord.NotFound) as error:
        await channel.fetch_message(sent[0].id)
    assert error.value.code == 10008
    with pytest.raises(ApiError) as no:
        await server.member("alice").delete(server.general.messages[sent[2].id])
    assert no.value.code == 50013


async def test_permissions_lost_and_channels_gone(server: Playground, bot: SmallBot) -> None:
    channel = await text_channel(bot, server.general)
    message = await channel.send("before")
    server.deny(server.general, server.bot, "attach_files add_reactions")
    for refused in (
        channel.send(file=discord.File(io.BytesIO(b"x"), "x")),
        message.add_reaction("🔁"),
    ):
        with pytest.raises(discord.Forbidden) as error:
            await refused
        assert error.value.code == 50013
    server.deny(server.general, server.bot, "view_channel")
    with pytest.raises(discord.Forbidden) as error:
        await channel.send("x")
    assert error.value.code == 50001
    # What it cannot see it does not hear.
    await server.member("alice").send(server.general, f"<@{server.bot.id}>")
    elsewhere = server.add_channel("elsewhere")
    await server.member("alice").send(elsewhere, f"<@{server.bot.id}> hello")
    assert [m.content for m in await hear(bot, 1)] == [f"<@{server.bot.id}> hello"]
    server.delete_channel(elsewhere)
    with pytest.raises(discord.NotFound) as gone:
        await bot.get_partial_messageable(elsewhere.id).send("x")
    assert gone.value.code == 10003


async def test_age_restricted_commands_and_direct_messages(server: Playground, bot: SmallBot) -> None:
    async def daring(interaction: discord.Interaction) -> None:
        channel = interaction.channel
        assert isinstance(channel, discord.TextChannel | discord.DMChannel)
        await interaction.response.send_message(f"{isinstance(channel, discord.DMChannel) or channel.nsfw}")

    bot.tree.add_command(app_commands.Command(name="daring", description="d", callback=daring, nsfw=True))
    await bot.tree.sync()
    alice = server.member("alice")
    with pytest.raises(RefusedError, match="age-restricted"):
        await alice.slash(server.general, "daring")
    sent = await alice.slash(server.add_channel("adults", nsfw=True), "daring")
    assert sent.response is not None
    assert sent.response.content == "True"
    private = await alice.slash(alice.dm(), "daring")
    assert private.response is not None
    user = await bot.fetch_user(alice.id)
    await user.send("from the bot")
    assert [m.content for m in server.messages(alice.dm())] == ["True", "from the bot"]
