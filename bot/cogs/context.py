"""Replies to a picture or its notes: change what one object should be."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import discord
from discord.ext import commands

from bot import render
from bot.outbox import GALLERY
from pipeline.domain import Post
from pipeline.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from bot.client import Client

log = logging.getLogger(__name__)


class Replies(commands.Cog):
    """Turn replies into steps. The message's id is the step's origin: read twice, it is one step."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._told: set[tuple[int, int]] = set()  # (place, member) who know that I need the ping

    @commands.Cog.listener()
    async def on_message(self, message: discord.Message) -> None:
        """Repaint what a reply means, or say why that cannot be."""
        reference = answered(message)
        if reference is None:
            return
        try:
            post = await self._client.outbox.post_of(reference, str(message.channel.id))
            if post is not None:
                await self._take(message, post)
        except (InvalidRequest, NotFound) as error:
            await self._client.say(message.channel.id, str(error), about=message.id)
        except Exception:
            log.exception("the reply %s was lost", message.id)
            text = "Something broke that should not have; please reply again."
            await self._client.say(message.channel.id, text, about=message.id)

    async def _take(self, message: discord.Message, post: Post) -> None:
        if post.part == GALLERY:
            return  # people talk about pictures there
        await self._client.speak_as(post)
        if self._unreadable(message):
            await self._explain_ping(message)
        elif post.part.startswith("error:"):
            raise InvalidRequest(
                f"That step has no picture to change. React {render.AGAIN} to it to try again, "
                "or reply to an earlier picture."
            )
        elif post.part.startswith("progress:"):
            raise InvalidRequest("That picture is not finished yet; reply to it when it is there.")
        else:
            await self.tweak(message, post)

    async def tweak(self, message: discord.Message, post: Post) -> None:
        """Write down the change that a reply asks for. Raises InvalidRequest, NotFound."""
        store = self._client.pipeline.store
        step = await store.step(post.step_id)
        if not await self._client.may_go_on(await store.session(step.session_id), message.author.id):
            raise InvalidRequest("Here only who asked for the picture can change it.")
        await self._client.pipeline.tweak(
            step.id,
            words(message, self._client.user),
            asked_by=str(message.author.id),
            origin=f"discord:message:{message.id}",
        )
        await self._client.outbox.react(str(message.channel.id), message.id, render.SEEN)
        await self._client.worker.wake()

    def _unreadable(self, message: discord.Message) -> bool:
        """Tell whether Discord withheld the words: in a server, it does unless I am mentioned."""
        ours = self._client.user
        mentioned = ours is not None and any(user.id == ours.id for user in message.mentions)
        return message.guild is not None and not message.content and not mentioned

    async def _explain_ping(self, message: discord.Message) -> None:
        # People also talk about a picture by replying to it. Once is enough; after that a small sign.
        key = (message.channel.id, message.author.id)
        if key in self._told:
            await self._client.outbox.react(str(message.channel.id), message.id, render.UNREAD)
            return
        self._told.add(key)
        text = (
            "Discord shows me a reply only when it pings me. To change something in this picture, "
            "reply again with the @ in the reply bar on, or mention me in the text."
        )
        await self._client.say(message.channel.id, text, about=message.id)


def answered(message: discord.Message) -> int | None:
    """Return the message that a member's message replies to."""
    if message.author.bot or message.type is not discord.MessageType.reply or message.reference is None:
        return None
    return message.reference.message_id


def words(message: discord.Message, me: discord.abc.Snowflake | None) -> str:
    """Return a reply's words without mentions of me, and others' mentions as names."""
    text = message.content
    for user in message.mentions:
        name = " " if me is not None and user.id == me.id else f"@{user.display_name}"
        text = text.replace(f"<@{user.id}>", name).replace(f"<@!{user.id}>", name)
    return text.strip()
