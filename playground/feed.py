"""The event feed: everything that happens, in order, for waiting tests and for a page."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TypeVar

from playground.errors import JSON
from playground.state import Clock

T = TypeVar("T")
# What of an event is worth a line when a test waited in vain.
_TELLING = (
    *("method", "path", "status", "seconds", "id", "type", "name", "content", "channel_id", "message_id"),
    *("user_id", "emoji", "code", "callback_type", "after", "session", "replayed", "thread_metadata"),
)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `kind` is a gateway event's name or one of this server's own."""

    sequence: int
    at: float  # seconds since 1970
    kind: str
    data: JSON

    def __str__(self) -> str:
        told = {key: self.data[key] for key in _TELLING if self.data.get(key) not in (None, [], "")}
        text = json.dumps(told, ensure_ascii=False, default=str)
        return f"#{self.sequence} {self.kind} {text if len(text) < 400 else text[:400] + '…'}"


class Feed:
    """Publishes events and wakes whoever waits; never blocks the publisher."""

    def __init__(self, clock: Clock, keep: int = 20_000) -> None:
        self._clock = clock
        self._events: deque[Event] = deque(maxlen=keep)
        self._sequence = 0
        self._waiting: set[asyncio.Future[None]] = set()
        self._listeners: list[Callable[[str, JSON], None]] = []

    def listen(self, listener: Callable[[str, JSON], None]) -> None:
        """Call this with every event's kind and data, before anyone else hears of it."""
        self._listeners.append(listener)

    def publish(self, kind: str, data: JSON) -> None:
        """Add an event and wake all waiters."""
        self._sequence += 1
        for listener in self._listeners:
            listener(kind, data)
        self._events.append(Event(self._sequence, self._clock.time(), kind, data))
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    @property
    def last(self) -> int:
        """Return the newest event's sequence number."""
        return self._sequence

    def reaches(self, sequence: int) -> bool:
        """Tell whether every event after a sequence number is still kept."""
        oldest = self._events[0].sequence if self._events else self._sequence + 1
        return oldest - 1 <= sequence <= self._sequence

    def since(self, sequence: int) -> list[Event]:
        """Return the kept events after a sequence number, oldest first."""
        newer: list[Event] = []
        for event in reversed(self._events):
            if event.sequence <= sequence:
                break
            newer.append(event)
        return newer[::-1]

    async def changed(self) -> None:
        """Return after the next event."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    async def follow(self, after: int) -> AsyncIterator[Event]:
        """Yield every event after a sequence number, for ever."""
        while True:
            for event in self.since(after):
                after = event.sequence
                yield event
            if self._sequence == after:
                await self.changed()

    async def wait_for(self, condition: Callable[[], T], timeout: float) -> T:
        """Return the condition's first true result, asking it now and after every event.

        Raises TimeoutError that tells the latest events.
        """
        try:
            async with asyncio.timeout(timeout):
                # No await between asking and waiting: an event in between would be missed.
                while not (result := condition()):
                    await self.changed()
                return result
        except TimeoutError:
            latest = "\n".join(str(e) for e in list(self._events)[-25:])
            raise TimeoutError(f"not within {timeout} s; the latest events:\n{latest}") from None
