"""What members did while the bot was away: no new gateway session tells, so it is read from the threads."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import discord

from bot import render
from bot.cogs.context import answered
from bot.outbox import is_picture
from pipeline.domain import Session
from pipeline.errors import ContextualDiffusionError

if TYPE_CHECKING:
    from bot.client import Client

log = logging.getLogger(__name__)

DAYS = 7  # after which a thread without a message is archived, and nobody can react in it
SESSIONS = 50  # the latest ones
MESSAGES = 100  # the latest ones of each: one request


class CatchUp:
    """Take in the reactions and replies of recent sessions that no step was made of.

    Nothing runs twice: a reply's step is known by the message, and a reaction counts only where this member's
    reactions to that picture have made no step yet. What cannot be known is left out: a reaction that was
    taken back and given again meanwhile, and replies beyond the latest messages.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def run(self) -> None:
        """Look through the recent sessions, the latest first."""
        self._client.reactions.forget()
        since = datetime.now(UTC) - timedelta(days=DAYS)
        store = self._client.pipeline.store
        sessions = await store.recent_sessions("discord", since=since, limit=SESSIONS)
        places = {session.place: session for session in reversed(sessions)}
        for session in reversed(places.values()):
            try:
                await self._look(session)
            except discord.HTTPException as error:
                log.info("not caught up with %s: %s", session.place, error)
            except ContextualDiffusionError as error:
                log.info("something in %s leads nowhere: %s", session.place, error)

    async def _look(self, session: Session) -> None:
        channel = self._client.outbox.channel(session.place)
        latest = [message async for message in channel.history(limit=MESSAGES)]
        for message in reversed(latest):
            if answered(message) is not None:
                await self._reply(session, message)
            elif self._has_reaction(message):
                await self._reactions(message)

    def _has_reaction(self, message: discord.Message) -> bool:
        ours = self._client.user
        return (
            ours is not None
            and message.author.id == ours.id
            and any(
                str(reaction.emoji) == render.AGAIN and reaction.count > reaction.me
                for reaction in message.reactions
            )
        )

    async def _reactions(self, message: discord.Message) -> None:
        post = await self._client.pipeline.store.post_of_message(str(message.id))
        if post is None:
            return
        for reaction in message.reactions:
            if str(reaction.emoji) == render.AGAIN:
                async for user in reaction.users():
                    if not user.bot:
                        await self._client.reactions.catch_up(post, user.id)

    async def _reply(self, session: Session, message: discord.Message) -> None:
        store = self._client.pipeline.store
        reference = answered(message)
        if not message.content or reference is None:
            return
        if await store.count_origins(f"discord:message:{message.id}"):
            return
        post = await store.post_of_message(str(reference))
        if post is not None and (is_picture(post.part) or post.part.startswith("notes:")):
            await self._client.replies.tweak(message, post)
