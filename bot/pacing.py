"""Who goes first: requests keep below Discord's global limit, and acknowledgements go before other work."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import aiohttp

# Below Discord's 50, beyond which it refuses and in the end bans: what is sent evenly arrives in clumps.
PER_SECOND = 40.0
BURST = 5
# Interactions are not counted, webhooks carry no token of the bot's, and the gateway is no request.
_UNCOUNTED = ("/interactions/", "/webhooks/", "/gateway")


class Pacing:
    """Let requests pass one after another: at most BURST at once, PER_SECOND in the long run."""

    def __init__(self, *, per_second: float = PER_SECOND, burst: int = BURST) -> None:
        self._spacing = 1 / per_second
        self._lead = burst / per_second
        self._next = 0.0  # when the next request is due, on the loop's clock

    def trace(self, config: aiohttp.TraceConfig | None = None) -> aiohttp.TraceConfig:
        """Return what makes every request of an HTTP session wait for its turn: `config` with that added."""
        config = config or aiohttp.TraceConfig()
        config.on_request_start.append(self._start)
        return config

    async def _start(
        self,
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        request: aiohttp.TraceRequestStartParams,
    ) -> None:
        if not any(part in request.url.path for part in _UNCOUNTED):
            await self.wait()

    async def wait(self) -> None:
        """Return when the next request may be sent."""
        now = asyncio.get_running_loop().time()
        due = max(self._next, now - self._lead)
        self._next = due + self._spacing
        if due > now:
            await asyncio.sleep(due - now)


class Courtesy:
    """Let what can wait wait for what cannot: Discord gives an acknowledgement three seconds."""

    def __init__(self, *, patience: float = 2.0) -> None:
        self._patience = (
            patience  # seconds; in a flood that does not end, the other work goes on all the same
        )
        self._urgent = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    @contextmanager
    def urgent(self) -> Iterator[None]:
        """Note that something is to be acknowledged, until the context ends."""
        self._urgent += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._urgent -= 1
            if not self._urgent:
                self._quiet.set()

    async def wait(self) -> None:
        """Return when nothing urgent is under way, or patience is over."""
        # Not wait_for: on Python 3.11 it may return where it was cancelled, and the bot would never stop.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                await self._quiet.wait()
