"""Fifty members who ask for four pictures each, all at once: acknowledgements, lag, fairness, losses.

uv run python -m benchmarks.load [--members 50] [--requests 4] [--depth 1] [--side 512] [--profile FILE]

The bot runs in a process of its own on a loopback Discord that has Discord's rate limits; what paints, finds
and writes is a stand-in that answers at once, so that all there is to measure is the bot itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import io
import multiprocessing
import multiprocessing.process
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from bot.app import serve
from pipeline.context import TemplateContextWriter
from pipeline.domain import (
    Box,
    Choices,
    Detection,
    GeneratedImage,
    GenerationRequest,
    GeneratorInfo,
    InpaintRequest,
    ProgressCallback,
    Step,
    StepState,
)
from pipeline.engine import EngineOptions, Pipeline
from pipeline.settings import Settings
from pipeline.store import Store, migrate
from playground import Playground, connect_here

TICK = 0.01  # seconds between two looks at the event loop's clock


@dataclass(frozen=True, slots=True)
class Order:
    """What a bot process is to do."""

    rest_url: str
    token: str
    database_url: str
    side: int
    profile: str


@dataclass(frozen=True, slots=True)
class Lags:
    """What was seen at each tick of the bot's event loop, in seconds."""

    late: list[float]  # later than it should have been
    busy: list[float]  # processor time of the loop's own thread since the tick before


# -- the bot's process --------------------------------------------------------------------------------


class StandIn:
    """Paint, find and describe at once: prepared pictures and two fixed objects."""

    def __init__(self, side: int) -> None:
        self.info = GeneratorInfo("stand-in", side, side, side, 8, 64, 2048)

    async def generate(
        self, request: GenerationRequest, progress: ProgressCallback | None = None
    ) -> GeneratedImage:
        return GeneratedImage(_prepared(request.width, request.height), request.seed, "stand-in", "none")

    async def inpaint(
        self, request: InpaintRequest, progress: ProgressCallback | None = None
    ) -> GeneratedImage:
        height, width = request.mask.shape
        return GeneratedImage(_prepared(width, height), request.seed, "stand-in", "none")

    async def choices(self) -> Choices:
        return Choices()

    async def segment(self, png: bytes, *, depth: int) -> Sequence[Detection]:
        side = self.info.default_width
        return _found(side)

    def weights_at(self, depth: int) -> str:
        return "stand-in"

    async def aclose(self) -> None:
        return None


