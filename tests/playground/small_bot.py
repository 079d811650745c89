"""A small bot on the unmodified discord.py."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable

import discord
from discord import app_commands
from PIL import Image

from playground import Playground


class SmallBot(discord.Client):
    """A bot that a test gives its commands; it keeps what it hears."""

    def __init__(self, *, message_content: bool = False) -> None:
        intents = discord.Intents(guilds=True, guild_messages=True, guild_reactions=True, dm_messages=True)
        intents.message_content = message_content
        super().__init__(intents=intents, guild_ready_timeout=0.05)
        self.tree = app_commands.CommandTree(self)
        self.heard: list[discord.Message] = []
        self.reactions: list[discord.RawReactionActionEvent] = []
        self.errors: asyncio.Queue[BaseException] = asyncio.Queue()
        self.stirred = asyncio.Event()
        self.resumed = 0
        self.readied = 0
        self.tree.error(self._keep_error)

    async def _keep_error(
        self, interaction: discord.Interaction, error: app_commands.AppCommandError
    ) -> None:
        self.errors.put_nowait(error.__cause__ or error)

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Don't wait five seconds before a new session."""

    async def setup_hook(self) -> None:
        await self.tree.sync()

    async def on_ready(self) -> None:
        self.readied += 1
        self.stirred.set()

    async def on_resumed(self) -> None:
        self.resumed += 1
        self.stirred.set()

    async def on_message(self, message: discord.Message) -> None:
        if message.author != self.user:
            self.heard.append(message)
            self.stirred.set()

    async def on_raw_reaction_add(self, event: discord.RawReactionActionEvent) -> None:
        self.reactions.append(event)
        self.stirred.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Return once what the bot heard makes the condition true."""
        async with asyncio.timeout(10):
            while not condition():
                self.stirred.clear()
                await self.stirred.wait()


Run = Callable[[SmallBot], Awaitable[None]]


@contextlib.asynccontextmanager
async def running(bot: SmallBot, server: Playground) -> AsyncIterator[None]:
    """Run a bot on the playground: inside, it is ready."""
    async with bot:
        task = asyncio.create_task(bot.start(server.token))
        ready = asyncio.create_task(bot.until(lambda: bot.readied))
        try:
            await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            yield
        finally:
            for each in (ready, task):
                each.cancel()
            await asyncio.gather(ready, task, return_exceptions=True)


def png(colour: str = "red", size: tuple[int, int] = (40, 30)) -> bytes:
    """Return a plain picture."""
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()
