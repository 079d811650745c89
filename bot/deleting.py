"""Take back what was shown of a session, and then the session itself."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field

import discord

from bot import images, render, sentences, texts
from bot.outbox import Outbox, is_passing
from bot.translations import shown_in, tr
from pipeline import provenance
from pipeline.domain import Post, Session, Step, StepState
from pipeline.errors import InvalidRequest
from pipeline.store import Store

log = logging.getLogger(__name__)

_UNKNOWN = (10003, 10008)  # the channel, the message: gone already
_ARCHIVED = 50083
_MANY = 1000  # messages of a thread that are looked through for what others wrote


@dataclass(slots=True)
class Removal:
    """What became of what was shown."""

    sessions: int = 0
    pictures: int = 0
    messages: int = 0
    threads: int = 0
    forgotten: int = 0  # steps in others' sessions that have lost who asked for them
    wishes: int = 0  # a member's own defaults and places in queues
    left: Counter[str] = field(default_factory=Counter)  # why messages or threads are still there

    def add(self, other: Removal) -> None:
        self.sessions += other.sessions
        self.pictures += other.pictures
        self.messages += other.messages
        self.threads += other.threads
        self.forgotten += other.forgotten
        self.wishes += other.wishes
        self.left += other.left


class Remover:
    """Delete sessions: our messages first, for the database knows where they are; then the rows.

    A thread that we opened goes as a whole when nobody but the owner and we wrote in it.
    """

    def __init__(self, *, client: discord.Client, store: Store, outbox: Outbox) -> None:
        self._client = client
        self._store = store
        self._outbox = outbox

    async def remove(self, session: Session) -> Removal:
        """Delete a session. InvalidRequest, and nothing is lost, when Discord does not answer."""
        # What is still to be painted must not be begun; what is being painted finds its step gone.
        for step in await self._store.steps(session.id):
            if step.state in (StepState.QUEUED, StepState.RUNNING):
                await self._store.cancel(step.id)
        async with self._outbox.lock(session.place):  # nothing is sent meanwhile
            try:
                removal = await self._take_back(session)
            except (discord.HTTPException, OSError, TimeoutError) as error:
                if not is_passing(error):
                    raise
                raise InvalidRequest(
                    "Discord does not answer just now, so the session is kept; delete it again in a minute."
                ) from error
            counts = await self._store.count_pictures([session.id])
            await self._store.delete_session(session.id)
        removal.sessions, removal.pictures = 1, counts.get(session.id, 0)
        log.info("session %s was deleted", session.id)
        return removal

    async def forget_asker(self, step: Step, removal: Removal) -> None:
        """Take out of a step in another's session who asked for it and in which words, and where it is shown.

        The picture stays, with its objects' tags. What was not painted yet will not be.
        """
        if step.state in (StepState.QUEUED, StepState.RUNNING):
            await self._store.cancel(step.id)
        png = await self._store.picture(step.id)
        cleaned = None if png is None else await asyncio.to_thread(provenance.without_reply, png)
        await self._store.forget_asker(step.id, png=cleaned)
        removal.forgotten += 1
        if cleaned is None:
            return
        session = await self._store.session(step.session_id)
        bare = await self._store.step(step.id)
        limit = self._outbox.filesize_limit(session)
        encoding = await asyncio.to_thread(
            lambda: next((e for e in images.encodings(cleaned) if len(e.data) <= limit), None)
        )
        lineage = await self._outbox.lineage(bare)
        with shown_in(session):
            sheet = render.picture(session, bare, encoding, original=len(cleaned), lineage=lineage)
        sheet = render.veiled(sheet, session)
        for post in await self._store.posts(step.id):
            if post.part != "picture" or not post.message:
                continue
            partial = self._outbox.channel(post.place).get_partial_message(int(post.message))
            why = sentences.NOT_CHANGED
            try:
                await self._try(
                    partial.edit(embeds=list(sheet.embeds), attachments=sheet.attachments()), why, removal
                )
            except discord.HTTPException as error:
                log.info("not changed: %s", error)
                removal.left[why] += 1

    async def _take_back(self, session: Session) -> Removal:
        removal = Removal()
        opened = session.meta.get("where") == "channel" and session.place not in (
            "",
            session.meta.get("channel"),
        )
        gone = opened and await self._remove_thread(session, removal)
        for post in await self._store.posts_of(session.id):
            if post.message and not (gone and post.place == session.place):
                await self._remove_message(post.place, post.message, removal)
        # A thread has the id of the message that it grew from.
        starter = session.meta.get("starter") or (session.place if opened else "")
        if starter.isdigit() and session.meta.get("channel", "").isdigit():
            await self._remove_message(session.meta["channel"], starter, removal)
        return removal

    async def _remove_thread(self, session: Session, removal: Removal) -> bool:
        """Delete a session's thread if it may go; whether it is gone."""
        if not session.place.isdigit():
            return False
        try:
            thread = await self._client.fetch_channel(int(session.place))
        except discord.HTTPException as error:
            if is_passing(error):
                raise
            return error.code in _UNKNOWN
        if not isinstance(thread, discord.Thread):
            return False
        ours = self._client.user.id if self._client.user else 0
        looked = 0
        async for message in thread.history(limit=_MANY):
            looked += 1
            written = message.type in (discord.MessageType.default, discord.MessageType.reply)
            if written and message.author.id not in (ours, int(session.owner or 0)):
                removal.left[sentences.OTHERS_WROTE] += 1
                return False
        if looked == _MANY:
            removal.left[sentences.MUCH_WRITTEN] += 1
            return False
        posts = [post for post in await self._store.posts_of(session.id) if self._is_in(post, session)]
        if await self._try(thread.delete(), sentences.NO_THREADS, removal):
            removal.threads += 1
            removal.messages += len(posts)
            return True
        return False

    def _is_in(self, post: Post, session: Session) -> bool:
        return bool(post.message) and post.place == session.place

    async def _remove_message(self, place: str, message: str, removal: Removal) -> None:
        if not place.isdigit() or not message.isdigit():
            return
        partial = self._outbox.channel(place).get_partial_message(int(message))
        try:
            await partial.delete()
        except discord.HTTPException as error:
            if error.code == _ARCHIVED and await self._wake(place):
                await self._delete(partial, removal)
            elif error.code not in _UNKNOWN:
                self._count(error, sentences.NO_MESSAGES, removal)
            return
        removal.messages += 1

    async def _delete(self, partial: discord.PartialMessage, removal: Removal) -> None:
        if await self._try(partial.delete(), sentences.NO_MESSAGES, removal):
            removal.messages += 1

    async def _wake(self, place: str) -> bool:
        """Take a thread out of the archive; False where it is locked and we may not."""
        try:
            thread = await self._client.fetch_channel(int(place))
            if isinstance(thread, discord.Thread):
                await thread.edit(archived=False)
                return True
        except discord.HTTPException as error:
            if is_passing(error):
                raise
        return False

    async def _try(self, call: Awaitable[object], why: str, removal: Removal) -> bool:
        try:
            await call
        except discord.HTTPException as error:
            if error.code in _UNKNOWN:
                return True
            self._count(error, why, removal)
            return False
        return True

    def _count(self, error: discord.HTTPException, why: str, removal: Removal) -> None:
        if is_passing(error):
            raise error
        log.info("cannot be deleted: %s", error)
        if error.code == _ARCHIVED:
            why = sentences.LOCKED
        removal.left[why] += 1


def told(removal: Removal) -> str:
    """Say what is gone and what is not."""
    lines: list[str] = []
    if removal.sessions:
        gone = {
            "pictures": texts.counted(removal.pictures, sentences.PICTURES),
            "messages": texts.counted(removal.messages, sentences.MESSAGES),
            "threads": texts.counted(removal.threads, sentences.THREADS),
        }
        lines.append(
            tr(
                "The session with {pictures} is deleted; {messages} of mine and {threads} went too.",
                **gone,
            )
            if removal.sessions == 1
            else tr(
                "{count} sessions with {pictures} are deleted; {messages} of mine and {threads} went too.",
                count=removal.sessions,
                **gone,
            )
        )
    if removal.forgotten == 1:
        lines.append(tr("1 step in others' sessions no longer has your id and words."))
    elif removal.forgotten:
        lines.append(
            tr(
                "{count} steps in others' sessions no longer have your id and words.",
                count=removal.forgotten,
            )
        )
    if removal.wishes:
        lines.append(tr("Your own defaults are deleted."))
    lines += [tr("Left ({count}): {why}.", count=times, why=tr(why)) for why, times in removal.left.items()]
    return "\n".join(lines) or tr("There was nothing to delete.")
