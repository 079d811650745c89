"""The real bot in a process of its own, on the loopback Discord: real models, real database, real kills."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.domain import Session, StepState
from pipeline.store import Store
from playground import Limits, Playground

ROOT = Path(__file__).resolve().parent.parent
START = """
import sys
from playground import connect_here
if __name__ == "__main__":
    connect_here(sys.argv[1])
    from bot.app import main
    sys.exit(main([]))
"""


@dataclass
class RealBot:
    """Starts and kills the bot; `discord` and the database outlive it."""

    discord: Playground
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None

    @property
    def database_url(self) -> str:
        return f"sqlite+aiosqlite:///{self.folder / 'bot.sqlite'}"

    async def start(self) -> None:
        """Start the bot; returns at once."""
        script = self.folder / "start.py"
        script.write_text(START)
        with (self.folder / "log.txt").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(script),
                self.discord.rest_url,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "DISCORD_TOKEN": self.discord.token,
                    "DATABASE_URL": self.database_url,
                    **self.settings,
                },
            )

    async def kill(self) -> None:
        """Kill the bot with SIGKILL and wait until it is gone."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
            await self.process.wait()

    async def shown(self, sessions: int) -> list[Session]:
        """Wait until so many sessions are there and wholly shown; raises when one failed or the bot died."""
        store = Store(self.database_url)
        try:
            while True:
                if self.process is None or self.process.returncode is not None:
                    raise RuntimeError((self.folder / "log.txt").read_text()[-3000:])
                found = await store.sessions(client="discord")
                steps = [step for session in found for step in await store.steps(session.id)]
                for step in steps:
                    if step.state is StepState.FAILED:
                        raise RuntimeError(f"step {step.id}: {step.error}")
                if len(found) >= sessions and steps and all(step.delivered for step in steps):
                    return found
                await asyncio.sleep(0.2)
        finally:
            await store.aclose()


@contextlib.asynccontextmanager
async def real_bot(folder: Path, **settings: str) -> AsyncIterator[RealBot]:
    """Open a loopback Discord and a bot on it that is started by `start`."""
    async with Playground(limits=Limits.loose()) as discord:
        bot = RealBot(discord, folder, settings)
        try:
            yield bot
        finally:
            await bot.kill()
