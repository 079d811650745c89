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

    async def on_resumed(self) -> None:
        self.resumed += 1

    async def on_message(self, message: discord.Message) -> None:
        if message.author != self.user:
            self.heard.append(message)

    async def on_raw_reaction_add(self, event: discord.RawReactionActionEvent) -> None:
        self.reactions.append(event)


Run = Callable[[SmallBot], Awaitable[None]]


@contextlib.asynccontextmanager
async def running(bot: SmallBot, server: Playground) -> AsyncIterator[None]:
    """Run a bot on the playground: inside, it is ready."""
    before = server.gateway.identifies
    async with bot:
        task = asyncio.create_task(bot.start(server.token))
        ready = asyncio.create_task(bot.wait_until_ready()) if bot.loop else None
        try:
            await server.wait_for(lambda: server.gateway.identifies > before or task.done())
            if task.done():
                task.result()
            await asyncio.wait_for(bot.wait_until_ready(), 10)
            yield
        finally:
            if ready is not None:
                ready.cancel()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def png(colour: str = "red", size: tuple[int, int] = (40, 30)) -> bytes:
    """Return a plain picture."""
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()
