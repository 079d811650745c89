"""Image info: what a picture tells of how it was made, ours or one that somebody uploaded again."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

import discord
from discord import app_commands

from bot import access, texts
from bot.attachments import fetched
from bot.translations import tr, translated
from pipeline import provenance, uploads
from pipeline.domain import Session, Step
from pipeline.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from bot.client import Client

log = logging.getLogger(__name__)

FILES = 4  # of one message
_INK = discord.Colour(0x7C6FD9)
_GREY = discord.Colour(0x9A94A8)


def info_command(client: Client) -> app_commands.ContextMenu:
    """Make the entry in the context menu of messages."""

    async def info(interaction: discord.Interaction, message: discord.Message) -> None:
        files = [*message.attachments]
        for snapshot in message.message_snapshots:  # a message that was passed on
            files += snapshot.attachments
        pictures = [file for file in files if (file.content_type or "image/").startswith("image/")]
        post = await client.pipeline.store.post_of_message(str(message.id))
        if not pictures and post is None:
            raise InvalidRequest("This message has no picture attached; a link to one I do not follow.")
        await interaction.response.defer(ephemeral=True, thinking=True)
        if post is not None:
            embeds = [await _of_step(client, interaction, post.step_id)]
        else:
            embeds = [await _of_file(client, interaction, file) for file in pictures[:FILES]]
        if len(pictures) > FILES and post is None:
            left = len(pictures) - FILES
            embeds[-1].set_footer(text=tr("{count} more pictures of this message were not read", count=left))
        # All embeds of a message together may have 6000 characters: one a message, then.
        for embed in embeds:
            await interaction.followup.send(embed=embed, ephemeral=True)

    return app_commands.ContextMenu(
        name="Image info",
        callback=info,
        type=discord.AppCommandType.message,
        allowed_contexts=app_commands.AppCommandContext(guild=True, dm_channel=True, private_channel=False),
        allowed_installs=app_commands.AppInstallationType(guild=True, user=False),
    )


async def _of_step(client: Client, interaction: discord.Interaction, step_id: int) -> discord.Embed:
    """Tell of a picture by the message that shows it: what the database has is what was painted."""
    store = client.pipeline.store
    png = await store.picture(step_id)
    record = None
    if png is not None:
        with uploads.open_checked(png) as image:
            record = provenance.record_of(provenance.texts_of(image))
    if record is None:
        text = tr("This step has no picture yet, or none any more.")
        return discord.Embed(description=text, colour=_GREY)
    step = await store.step(step_id)
    session = await store.session(step.session_id)
    return _tell(record, tr("Step {step} of session {session}.", step=step.id, session=session.id))


async def _of_file(
    client: Client, interaction: discord.Interaction, file: discord.Attachment
) -> discord.Embed:
    """Tell of a file what it tells of itself, and whether it is exactly one of ours."""
    try:
        data = await fetched(file)
        with uploads.open_checked(data) as image:
            found = provenance.texts_of(image)
    except InvalidRequest as error:
        text = translated(str(error))
        return discord.Embed(title=texts.plain(file.filename, 200), description=text, colour=_GREY)
    record = provenance.record_of(found)
    if record is not None:
        return _tell(record, await _known(client, interaction, data))
    if words := found.get(provenance.PARAMETERS):
        text = tr(
            "This is not one of my pictures, or what I wrote into it is damaged. "
            "It carries another program's parameters:\n{words}",
            words=texts.quote(words, 3000),
        )
    else:
        text = tr(
            "This file tells nothing of how it was made. It is not one of my pictures, or a program that "
            "saved it again left that out, as screenshots and some apps do; the file that I posted tells it."
        )
    return discord.Embed(title=texts.plain(file.filename, 200), colour=_GREY, description=text)


async def _known(client: Client, interaction: discord.Interaction, data: bytes) -> str:
    """Say whether a file is exactly, byte for byte, a picture of ours that the asker may see."""
    store = client.pipeline.store
    for step in await store.steps_with_picture("discord", hashlib.sha256(data).hexdigest()):
        try:
            session = await store.session(step.session_id)
        except NotFound:
            continue
        if await access.may_see(client, interaction, session):
            return await _place(client, session, step)
    return tr(
        "This is what the file says of itself; I have no such file in a session that you may see, "
        "so I cannot vouch for it."
    )


async def _place(client: Client, session: Session, step: Step) -> str:
    for post in await client.pipeline.store.posts(step.id):
        if post.part == "picture" and post.message:
            link = texts.jump(session.meta.get("guild", ""), post.place, post.message)
            return tr(
                "Exactly step {step} of session {session}: [the original]({link}).",
                step=step.id,
                session=session.id,
                link=link,
            )
    return tr("Exactly step {step} of session {session}.", step=step.id, session=session.id)


def _tell(record: provenance.Record, whence: str) -> discord.Embed:
    """Show what a picture tells; every word of it may have been written by anyone."""
    embed = discord.Embed(title=tr("Image info"), description=whence, colour=_INK)

    def add(name: str, value: str, limit: int, *, inline: bool = False) -> None:
        if value:
            embed.add_field(name=name, value=texts.quote(value, limit), inline=inline)

    kinds = {
        "generate": tr("painted from the prompt"),
        "recurse": tr("one recursion"),
        "tweak": tr("one thing changed"),
    }
    add(tr("prompt"), record.prompt, 1000)
    add(tr("without"), record.negative_prompt, 400)
    made = tr("{kind}, depth {depth}", kind=kinds.get(record.kind, record.kind), depth=record.depth)
    add(tr("made by"), made, 100, inline=True)
    seed = tr("{seed} (session {session_seed})", seed=record.seed, session_seed=record.session_seed)
    add(tr("seed"), seed, 60, inline=True)
    size = tr(
        "{width} × {height}, {steps} steps, guidance {guidance}",
        width=record.width,
        height=record.height,
        steps=record.steps,
        guidance=f"{record.guidance:g}",
    )
    add(tr("painted"), size, 100, inline=True)
    add(tr("models"), ", ".join(f"{name}: {model}" for name, model in record.models.items() if model), 300)
    add(tr("asked for"), record.reply, 300)
    add(tr("story"), record.story, 900)
    objects = [item for item in record.objects if item.repainted]
    add(
        tr("objects"),
        " · ".join(f"{item.number} {item.name or item.label}: {', '.join(item.tags)}" for item in objects),
        1000,
    )
    if record.source is not None:
        source = tr(
            "a picture {digest}…, strength {strength}",
            digest=record.source.sha256[:16],
            strength=f"{record.source.strength:g}",
        )
        add(tr("painted over"), source, 100)
    embed.set_footer(text=texts.plain(record.software, 100))
    return embed
