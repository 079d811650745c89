"""The real bot killed with SIGKILL at random moments of two-recursion sessions, with the embedded models.

    uv run python -m benchmarks.kills [--kills 20] [--each 5] [--seed 1]

Every session must end with the pictures of an undisturbed run of the same seed, every message posted once.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.console import Console

from benchmarks.real_bot import RealBot, real_bot
from pipeline.store import Store

PROMPT = "1girl, full body, city background, walking, red jacket, night sky"
console = Console(highlight=False)


async def ask(bot: RealBot) -> None:
    """Start the bot and ask it for two recursions."""
    await bot.start()
    await bot.discord.wait_until_connected(timeout=120)
    await bot.discord.wait_until_commands(timeout=120)
    await bot.discord.member("ada").slash(bot.discord.general, "imagine", prompt=PROMPT, depth=2, seed=7)


async def outcome(bot: RealBot) -> tuple[list[str], Counter[str]]:
    """Return the pictures' SHA-256, and how often each part of a step was posted (by its footer)."""
    (session,) = await bot.shown(1)
    store = Store(bot.database_url)
    pictures = [await store.picture(step.id) for step in await store.steps(session.id)]
    digests = [hashlib.sha256(png or b"").hexdigest() for png in pictures]
    await store.aclose()
    (thread,) = bot.discord.threads()
    footers = Counter(
        embed["footer"]["text"]
        for message in bot.discord.messages(thread)
        for embed in message.embeds
        if embed.get("footer")
    )
    return digests, footers


async def run(kills: int, each: int, seed: int) -> bool:
    """Run everything; True when every session ended as it should."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        async with real_bot(Path(folder)) as bot:
            await ask(bot)
            expected = await outcome(bot)
        took = time.monotonic() - start
    console.print(
        f"undisturbed: {took:.0f} s, {len(expected[0])} pictures, {sum(expected[1].values())} posts"
    )
    good, done = True, 0
    while done < kills:
        with tempfile.TemporaryDirectory() as folder:
            async with real_bot(Path(folder)) as bot:
                await ask(bot)
                moments = []
                for _ in range(min(each, kills - done)):
                    moment = chance.uniform(0, took)
                    ended = asyncio.create_task(bot.shown(1))
                    finished, _ = await asyncio.wait([ended], timeout=moment)
                    ended.cancel()
                    if finished and not ended.cancelled() and ended.exception() is None:
                        break  # there is nothing left to disturb
                    await bot.kill()
                    moments.append(f"{moment:.1f} s")
                    await bot.start()
                done += len(moments)
                same = await outcome(bot) == expected
                good = good and same
                console.print(
                    f"{done} of {kills} kills (after {', '.join(moments) or 'none'}): "
                    + ("the same pictures, each message once" if same else "[red]DIFFERENT")
                )
    return good


def main() -> int:
    """Run and return the process's exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--each", type=int, default=5, help="kills in one session at most")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    return 0 if asyncio.run(run(args.kills, args.each, args.seed)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
