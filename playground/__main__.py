"""`python -m playground`: a loopback Discord in a process of its own, its addresses as one line of JSON."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from pathlib import Path

from playground.limits import Limits
from playground.server import Playground


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="playground", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--token", help="the bot's token; random unless given")
    parser.add_argument("--guild", default="Playground", help="the guild's name")
    parser.add_argument("--message-content", action="store_true", help="grant the message-content intent")
    parser.add_argument("--loose-limits", action="store_true", help="no rate limits to speak of")
    parser.add_argument("--directory", type=Path, help="where to keep everything; in memory unless given")
    return parser.parse_args(argv)


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows has KeyboardInterrupt instead
            asyncio.get_running_loop().add_signal_handler(name, stop.set)
    playground = Playground(
        port=arguments.port,
        token=arguments.token,
        guild_name=arguments.guild,
        message_content=arguments.message_content,
        limits=Limits.loose() if arguments.loose_limits else None,
        directory=arguments.directory,
    )
    async with playground as discord:
        line = {
            "url": discord.url,
            "page_url": discord.page_url,
            "rest_url": discord.rest_url,
            "gateway_url": discord.gateway_url,
            "token": discord.token,
            "admin_token": discord.admin_token,
            "guild_id": str(discord.guild.id),
            "channel_id": str(discord.general.id),
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(_arguments(sys.argv[1:])))
