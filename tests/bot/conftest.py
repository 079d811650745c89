"""The unmodified bot, with fast collaborators, on a loopback Discord."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bot.app import serve
from bot.client import Pace
from pipeline.domain import Limits
from pipeline.engine import EngineOptions, Pipeline
from pipeline.errors import NotFound
from pipeline.settings import Settings
from pipeline.store import Store, migrate
from playground import Channel, Message, Playground, connect_here
from playground import Limits as RateLimits
from tests.fakes import FixedSegmenter, PaintingGenerator, PlainWriter

FAST = Pace(progress=0.02, retry=0.05, queue=0.02, guilds=0.05)


@dataclass
class House:
    """A bot that can be started and stopped, its collaborators and its database."""

    discord: Playground
    url: str
    generator: PaintingGenerator = field(default_factory=PaintingGenerator)
    segmenter: FixedSegmenter = field(default_factory=FixedSegmenter)
    writer: PlainWriter = field(default_factory=PlainWriter)
    settings: dict[str, Any] = field(default_factory=dict)
    options: EngineOptions = field(default_factory=EngineOptions)
    limits: Limits | None = None
    task: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.store = Store(self.url)  # the test's own; a bot closes its own

    async def start(self) -> None:
        """Start the bot and wait until members can use it."""
        self.pipeline = self.make_pipeline()
        self.task = asyncio.create_task(self._serve(self.pipeline))
        connected = asyncio.create_task(self.discord.wait_until_connected())
        await asyncio.wait([self.task, connected], return_when=asyncio.FIRST_COMPLETED)
        if self.task.done():
            connected.cancel()
            self.task.result()
        await self.discord.wait_until_commands()

    def make_settings(self) -> Settings:
        return Settings(_env_file=None, database_url=self.url, **self.settings)  # type: ignore[call-arg]

    def make_pipeline(self) -> Pipeline:
        return Pipeline(
            generator=self.generator,
            segmenter=self.segmenter,
            writer=self.writer,
            store=Store(self.url, limits=self.limits),
            options=self.options,
        )

    async def _serve(self, pipeline: Pipeline) -> None:
        try:
            await serve(pipeline, self.make_settings(), self.discord.token, pace=FAST)
        finally:
            await pipeline.store.aclose()

    async def stop(self) -> None:
        """Stop the bot as Ctrl+C does."""
        if self.task is not None:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task
            self.task = None
            await asyncio.sleep(0)  # discord.py has scheduled a last event

    # What there is to see

    def footers(self, channel: Channel | int) -> list[str]:
        """Return the footers of our messages in a channel, in order, as far as they name a part."""
        return [footer(message) for message in self.discord.messages(channel) if footer(message)]

    async def shown(self, channel: Channel | int, mark: str) -> Message:
        """Wait for a message whose footer begins with this."""
        return await self.discord.wait_for_message(
            channel, lambda m: footer(m) == mark or footer(m).startswith(f"{mark} ")
        )

    async def delivered(self, *step_ids: int) -> None:
        """Wait until these steps are wholly shown."""
        async with asyncio.timeout(15):
            for step_id in step_ids:
                while not await self._is_delivered(step_id):  # noqa: ASYNC110 - a database tells nobody
                    await asyncio.sleep(0.01)

    async def states(self, session_id: int) -> list[str]:
        """Return the states of a session's steps."""
        return [step.state.value for step in await self.store.steps(session_id)]

    async def _is_delivered(self, step_id: int) -> bool:
        try:
            return (await self.store.step(step_id)).delivered
        except NotFound:
            return False

    async def thread(self) -> Channel:
        """Wait for the newest thread."""
        threads = await self.discord.wait_for(lambda: self.discord.threads(self.discord.general))
        return threads[-1]


def footer(message: Message) -> str:
    """Return the last footer of a message's embeds."""
    texts = [(embed.get("footer") or {}).get("text", "") for embed in message.embeds]
    return next((text for text in reversed(texts) if text), "")


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database with today's tables, as a file's bytes."""
    path = tmp_path_factory.mktemp("database") / "migrated.sqlite"
    migrate(f"sqlite+aiosqlite:///{path}")
    return path.read_bytes()


@pytest.fixture
def database(migrated: bytes, tmp_path: Path) -> str:
    """The URL of a fresh database."""
    path = tmp_path / "bot.sqlite"
    path.write_bytes(migrated)
    return f"sqlite+aiosqlite:///{path}"


@pytest_asyncio.fixture
async def discord() -> AsyncIterator[Playground]:
    async with Playground(limits=RateLimits.loose()) as server:
        connect_here(server.rest_url)
        yield server


MakeHouse = Callable[..., House]


@pytest_asyncio.fixture
async def make_house(discord: Playground, database: str) -> AsyncIterator[MakeHouse]:
    """Make bots that are stopped after the test."""
    houses: list[House] = []

    def make(**changes: Any) -> House:
        houses.append(House(discord, database, **changes))
        return houses[-1]

    yield make
    for house in houses:
        await house.stop()
        await house.store.aclose()


@pytest_asyncio.fixture
async def house(make_house: MakeHouse) -> House:
    """A running bot."""
    made = make_house()
    await made.start()
    return made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # A bot that is stopped before it was ready: discord.py's wait for the last guild still goes on, and then
    # finds no loop to tell of it in.
    quiet = pytest.mark.filterwarnings(
        "ignore:coroutine 'Client._run_event' was never awaited:RuntimeWarning"
    )
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(quiet)
