"""What the bot does without a token: it opens the playground, a Discord of this machine's own."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import webbrowser
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from pipeline.errors import ConfigurationError
from pipeline.settings import Settings
from pipeline.store import migrate
from playground import DirectoryInUse, Playground, connect_here

PORT = 8722
FOLDER = Path("data/playground")
MODERATES = "manage_messages manage_threads manage_channels manage_guild"
Run = Callable[[Settings, str], Awaitable[None]]  # run the bot with these settings and this token

WELCOME = """\
There is no DISCORD_TOKEN, so here is the playground: a Discord of your own on this machine, with the real bot
in it. Open this address (it holds the key, and stays good until you delete {folder}):

  {url}

In #general type /imagine and a prompt. You can act as Robin, a member, or as Mika, a moderator. Everything is
kept in {folder}: Ctrl+C stops it, and the next start goes on.

For a real server: https://discord.com/developers/applications -> New Application -> Bot -> Reset Token, put
the token into the file .env here as DISCORD_TOKEN=… and start again; the log has the link to invite the bot.
"""


def play(settings: Settings, run: Run, *, port: int | None = None, browser: bool = True) -> None:
    """Serve the playground and run the bot in it until stopped. Raises ConfigurationError.

    `port`: None = the usual one, or any that is free.
    """
    # A database of its own: with a token, the bot must not look for the playground's threads in Discord.
    FOLDER.mkdir(parents=True, exist_ok=True, mode=0o700)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # a newcomer has other things to read
    own = settings.model_copy(update={"database_url": f"sqlite+aiosqlite:///{FOLDER}/bot.sqlite"})
    migrate(own.database_url)
    asyncio.run(_play(own, run, port=port, browser=browser))


async def _play(settings: Settings, run: Run, *, port: int | None, browser: bool) -> None:
    try:
        playground = Playground(port=_free(port), directory=FOLDER, guild_name="Playground")
    except DirectoryInUse as error:
        raise ConfigurationError(
            f"The playground in {FOLDER} runs already: use the address that its terminal shows, or stop it."
        ) from error
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    async with playground as discord:
        connect_here(discord.rest_url)
        discord.member("robin")
        discord.member("mika", permissions=MODERATES)
        print(WELCOME.format(url=discord.page_url, folder=FOLDER), flush=True)
        if browser and _has_screen():
            with suppress(webbrowser.Error, OSError):
                await asyncio.to_thread(webbrowser.open, discord.page_url)
        await run(settings, discord.token)


def _free(port: int | None) -> int:
    """Return the port to listen on; the usual one as long as it is free, so that links stay good."""
    wanted = PORT if port is None else port
    try:
        with socket.create_server(("127.0.0.1", wanted)):
            return wanted
    except OSError as error:
        if port is None:
            return 0
        raise ConfigurationError(f"Port {port} is taken; leave --port out to get a free one.") from error


def _has_screen() -> bool:
    # Elsewhere a browser may be one of the terminal's, which would take the terminal over.
    return sys.platform in ("win32", "darwin") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
