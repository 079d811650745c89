"""Keep below Discord's global rate limit: it allows fifty requests a second, and bans who goes on beyond."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import aiohttp

PER_SECOND = 40.0  # below Discord's 50: what is sent evenly arrives in clumps
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
