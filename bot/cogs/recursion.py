"""🔁 on a picture: one recursion deeper from there. 🔁 on an error: try again."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import TYPE_CHECKING

import discord
from discord.ext import commands

from bot import render
from bot.outbox import is_picture
from pipeline.domain import Post
from pipeline.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from bot.client import Client

log = logging.getLogger(__name__)

_REMEMBERED = 20_000  # reactions


class Reactions(commands.Cog):
    """Turn reactions into steps.

    One reaction is one recursion, and one that is taken back and given again is another. Discord gives a
    reaction no id and no time, so a step's origin is the message, the member and a number: how many steps
    the member's reactions to this message have made, from the database, plus one. What keeps an event that
    comes twice (a gateway session may replay some when it is resumed) from counting twice is knowing which
    reactions stand: adding one that stands is no news. That knowledge may be lost with the process, or
    forgotten when a gateway session could not be resumed: a new session replays nothing.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        # (message, member) of the reactions that stand, oldest first.
        self._standing: OrderedDict[tuple[int, int], None] = OrderedDict()
        self._counting = asyncio.Lock()

    @commands.Cog.listener()
    async def on_raw_reaction_add(self, event: discord.RawReactionActionEvent) -> None:
        """Go on from a picture, or try a failed step again."""
        ours = self._client.user
        if event.emoji.name != render.AGAIN or (ours is not None and event.user_id == ours.id):
            return
        if event.member is not None and event.member.bot:
            return
        if not self.stand(event.message_id, event.user_id):
            return
        await self._take(event.message_id, event.channel_id, event.user_id)

    @commands.Cog.listener()
    async def on_raw_reaction_remove(self, event: discord.RawReactionActionEvent) -> None:
        """Note that a reaction stands no longer."""
        if event.emoji.name == render.AGAIN:
            self._standing.pop((event.message_id, event.user_id), None)

    @commands.Cog.listener()
    async def on_raw_reaction_clear(self, event: discord.RawReactionClearEvent) -> None:
        """Note that a moderator removed all reactions of a message."""
        self._clear(event.message_id)

    @commands.Cog.listener()
    async def on_raw_reaction_clear_emoji(self, event: discord.RawReactionClearEmojiEvent) -> None:
        """Note that a moderator removed one kind of reaction."""
        if event.emoji.name == render.AGAIN:
            self._clear(event.message_id)

    def forget(self) -> None:
        """Forget which reactions stand: a new gateway session begins."""
        self._standing.clear()

    def stand(self, message: int, user: int) -> bool:
        """Note that a reaction stands; False if that was known."""
        if (message, user) in self._standing:
            return False
        self._standing[message, user] = None
        if len(self._standing) > _REMEMBERED:
            self._standing.popitem(last=False)
        return True

    def _clear(self, message: int) -> None:
        for key in [key for key in self._standing if key[0] == message]:
            del self._standing[key]

    async def _take(self, message: int, place: int, user: int) -> None:
        try:
            post = await self._client.outbox.post_of(message, str(place))
            if post is not None:
                await self._client.speak_as(post)
                await self._go_on(post, user)
        except (InvalidRequest, NotFound) as error:
            await self._client.say(place, str(error), about=message)
        except Exception:
            log.exception("the reaction to %s was lost", message)
            text = "Something broke that should not have; take your reaction back and react again."
            await self._client.say(place, text, about=message)

    async def _go_on(self, post: Post, user: int) -> None:
        pipeline = self._client.pipeline
        step = await pipeline.store.step(post.step_id)
        if not is_picture(post.part) and not post.part.startswith("error:"):
            return
        if not await self._client.may_go_on(await pipeline.store.session(step.session_id), user):
            raise InvalidRequest("Here only who asked for the picture or has the role for it can go on.")
        if is_picture(post.part):
            async with self._counting:
                made = await pipeline.store.count_origins(origin(post.message, user))
                await pipeline.recurse(
                    step.id, asked_by=str(user), origin=f"{origin(post.message, user)}{made + 1}"
                )
        elif post.part == f"error:{step.attempt}":  # an older error has been answered
            await pipeline.retry(step.id)
        await self._client.worker.wake()

    async def catch_up(self, post: Post, user: int) -> None:
        """Take in a reaction that stands since before the start, quietly, if no step was made of it."""
        if not self.stand(int(post.message), user):
            return
        store = self._client.pipeline.store
        if is_picture(post.part) and await store.count_origins(origin(post.message, user)):
            return
        try:
            await self._go_on(post, user)
        except (InvalidRequest, NotFound) as error:
            log.info("a reaction from before the start leads nowhere: %s", error)


def origin(message: str, user: int) -> str:
    """Begin the origins of the steps that a member's reactions to a message make."""
    return f"discord:reaction:{message}:{user}:"
