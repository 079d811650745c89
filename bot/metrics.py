"""What the bot does, as numbers: `/metrics` for Prometheus, `/health` for who watches over the process."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from pipeline.domain import ContextWritten, Event, Progress, Step, StepDone, StepFailed, StepState
from pipeline.errors import ConfigurationError
from pipeline.settings import Settings

if TYPE_CHECKING:
    from bot.client import Client

log = logging.getLogger(__name__)

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500)
_LAG = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_EVERY = 0.5  # seconds between two looks at the event loop's lag


class Metrics:
    """Count what the worker sees (`see`), what Discord answers (`trace`), how late the loop is (`watch`)."""

    def __init__(self) -> None:
        import prometheus_client as prometheus

        self.registry = prometheus.CollectorRegistry()
        self._render = prometheus.generate_latest
        self.content_type = prometheus.CONTENT_TYPE_LATEST
        common = {"registry": self.registry, "namespace": "contextual_diffusion"}
        self._steps = prometheus.Gauge("steps", "Steps in the database.", ("kind", "state"), **common)
        self._queue = prometheus.Gauge("queue_length", "Steps that wait for their turn.", **common)
        self._ended = prometheus.Counter(
            "steps_ended", "Steps that ended since the start.", ("kind", "outcome"), **common
        )
        self._step_seconds = prometheus.Histogram(
            "step_seconds",
            "Seconds that a step took, from its first event.",
            ("kind",),
            buckets=_SECONDS,
            **common,
        )
        self._stage_seconds = prometheus.Histogram(
            "stage_seconds", "Seconds that a stage of a step took.", ("stage",), buckets=_SECONDS, **common
        )
        self._backend_errors = prometheus.Counter(
            "backend_errors",
            "Steps that failed in a stage, and notes that a template wrote where a model should have.",
            ("stage",),
            **common,
        )
        self._discord_errors = prometheus.Counter(
            "discord_errors", "Requests that Discord refused or did not answer.", ("status",), **common
        )
        self._lag = prometheus.Histogram(
            "event_loop_lag_seconds", "How late the event loop does what is due.", buckets=_LAG, **common
        )
        self._running: dict[int, tuple[float, str, float]] = {}  # step: begin, stage, its begin
        self.trace = aiohttp.TraceConfig()
        self.trace.on_request_end.append(self._answered)
        self.trace.on_request_exception.append(self._unanswered)

    def see(self, step: Step, event: Event) -> None:
        """Take in an event of a step; never waits."""
        now = time.monotonic()
        begun, stage, since = self._running.get(step.id, (now, "", now))
        if isinstance(event, Progress) and event.stage != stage:
            self._end_stage(stage, now - since)
            stage, since = event.stage, now
        elif isinstance(event, ContextWritten) and event.context.source.startswith("template ("):
            self._backend_errors.labels("describe").inc()
        if not isinstance(event, (StepDone, StepFailed)):
            self._running[step.id] = (begun, stage, since)
            return
        self._running.pop(step.id, None)
        self._end_stage(stage, now - since)
        self._step_seconds.labels(step.kind.value).observe(now - begun)
        failed = isinstance(event, StepFailed)
        self._ended.labels(step.kind.value, "failed" if failed else "done").inc()
        if failed:
            self._backend_errors.labels(stage or "none").inc()

    def _end_stage(self, stage: str, seconds: float) -> None:
        if stage:
            self._stage_seconds.labels(stage).observe(seconds)

    async def watch(self) -> None:
        """Measure the event loop's lag until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _EVERY
            await asyncio.sleep(_EVERY)
            self._lag.observe(max(0.0, loop.time() - due))

    async def render(self, client: Client) -> bytes:
        """Return the numbers in Prometheus' format, with a fresh look into the database."""
        census = await client.pipeline.store.census("discord")
        self._steps.clear()
        for (kind, state), count in census.items():
            self._steps.labels(kind.value, state.value).set(count)
        self._queue.set(sum(n for (_, state), n in census.items() if state is StepState.QUEUED))
        return self._render(self.registry)

    async def _answered(
        self, _session: aiohttp.ClientSession, _: SimpleNamespace, end: aiohttp.TraceRequestEndParams
    ) -> None:
        if end.response.status >= 400:
            self._discord_errors.labels(str(end.response.status)).inc()

    async def _unanswered(
        self, _session: aiohttp.ClientSession, _: SimpleNamespace, end: aiohttp.TraceRequestExceptionParams
    ) -> None:
        self._discord_errors.labels(type(end.exception).__name__).inc()


def make_metrics(settings: Settings) -> Metrics | None:
    """Begin to count if `METRICS_PORT` is set. Raises ConfigurationError where the library is lacking."""
    if settings.metrics_port is None:
        return None
    try:
        return Metrics()
    except ImportError as error:
        raise ConfigurationError(
            "METRICS_PORT needs prometheus-client, which is not installed: uv sync --extra metrics."
        ) from error


@asynccontextmanager
async def answering(client: Client, settings: Settings, metrics: Metrics | None) -> AsyncIterator[int]:
    """Answer `/metrics` and `/health` while inside, on the port that is given; 0 = not at all.

    Raises ConfigurationError where the port is taken.
    """
    if metrics is None:
        yield 0
        return

    async def numbers(_: web.Request) -> web.Response:
        return web.Response(body=await metrics.render(client), headers={"Content-Type": metrics.content_type})

    async def health(_: web.Request) -> web.Response:
        well = client.is_ready() and not client.is_closed()
        return web.Response(text="connected\n" if well else "not connected\n", status=200 if well else 503)

    app = web.Application()
    app.add_routes([web.get("/metrics", numbers), web.get("/health", health)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    watching = asyncio.create_task(metrics.watch(), name="metrics")
    try:
        site = web.TCPSite(runner, settings.metrics_host, settings.metrics_port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigurationError(
                f"Port {settings.metrics_port} of METRICS_PORT cannot be listened on: {error.strerror}. "
                "Choose another, or stop what uses it."
            ) from error
        port: int = runner.addresses[0][1]
        log.info("metrics on http://%s:%s/metrics", settings.metrics_host, port)
        yield port
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await runner.cleanup()
