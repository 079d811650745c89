"""One message a step that says how far it is, edited now and then."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace

import discord

from bot import images, render
from bot.cancelling import cancel_view
from bot.outbox import NOWHERE, Outbox, is_passing
from bot.translations import shown_in
from pipeline.domain import Event, PictureSaved, Progress, Step
from pipeline.store import Store

log = logging.getLogger(__name__)


class ProgressMessage:
    """Show the latest of many events in one message, edited at most every `interval` seconds.

    Used as an async context; leaving it waits for an edit under way, though not for long. The outbox deletes
    the message when the step's outcome is shown, so that there is always one of the two.
    """

    def __init__(self, *, step: Step, outbox: Outbox, store: Store, interval: float) -> None:
        self._step = step
        self._outbox = outbox
        self._store = store
        self._interval = interval
        self._latest: Progress | None = None
        self._picture: bytes | None = None  # the whole picture so far
        self._window: bytes | None = None  # the crop being repainted
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def show(self, event: Event) -> None:
        """Take in an event; never waits."""
        if isinstance(event, PictureSaved):
            self._picture, self._window = event.png, None
        elif isinstance(event, Progress):
            self._latest = event
            if event.preview is not None and event.stage == "paint":
                self._picture = event.preview
            elif event.stage == "repaint":
                self._window = event.preview
        else:
            return
        self._changed.set()

    async def __aenter__(self) -> ProgressMessage:
        self._task = asyncio.create_task(self._run(), name=f"progress-{self._step.id}")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._closing.set()
        self._changed.set()
        if self._task is None:
            return
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            # The process ends and must not wait for Discord. A message that nobody knows then is found later.
            self._task.cancel()
        # An edit that Discord keeps refusing is tried for half a minute; the next picture cannot wait so
        # long for it.
        await asyncio.wait([self._task], timeout=max(2.0, self._interval))
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await self._changed.wait()
            if self._closing.is_set():
                return
            self._changed.clear()
            try:
                shown = await self._update()
            except Exception as error:
                # Whatever goes wrong here must not cost the picture.
                known = isinstance(error, discord.HTTPException) or is_passing(error)
                log.info("progress of step %s not shown: %r", self._step.id, error, exc_info=not known)
                if not is_passing(error):
                    return
            else:
                if not shown:
                    self._changed.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._interval)

    async def _update(self) -> bool:
        """Send or edit the message; False if it is too early for it."""
        session = await self._store.session(self._step.session_id)
        if session.place in ("", NOWHERE) or self._latest is None:
            return False
        whole = await self._small(self._picture)
        crop = await self._small(self._window)
        with shown_in(session):
            sheet = render.progress(self._step, self._latest, whole, crop)
            sheet = render.veiled(replace(sheet, view=cancel_view(self._step.id)), session)
        part = f"progress:{self._step.attempt}"
        posts = {post.part: post for post in await self._store.posts(self._step.id)}
        post = posts.get(part)
        if post is None or not post.message:
            lock = self._outbox.lock(session.place)
            if lock.locked():
                return False  # what the step before this one shows comes first
            async with lock:
                await self._outbox.send(self._step, part, session.place, sheet)
            return True
        message = self._outbox.channel(session.place).get_partial_message(int(post.message))
        await message.edit(embeds=list(sheet.embeds), attachments=sheet.attachments())
        return True

    async def _small(self, picture: bytes | None) -> bytes | None:
        if picture is None:
            return None
        try:
            return await asyncio.to_thread(images.preview, picture)
        except OSError:
            # A backend's preview may be half a file; the next one will be whole.
            return None
