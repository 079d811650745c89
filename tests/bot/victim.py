"""Bots in processes of their own, to be killed. Every line read is one more start; its pid is written.

Importing takes longer than anything the bot does, so it is done once, and each bot is a fork.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from bot.app import serve
from bot.client import Pace
from pipeline.domain import GeneratedImage, GenerationRequest, InpaintRequest, ProgressCallback
from pipeline.engine import EngineOptions, Pipeline
from pipeline.settings import Settings
from pipeline.store import Store
from playground import connect_here
from tests.fakes import FixedSegmenter, PaintingGenerator, PlainWriter


class MortalGenerator(PaintingGenerator):
    """Note every picture that is finished; die at the call that it is told to die at."""

    def __init__(self, *, ledger: Path, dies_at: int, after: bool) -> None:
        super().__init__(seconds=0.01)
        self._ledger = ledger
        self._left = dies_at  # calls; 0 = never
        self._after = after

    async def generate(
        self, request: GenerationRequest, progress: ProgressCallback | None = None
    ) -> GeneratedImage:
        self._count(after=False)
        image = await super().generate(request, progress)
        return self._finish(f"generate {request.seed}", image)

    async def inpaint(
        self, request: InpaintRequest, progress: ProgressCallback | None = None
    ) -> GeneratedImage:
        self._count(after=False)
        image = await super().inpaint(request, progress)
        return self._finish(f"inpaint {request.seed}", image)

    def _finish(self, what: str, image: GeneratedImage) -> GeneratedImage:
        with self._ledger.open("a") as ledger:
            ledger.write(f"{what}\n")
        self._count(after=True)
        return image

    def _count(self, *, after: bool) -> None:
        if after == self._after and self._left:
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)


async def run(order: dict[str, Any]) -> None:
    """Be a bot."""
    connect_here(order["rest_url"])
    settings = Settings(_env_file=None, database_url=order["database_url"])  # type: ignore[call-arg]
    pipeline = Pipeline(
        generator=MortalGenerator(
            ledger=Path(order["ledger"]), dies_at=order["dies_at"], after=order["after"]
        ),
        segmenter=FixedSegmenter(),
        writer=PlainWriter(),
        store=Store(order["database_url"]),
        options=EngineOptions(),
    )
    await serve(pipeline, settings, order["token"], pace=Pace(progress=0.02, retry=0.05, guilds=0.05))


def main() -> None:
    """Fork a bot for every line of standard input."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are buried by the kernel
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            logging.basicConfig(filename=order["log"], level=logging.INFO)
            try:
                asyncio.run(run(order))
            finally:
                logging.exception("ended by itself")
                os._exit(1)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
