"""The bot killed with SIGKILL at twenty random moments: nothing lost, nothing twice, the same pictures."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from pipeline.domain import Session, StepState
from pipeline.store import Store
from playground import Gate, Limits, Message, Playground
from tests.bot.conftest import footer

KILLS, KILLS_A_SESSION = 20, 5
PAINTINGS = 1 + 3 + 3  # the first picture, and three objects in each of two recursions
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Graveyard:
    """Starts bots on a playground and a database, and kills them."""

    zygote: asyncio.subprocess.Process
    discord: Playground
    folder: Path
    pid: int = 0
    deaths: list[str] = field(default_factory=list)
    late: Gate | None = None  # where a request of a dead bot waits

    @property
    def database_url(self) -> str:
        return f"sqlite+aiosqlite:///{self.folder / 'bot.sqlite'}"

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger"

    async def start(self, *, dies_at: int = 0, after: bool = False) -> None:
        order = {
            "rest_url": self.discord.rest_url,
            "token": self.discord.token,
            "database_url": self.database_url,
            "ledger": str(self.ledger),
            "log": str(self.folder / "log"),
            "dies_at": dies_at,
            "after": after,
        }
        assert self.zygote.stdin is not None
        assert self.zygote.stdout is not None
        self.zygote.stdin.write(json.dumps(order).encode() + b"\n")
        self.pid = int(await self.zygote.stdout.readline())
        if self.late is not None:
            await self.discord.wait_until_connected()
            self.late.release()
            self.late = None

    @property
    def alive(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    async def buried(self) -> None:
        """Wait until the process is gone: two bots must never share a database."""
        while self.alive:  # noqa: ASYNC110 - it is no child of ours
            await asyncio.sleep(0.005)

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        await self.buried()


@pytest_asyncio.fixture
async def zygote() -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bot.victim",
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    yield process
    assert process.stdin is not None
    process.stdin.close()
    await process.wait()


def with_database(folder: Path, migrated: bytes) -> Path:
    """Make a folder with a fresh database in it."""
    folder.mkdir()
    (folder / "bot.sqlite").write_bytes(migrated)
    return folder


@contextlib.asynccontextmanager
async def graveyard(zygote: asyncio.subprocess.Process, folder: Path) -> AsyncIterator[Graveyard]:
    async with Playground(limits=Limits.loose()) as discord:
        made = Graveyard(zygote, discord, folder)
        try:
            yield made
        finally:
            await made.kill()


async def ask(yard: Graveyard) -> None:
    """Start the first bot and ask it for two recursions."""
    await yard.start()
    await yard.discord.wait_until_connected()
    await yard.discord.wait_until_commands()
    ada = yard.discord.member("ada")
    await ada.slash(yard.discord.general, "imagine", settle=False, prompt="a red jacket", depth=2, seed=7)


async def finished(yard: Graveyard) -> Session:
    """Wait until the session is wholly shown."""
    store = Store(yard.database_url)
    try:
        async with asyncio.timeout(30):
            while True:
                sessions = await store.sessions()
                steps = await store.steps(sessions[0].id) if sessions else []
                if steps and all(step.delivered for step in steps):
                    return sessions[0]
                assert yard.alive, (yard.folder / "log").read_text()
                await asyncio.sleep(0.02)
    finally:
        await store.aclose()


async def pictures(yard: Graveyard) -> list[str]:
    """Return the digests of the session's pictures in the database."""
    store = Store(yard.database_url)
    try:
        steps = await store.steps(1)
        assert [step.state for step in steps] == [StepState.DONE] * 3
        return [hashlib.sha256(await store.picture(step.id) or b"").hexdigest() for step in steps]
    finally:
        await store.aclose()


def shown(yard: Graveyard) -> list[tuple[str, list[str], str]]:
    """Return what the thread shows: footers, files, and the digest of each message's first file."""
    thread = yard.discord.threads()[0]
    return [
        (
            footer(message),
            [file.filename for file in message.attachments],
            hashlib.sha256(message.attachments[0].data).hexdigest() if message.attachments else "",
        )
        for message in yard.discord.messages(thread)
    ]


