"""How soon /imagine is acknowledged while every core is busy and the bot is painting.

uv run python -m benchmarks.acknowledge [--requests 50] [--burners 4]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path

from rich.console import Console

from benchmarks.real_bot import real_bot


def burn() -> None:
    """Keep a core busy."""
    while True:
        sum(range(10_000))


async def measure(requests: int) -> list[float]:
    """Return the seconds until each /imagine was acknowledged, members asking one every 0.2 s."""
    with tempfile.TemporaryDirectory() as folder:
        async with real_bot(Path(folder), MAX_OBJECTS="1") as bot:
            await bot.start()
            await bot.discord.wait_until_connected(timeout=120)
            await bot.discord.wait_until_commands(timeout=120)
            taken = []
            for number in range(requests):
                member = bot.discord.member(f"member {number}")
                sent = await member.slash(bot.discord.general, "imagine", prompt="1girl, night sky", depth=1)
                if sent.failed or sent.acknowledged_after is None:
                    raise RuntimeError("a command was not acknowledged within Discord's three seconds")
                taken.append(sent.acknowledged_after)
                await asyncio.sleep(0.2)
            return taken


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--burners", type=int, default=2 * (os.cpu_count() or 1))
    args = parser.parse_args()
    burners = [multiprocessing.Process(target=burn, daemon=True) for _ in range(args.burners)]
    for burner in burners:
        burner.start()
    start = time.perf_counter()
    taken = sorted(asyncio.run(measure(args.requests)))
    for burner in burners:
        burner.kill()
    Console(highlight=False).print(
        f"{len(taken)} /imagine in {time.perf_counter() - start:.0f} s, {args.burners} busy processes on "
        f"{os.cpu_count()} cores: acknowledged after {statistics.median(taken):.3f} s (median), "
        f"{taken[min(len(taken) - 1, round(0.99 * len(taken)))]:.3f} s (99th percentile), "
        f"{taken[-1]:.3f} s (longest)"
    )


if __name__ == "__main__":
    main()