@cache
def _prepared(width: int, height: int) -> bytes:
    noise = np.random.default_rng(width * height).normal(0, 6, (height, width, 1))
    ramp = np.linspace((90, 60, 120), (220, 190, 200), height)[:, None]  # [H, 1, 3]
    buffer = io.BytesIO()
    Image.fromarray((ramp + noise).clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@cache
def _found(side: int) -> tuple[Detection, ...]:
    found = []
    for label, at in (("Jacket", side // 8), ("Bag", side // 2)):
        box = Box(at, at, at + side // 4, at + side // 4)
        mask = np.zeros((side, side), np.bool_)  # [H, W]
        mask[box.y1 : box.y2, box.x1 : box.x2] = True
        found.append(Detection(label, 0.9, box, mask))
    return tuple(found)


def run_bot(order: Order, pipe: Connection) -> None:
    """Be the bot until told to stop, then send the lags."""
    profile = cProfile.Profile() if order.profile else None
    with profile or contextlib.nullcontext():
        lags = asyncio.run(_bot(order, pipe))
    if profile is not None:
        profile.dump_stats(order.profile)
    pipe.send(lags)


async def _bot(order: Order, pipe: Connection) -> Lags:
    connect_here(order.rest_url)
    stand_in = StandIn(order.side)
    _prepared(order.side, order.side)
    settings = Settings(_env_file=None, database_url=order.database_url)  # type: ignore[call-arg]
    pipeline = Pipeline(
        generator=stand_in,
        segmenter=stand_in,
        writer=TemplateContextWriter(),
        store=Store(order.database_url),
        options=EngineOptions(),
    )
    lags = Lags([], [])
    serving = asyncio.create_task(serve(pipeline, settings, order.token))
    ticking = asyncio.create_task(_tick(lags))
    asked_to_stop = asyncio.create_task(asyncio.to_thread(pipe.recv))
    await asyncio.wait([serving, asked_to_stop], return_when=asyncio.FIRST_COMPLETED)
    for task in (serving, ticking):
        task.cancel()
    results = await asyncio.gather(serving, ticking, return_exceptions=True)
    await pipeline.aclose()
    for result in results:
        if isinstance(result, Exception):
            raise result
    return lags


async def _tick(lags: Lags) -> None:
    while True:
        due, busy = time.monotonic() + TICK, time.thread_time()
        await asyncio.sleep(TICK)
        lags.late.append(max(0.0, time.monotonic() - due))
        lags.busy.append(time.thread_time() - busy)


# -- the members --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run showed."""

    acknowledged: list[float]  # seconds
    failed: int
    lags: Lags
    seconds: float
    asking: float  # seconds of these in which members asked
    steps: list[Step]
    wanted: int  # pictures
    shown: int
    ahead: int
    violations: Counter[str]
    requests: int


async def measure(members: int, requests: int, depth: int, side: int, profile: str) -> Outcome:
    """Let the members ask, all at once, and wait until everything is shown."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite+aiosqlite:///{Path(folder) / 'bot.sqlite'}"
        await asyncio.to_thread(migrate, url)
        async with Playground() as discord:
            ours, theirs = context.Pipe()
            order = Order(discord.rest_url, discord.token, url, side, profile)
            process = context.Process(target=run_bot, args=(order, theirs), daemon=True)
            process.start()
            await discord.wait_until_connected(timeout=120)
            await discord.wait_until_commands(timeout=120)
            began = time.monotonic()
            asked = await asyncio.gather(
                *(_ask(discord, number, requests, depth) for number in range(members))
            )
            asking = time.monotonic() - began
            store = Store(url)
            try:
                wanted = members * requests * (depth + 1)
                steps = await _finished(store, wanted, process)
            finally:
                await store.aclose()
            seconds = time.monotonic() - began
            ours.send("stop")
            lags = await asyncio.to_thread(ours.recv)
            await asyncio.to_thread(process.join)
            pictures = {
                file.filename
                for thread in discord.threads()
                for message in discord.messages(thread)
                for file in message.attachments
                if "objects" not in file.filename and "object-" not in file.filename
            }
            taken = [after for member in asked for after in member if after is not None]
            return Outcome(
                acknowledged=sorted(taken),
                failed=members * requests - len(taken),
                lags=lags,
                seconds=seconds,
                asking=asking,
                steps=steps,
                wanted=wanted,
                shown=len(pictures),
                ahead=most_ahead(steps),
                violations=Counter(f"{item.scope}: {item.method}" for item in discord.violations),
                requests=sum(event.kind == "REQUEST" for event in discord.feed.since(0)),
            )


async def _ask(discord: Playground, number: int, requests: int, depth: int) -> list[float | None]:
    member = discord.member(f"member {number}")
    taken = []
    for request in range(requests):
        sent = await member.slash(discord.general, "imagine", prompt=f"hat {request}", depth=depth)
        taken.append(None if sent.failed else sent.acknowledged_after)
    return taken


async def _finished(store: Store, wanted: int, process: multiprocessing.process.BaseProcess) -> list[Step]:
    """Wait until so many steps are wholly shown; return them."""
    while True:
        if not process.is_alive():
            raise RuntimeError("the bot's process ended")
        steps = [step for session in await store.sessions() for step in await store.steps(session.id)]
        if len(steps) >= wanted and all(step.delivered for step in steps):
            return steps
        await asyncio.sleep(1)


def most_ahead(steps: Sequence[Step]) -> int:
    """Return how many steps of one other member were begun, at most, while a member's step could have been.

    A step can be begun when it was asked for, the one above it is done, and its member's turn before is over.
    """
    done = {step.id: step.finished_at for step in steps}
    order = sorted((step for step in steps if step.started_at), key=lambda step: (step.started_at, step.id))
    worst, before = 0, {}
    for place, step in enumerate(order):
        ready = max(filter(None, (step.created_at, done.get(step.parent_id or 0), before.get(step.asked_by))))
        between = Counter(
            other.asked_by
            for other in order[:place]
            if other.started_at and other.started_at > ready and other.asked_by != step.asked_by
        )
        worst = max(worst, *between.values(), 0)
        before[step.asked_by] = step.started_at
    return worst


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of all are."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--members", type=int, default=50)
    parser.add_argument("--requests", type=int, default=4)
    parser.add_argument("--depth", type=int, default=1, help="recursions of each request")
    parser.add_argument("--side", type=int, default=512, help="pixels")
    parser.add_argument("--profile", default="", help="write what the bot's process did to this file")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    seen = asyncio.run(measure(args.members, args.requests, args.depth, args.side, args.profile))
    lost = seen.wanted - sum(step.state is StepState.DONE for step in seen.steps)
    table = Table(
        title=f"{args.members} members x {args.requests} requests, {seen.wanted} pictures of "
        f"{args.side} pixels, {os.cpu_count()} cores (load average before: {load:.1f})"
    )
    table.add_column("what")
    table.add_column("measured", justify="right")
    for what, measured in (
        ("acknowledged, median", f"{percentile(seen.acknowledged, 0.5):.3f} s"),
        ("acknowledged, 99th percentile", f"{percentile(seen.acknowledged, 0.99):.3f} s"),
        ("acknowledged, longest", f"{seen.acknowledged[-1]:.3f} s"),
        ("not acknowledged in time", str(seen.failed)),
        ("event-loop lag, 99th percentile", f"{1000 * percentile(seen.lags.late, 0.99):.1f} ms"),
        ("event-loop lag, longest", f"{1000 * max(seen.lags.late):.1f} ms"),
        (
            "loop's own processor time a tick, 99th percentile",
            f"{1000 * percentile(seen.lags.busy, 0.99):.1f} ms",
        ),
        ("most steps of one other member ahead", str(seen.ahead)),
        ("pictures lost", str(lost)),
        ("pictures not shown, or twice", str(seen.wanted - seen.shown)),
        ("rate limit violations", str(dict(seen.violations) or 0)),
        ("requests to Discord", str(seen.requests)),
        ("members asked for", f"{seen.asking:.1f} s"),
        ("all shown after", f"{seen.seconds:.1f} s"),
    ):
        table.add_row(what, measured)
    Console(highlight=False, width=100).print(table)


if __name__ == "__main__":
    main()