async def die_at_request(yard: Graveyard, number: int, when: str) -> bool:
    """Let requests pass until the one of this number, and kill the bot there; False if it ended sooner.

    The request never arrives ("before"), is answered to nobody ("after"), or arrives when the next bot is
    already there ("late").
    """
    done = asyncio.create_task(finished(yard))
    try:
        for left in reversed(range(number)):
            gate = yard.discord.faults.hold("*", "", after=when == "after")
            reached = asyncio.create_task(gate.reached.wait())
            await asyncio.wait([reached, done], return_when=asyncio.FIRST_COMPLETED)
            if not reached.done():
                reached.cancel()
                yard.discord.faults.clear()
                return False
            if left:
                gate.release()
                continue
            await yard.kill()
            if when == "late":
                yard.late = gate
            else:
                gate.drop()
        return True
    finally:
        done.cancel()


async def die_at_painting(yard: Graveyard) -> bool:
    """Wait until the bot that is to die at a painting has died; False if it ended sooner."""
    done, dead = asyncio.create_task(finished(yard)), asyncio.create_task(yard.buried())
    await asyncio.wait([dead, done], return_when=asyncio.FIRST_COMPLETED)
    ended = not dead.done()
    for task in (dead, done):
        task.cancel()
    await asyncio.gather(dead, done, return_exceptions=True)
    return not ended


async def die(yard: Graveyard, chance: random.Random) -> bool:
    """Start a bot and have it die somewhere; False if all was done before that."""
    if not yard.deaths or chance.random() < 0.6:
        number, when = chance.randint(1, 9), chance.choice(("before", "after", "late"))
        if yard.deaths:
            await yard.start()
        else:
            await ask(yard)
        died, how = await die_at_request(yard, number, when), f"{when} request {number}"
    else:
        number, after = chance.randint(1, 3), chance.random() < 0.5
        await yard.start(dies_at=number, after=after)
        died, how = await die_at_painting(yard), f"{'after' if after else 'before'} painting {number}"
    if died:
        yard.deaths.append(how)
    return died


async def check(yard: Graveyard, undisturbed: list[tuple[str, list[str], str]], digests: list[str]) -> None:
    discord = yard.discord
    assert await pictures(yard) == digests
    assert shown(yard) == undisturbed
    assert len(discord.threads()) == 1
    starters = [m for m in discord.messages(discord.general) if footer(m)]
    assert [message.id for message in starters] == [discord.threads()[0].id]
    for message in discord.messages(discord.threads()[0]):
        expected = {"🔁": [discord.bot.id]} if " picture " in footer(message) else {}
        assert message.reactions == expected
    store = Store(yard.database_url)
    try:
        posted = [post for step in await store.steps(1) for post in await store.posts(step.id)]
    finally:
        await store.aclose()
    assert sorted(int(post.message) for post in posted) == [m.id for m in thread_messages(discord)]
    painted = Counter(yard.ledger.read_text().split("\n"))
    painted.pop("")
    assert len(painted) == PAINTINGS
    # A death between the end of a painting and its saving costs that one painting.
    assert painted.total() <= PAINTINGS + len(yard.deaths)


def thread_messages(discord: Playground) -> list[Message]:
    return discord.messages(discord.threads()[0])


@pytest.mark.timeout(240)
async def test_killed_at_twenty_moments(
    zygote: asyncio.subprocess.Process, migrated: bytes, tmp_path: Path
) -> None:
    async with graveyard(zygote, with_database(tmp_path / "undisturbed", migrated)) as yard:
        await ask(yard)
        await finished(yard)
        expected, digests = shown(yard), await pictures(yard)
    assert [entry[0].rpartition(" · depth")[0] or entry[0] for entry in expected] == [
        "step 1 · picture",
        "step 2 · picture",
        "step 2 · notes 1 of 1",
        "step 3 · picture",
        "step 3 · notes 1 of 1",
    ]
    chance, deaths = random.Random(2), 0
    while deaths < KILLS:
        async with graveyard(zygote, with_database(tmp_path / str(deaths), migrated)) as yard:
            while len(yard.deaths) < KILLS_A_SESSION and await die(yard, chance):
                pass
            deaths += len(yard.deaths)
            await yard.kill()
            await yard.start()
            await finished(yard)
            print(yard.deaths)
            await check(yard, expected, digests)
