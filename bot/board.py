"""Tell those who wait how long: one message a waiting step, the same that shows its progress later."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace

import discord

from bot import render
from bot.cancelling import cancel_view
from bot.outbox import NOWHERE, Outbox, is_passing
from bot.translations import shown_in
from pipeline.domain import StepState
from pipeline.queue import Forecast, Waiting, forecast
from pipeline.store import Store

log = logging.getLogger(__name__)

_A_LOOK = 5  # messages that are sent or edited at most each time; the others' turn comes with the next look


class Board:
    """Look at the queue every `interval` seconds, and tell what has changed.

    Only a step that was seen waiting before is told of: what begins at once needs no message. Of a session,
    the steps that wait for another one of it wait in silence.
    """

    def __init__(self, *, store: Store, outbox: Outbox, slots: int, interval: float) -> None:
        self._store = store
        self._outbox = outbox
        self._slots = slots
        self._interval = interval
        self._seen: set[int] = set()
        self._told: dict[int, tuple[float, tuple[int, int | None]]] = {}  # by step: when, and what

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self._look()
            except Exception:
                log.exception("the queue could not be shown")

    async def _look(self) -> None:
        line = await self._store.line("discord")
        unfinished = {step.step_id for step in line.steps}
        waiting = [
            step for step in line.steps if step.running_since is None and step.parent_id not in unfinished
        ]
        known, self._seen = self._seen, {step.step_id for step in waiting}
        self._told = {number: told for number, told in self._told.items() if number in self._seen}
        waiting = [step for step in waiting if step.step_id in known]
        if not waiting:
            return
        now = time.time()
        turns = await asyncio.to_thread(forecast, line, slots=self._slots, now=now)
        # Who was told longest ago, or never, is told first.
        waiting.sort(key=lambda step: (self._told.get(step.step_id, (0.0,))[0], turns[step.step_id].ahead))
        left = _A_LOOK
        for step in waiting:
            turn = turns[step.step_id]
            # Seconds are Discord's to count; a guess that has moved by less than a tenth is the same guess.
            begins = None if turn.starts is None else now + turn.starts
            if not left or not self._changed(step, turn, begins, now):
                continue
            left -= 1
            if await self._tell(step, turn, now):
                self._told[step.step_id] = (now, (turn.ahead, None if begins is None else round(begins)))

    def _changed(self, step: Waiting, turn: Forecast, begins: float | None, now: float) -> bool:
        _, told = self._told.get(step.step_id, (0.0, None))
        if told is None or told[0] != turn.ahead or (told[1] is None) != (begins is None):
            return True
        if told[1] is None or begins is None:
            return False
        return abs(begins - told[1]) > max(3.0, 0.1 * (begins - now))

    async def _tell(self, waiting: Waiting, turn: Forecast, now: float) -> bool:
        """Send or edit the message of a step that still waits; whether that is done with."""
        session = await self._store.session(waiting.session_id)
        lock = self._outbox.lock(session.place)
        if session.place in ("", NOWHERE) or lock.locked():
            return False
        async with lock:
            # With the lock held: an outcome that is shown meanwhile takes this message away again.
            step = await self._store.step(waiting.step_id)
            if step.state is not StepState.QUEUED:
                return True
            with shown_in(session):
                sheet = replace(render.queued(step, turn, now), view=cancel_view(step.id))
            part = f"progress:{step.attempt}"
            posts = {post.part: post for post in await self._store.posts(step.id)}
            post = posts.get(part)
            try:
                if post is None or not post.message:
                    await self._outbox.send(step, part, session.place, sheet)
                else:
                    message = self._outbox.channel(session.place).get_partial_message(int(post.message))
                    await message.edit(embeds=list(sheet.embeds), attachments=[])
            except Exception as error:
                if not isinstance(error, discord.HTTPException) and not is_passing(error):
                    raise
                log.info("the place in the queue of step %s is not shown: %s", step.id, error)
        return True
