"""Work off the queue in the database and hand what ends to the outbox."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing

from bot import logs
from bot.outbox import Outbox
from bot.pacing import Courtesy
from bot.progress import ProgressMessage
from pipeline.domain import Event, Step, StepDone, StepFailed
from pipeline.engine import Pipeline
from pipeline.errors import NotFound

log = logging.getLogger(__name__)

Watch = Callable[[Step, Event], None]  # told of everything that happens; never waits


class Worker:
    """Run queued steps, `concurrency` at a time."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        outbox: Outbox,
        courtesy: Courtesy,
        concurrency: int,
        progress_interval: float = 2.0,
        watch: Watch | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._outbox = outbox
        self._courtesy = courtesy
        self._concurrency = concurrency
        self._progress_interval = progress_interval
        self._watch = watch
        self._queued = asyncio.Condition()
        self._running: dict[int, asyncio.Task[None]] = {}  # by step
        self._pauses = (1.0, 5.0, 30.0, 120.0)  # seconds before a step is taken up again that broke off

    async def wake(self) -> None:
        """Tell that there may be something in the queue."""
        async with self._queued:
            self._queued.notify_all()

    @property
    def slots(self) -> int:
        """Return how many steps are worked on at the same time."""
        return self._concurrency

    async def cancel(self, step_id: int, *, why: str) -> tuple[int, ...]:
        """Cancel a step and the queued ones below it; return all that were cancelled.

        It is written down first: whatever happens to this process, nobody goes on with them. Work under way
        is stopped, in the backend too where it can be.
        """
        cancelled = await self._pipeline.store.cancel(step_id, why=why)
        for number in cancelled:
            if task := self._running.get(number):
                task.cancel()  # its loop shows the outcome when the work has let go
            elif number == step_id:
                self._outbox.deliver(step_id)
        return cancelled

    async def run(self) -> None:
        """Work until cancelled. What is cancelled in mid-work goes on at the next start."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._concurrency):
                group.create_task(self._loop(), name=f"worker-{number}")

    async def _loop(self) -> None:
        while True:
            try:
                step = await self._next()
            except Exception:
                log.exception("the queue cannot be read; trying again")
                await asyncio.sleep(self._pauses[1])
                continue
            with logs.about(step=step.id, session=step.session_id):  # the task takes it over
                task = asyncio.create_task(self._work(step), name=f"work-{step.id}")
            self._running[step.id] = task
            try:
                await asyncio.wait([task])
            finally:
                if not task.done():  # this process ends
                    task.cancel()
                    await asyncio.wait([task])
                del self._running[step.id]
            self._outbox.deliver(step.id)
            await self.wake()  # the steps below this one can run now

    async def _next(self) -> Step:
        await self._courtesy.wait()
        async with self._queued:
            # Looked at with the lock held: what is queued after the look cannot notify before the wait.
            while (step := await self._pipeline.store.claim("discord")) is None:
                await self._queued.wait()
            return step

    async def _work(self, step: Step) -> None:
        """Run a step to its end; again if it breaks off, as when the database is locked for long."""
        for pause in (*self._pauses, None):
            try:
                await self._run(step)
            except NotFound:
                log.info("step %s was deleted while it was worked on", step.id)
            except Exception:
                log.exception("step %s broke off", step.id)
                if pause is not None:
                    await asyncio.sleep(pause)
                    continue
            return

    async def _run(self, step: Step) -> None:
        progress = ProgressMessage(
            step=step, outbox=self._outbox, store=self._pipeline.store, interval=self._progress_interval
        )
        async with progress, aclosing(self._pipeline.run(step.id)) as events:
            async for event in events:
                progress.show(event)
                if self._watch is not None:
                    self._watch(step, event)
                if isinstance(event, (StepDone, StepFailed)):
                    log.info("step %s: %s", step.id, type(event).__name__)
