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

from bot import logs
from bot.client import Client, Pace
from bot.doctor import diagnose
from bot.metrics import answering, make_metrics
from bot.playing import PORT, play
from pipeline.assembly import open_pipeline
from pipeline.engine import Pipeline
from pipeline.errors import ConfigurationError, ContextualDiffusionError
from pipeline.settings import Settings, explain
from pipeline.store import migrate

log = logging.getLogger(__name__)

NO_DISCORD = """\
There is no token, so there is no Discord whose commands could be registered: see README, "Run the bot".
Without one, `uv run bot.py` opens a playground on this machine.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the bot, register its commands, or look what is wrong; return the process's exit status."""
    parser = argparse.ArgumentParser(prog="bot.py", description="The Contextual Diffusion bot.")
    parser.add_argument(
        "command",
        nargs="?",
        choices=("run", "sync", "doctor"),
        default="run",
        help="run the bot (what it does without a word), register its commands again and stop, "
        "or look at everything that it needs and say what to do",
    )
    parser.add_argument(
        "--timeout", type=float, default=60, help="seconds that each look of the doctor may take (60)"
    )
    parser.add_argument("--no-browser", action="store_true", help="without a token: open no browser")
    parser.add_argument("--port", type=int, help=f"without a token: the playground's port ({PORT})")
    args = parser.parse_args(argv)
    try:
        settings = Settings()  # type: ignore[call-arg]
    except ValidationError as error:
        return _stop(explain(error))
    if args.command == "doctor":
        logs.set_up(settings.model_copy(update={"log_level": "WARNING"}))  # the table says what is well
        return diagnose(settings, timeout=args.timeout)
    if settings.discord_token is None and args.command != "run":
        return _stop(NO_DISCORD)
    logs.set_up(settings)
    try:
        if settings.discord_token is None:
            play(settings, _run, port=args.port, browser=not args.no_browser)
        else:
            migrate(settings.database_url)
            asyncio.run(_run(settings, settings.discord_token.get_secret_value(), args.command))
    except ContextualDiffusionError as error:
        return _stop(str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        log.info("stopped; what was being painted goes on at the next start")
    return 0


async def _run(settings: Settings, token: str, command: str = "run") -> None:
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
    metrics = make_metrics(settings)
    async with (
        # Two bots on one database would paint everything twice.
        pipeline.store.alone("discord"),
        Client(pipeline=pipeline, settings=settings, pace=pace, metrics=metrics) as client,
    ):
        await _login(client, token)
        async with answering(client, settings, metrics):
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
