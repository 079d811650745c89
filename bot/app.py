"""Put the bot together and run it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys

import aiohttp
import discord
from pydantic import ValidationError

from bot.client import Client, Pace
from pipeline.assembly import open_pipeline
from pipeline.engine import Pipeline
from pipeline.errors import ConfigurationError, ContextualDiffusionError
from pipeline.settings import Settings, explain
from pipeline.store import migrate

log = logging.getLogger(__name__)

NO_DISCORD = """\
There is no token, so there is no Discord to connect to.

To get one (free, two minutes):
  1. https://discord.com/developers/applications -> New Application
  2. Bot -> Reset Token, copy it
  3. put it into the file .env here:  DISCORD_TOKEN=…
  4. uv run bot.py  - the log shows the link that adds the bot to your server

To try it without Discord:
  uv run python -m pipeline imagine "1girl, city background, red jacket, night sky" --depth 1
"""


def main(argv: list[str] | None = None) -> int:
    """Run the bot, or register its commands; return the process's exit status."""
    parser = argparse.ArgumentParser(prog="bot.py", description="The Contextual Diffusion bot.")
    parser.add_argument(
        "command",
        nargs="?",
        choices=("run", "sync"),
        default="run",
        help="run the bot (what it does without a word), or register its commands again and stop",
    )
    args = parser.parse_args(argv)
    try:
        settings = Settings()  # type: ignore[call-arg]
    except ValidationError as error:
        return _stop(explain(error))
    if settings.discord_token is None:
        return _stop(NO_DISCORD)
    discord.utils.setup_logging(level=getattr(logging, settings.log_level))
    # In detail, discord.py logs what it sends and receives, tokens among it.
    logging.getLogger("discord").setLevel(max(logging.INFO, getattr(logging, settings.log_level)))
    try:
        migrate(settings.database_url)
        asyncio.run(_run(settings, settings.discord_token.get_secret_value(), args.command))
    except ContextualDiffusionError as error:
        return _stop(str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        log.info("stopped; what was being painted goes on at the next start")
    return 0


async def _run(settings: Settings, token: str, command: str) -> None:
    task = asyncio.current_task()
    if task is not None and sys.platform != "win32":
        # As for Ctrl+C, so for a service manager's stop: leave in order.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with open_pipeline(settings) as pipeline:
        if command == "sync":
            await sync(pipeline, settings, token)
        else:
            await serve(pipeline, settings, token)


async def serve(pipeline: Pipeline, settings: Settings, token: str, *, pace: Pace | None = None) -> None:
    """Connect and work until the process is asked to stop. Raises ConfigurationError."""
    async with (
        pipeline.store.alone("discord"),
        Client(pipeline=pipeline, settings=settings, pace=pace) as client,
    ):
        await _login(client, token)
        await client.work()


async def sync(pipeline: Pipeline, settings: Settings, token: str) -> list[str]:
    """Register the commands, whether or not they changed; return their names. Raises ConfigurationError."""
    async with Client(pipeline=pipeline, settings=settings) as client:
        await _login(client, token)
        return await client.sync()


async def _login(client: Client, token: str) -> None:
    try:
        await client.login(token)
    except discord.LoginFailure as error:
        raise ConfigurationError(
            "Discord does not accept the token in DISCORD_TOKEN; copy it again from the developer portal "
            "(Bot -> Reset Token)."
        ) from error
    except (aiohttp.ClientError, OSError) as error:
        raise ConfigurationError(
            f"Discord cannot be reached ({type(error).__name__}); check the network and start again."
        ) from error


def _stop(text: str) -> int:
    print(text, file=sys.stderr)
    return 1
