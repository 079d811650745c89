"""Give a session its place: a message that says what was asked, and the thread that grows from it."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import discord
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential

from bot import render, texts
from bot.outbox import Outbox, is_passing, make_nonce
from bot.pacing import Courtesy
from bot.translations import shown_in, tr
from pipeline.domain import Session
from pipeline.store import Store

log = logging.getLogger(__name__)

TOKEN_LIFE = timedelta(minutes=14, seconds=30)  # Discord's fifteen, with room for slow clocks
ARCHIVE_MINUTES = 10080  # a week: nobody can react in an archived thread
_THREAD_EXISTS = 160004
_INVALID_FORM = 50035


class Opener:
    """Open sessions. Opening one again, whatever interrupted it, ends with the same message and thread."""

    def __init__(
        self,
        *,
        client: discord.Client,
        store: Store,
        outbox: Outbox,
        courtesy: Courtesy,
        retry_wait: float = 2.0,
    ) -> None:
        self._client = client
        self._store = store
        self._outbox = outbox
        self._courtesy = courtesy
        self._retry_wait = retry_wait  # seconds before the first retry

    async def open(self, session: Session) -> str:
        """Find or make a session's place, remember it and show there what has ended so far; return it."""
        await self._courtesy.wait()
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception(is_passing),
                wait=wait_exponential(self._retry_wait, max=300),
                stop=stop_after_attempt(10),
                reraise=True,
            ):
                with attempt:
                    place = await self._place(session)
                    # The token has done its work: no secret stays in the database.
                    await self._store.place_session(session.id, place=place, meta={"token": ""})
                    await self._outbox.deliver_all(session.id)
                    return place
        except discord.HTTPException as error:
            if is_passing(error):
                raise
            log.warning("session %s cannot be shown: %s", session.id, error)
            await self._outbox.abandon(session.id)
        return ""

    async def open_all(self, sessions: list[Session]) -> None:
        """Open what a killed process had written down and not yet opened."""
        results = await asyncio.gather(*map(self.open, sessions), return_exceptions=True)
        for session, result in zip(sessions, results, strict=True):
            if isinstance(result, BaseException):
                log.error("session %s is not opened; the next start tries again", session.id, exc_info=result)

    async def _place(self, session: Session) -> str:
        starter = await self._starter(session)
        if session.meta.get("where") != "channel":
            return session.meta["channel"]
        message = self._channel(session).get_partial_message(starter)
        with shown_in(session):
            names = (render.thread_name(session), tr("Session {number}", number=session.id))
        for name in names:
            try:
                thread = await message.create_thread(name=name, auto_archive_duration=ARCHIVE_MINUTES)
                return str(thread.id)
            except discord.HTTPException as error:
                if error.code == _THREAD_EXISTS:
                    return str(starter)  # a thread has the id of the message that it grew from
                if is_passing(error):
                    raise
                if error.code == _INVALID_FORM and name is names[0]:
                    continue  # a server may forbid words in names
                log.warning("session %s gets no thread: %s", session.id, error)
                break
        return session.meta["channel"]

    async def _starter(self, session: Session) -> int:
        """Fill the command's own response; where that is gone, find or make the message in its place."""
        with shown_in(session):
            content, embed = render.starter_content(session), render.starter(session)
        token, age = session.meta.get("token"), datetime.now(UTC) - session.created_at
        if token and age < TOKEN_LIFE:
            webhook = discord.Webhook.partial(int(session.meta["application"]), token, client=self._client)
            try:
                message = await webhook.edit_message(
                    "@original",  # type: ignore[arg-type]  # what the API calls it; no id is known yet
                    content=content,
                    embeds=[embed],
                    allowed_mentions=discord.AllowedMentions.none(),
                )
                return message.id
            except discord.HTTPException as error:
                # Never acknowledged, or too late: 10008, 10015, 50027.
                if error.status not in (401, 403, 404):
                    raise
        channel = self._channel(session)
        if known := session.meta.get("starter"):
            try:
                await channel.get_partial_message(int(known)).edit(content=content, embeds=[embed])
                return int(known)
            except discord.HTTPException as error:
                if is_passing(error):
                    raise
                log.info("session %s: its first message cannot be used: %s", session.id, error)
        place, mark = session.meta["channel"], texts.session_marker(session)
        found = await self._outbox.find(place, mark, since=session.created_at)
        if found is not None:
            return found
        nonce = make_nonce(session.request, "starter")
        return (await channel.send(content, embeds=[embed], nonce=nonce)).id

    def _channel(self, session: Session) -> discord.PartialMessageable:
        guild = session.meta.get("guild")
        return self._client.get_partial_messageable(
            int(session.meta["channel"]), guild_id=int(guild) if guild else None
        )
