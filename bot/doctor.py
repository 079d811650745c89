"""`bot.py doctor`: look at everything that the bot needs, and say what to do."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Mapping, Sequence

import aiohttp
import discord
from discord.http import Route
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from bot.client import intents
from bot.logs import Secrets
from bot.texts import size_of
from pipeline.checkup import PROBES as PIPELINE
from pipeline.checkup import Finding, Probe, examine
from pipeline.settings import Settings

_SIGNS = {"ok": "[green]ok[/]", "warn": "[yellow]warn[/]", "fail": "[red]fail[/]"}
_MESSAGE_CONTENT = (1 << 18) | (1 << 19)  # flags of an application: may read all messages, or a few bots' may
# Three parts: the bot's id in base64, a time, a signature.
_TOKEN = re.compile(r"(?P<id>[\w-]{18,})\.[\w-]{6}\.[\w-]{27,}")


async def token(settings: Settings, timeout: float) -> list[Finding]:
    """Look at the token's form, and ask Discord whose it is."""
    what = "token"
    if settings.discord_token is None:
        todo = "Put DISCORD_TOKEN into .env to run the bot in Discord; bot.py tells how to get one."
        return [Finding(what, "warn", "there is none", todo)]
    secret = settings.discord_token.get_secret_value()
    copy = "Copy it again from the developer portal (Bot -> Reset Token) into DISCORD_TOKEN."
    if secret != secret.strip() or secret.lower().startswith("bot "):
        return [Finding(what, "fail", "there is a space or the word Bot before or after it", copy)]
    well_formed = _id_of(secret) is not None
    headers = {"Authorization": f"Bot {secret}"}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout)) as session,
            session.get(f"{Route.BASE}/applications/@me", headers=headers) as answer,
        ):
            status, body = answer.status, await answer.json() if answer.status == 200 else {}
    except (aiohttp.ClientError, OSError, ValueError) as error:
        form = "its form is right" if well_formed else "its form is not that of a token"
        said = f"{form}; Discord cannot be reached ({type(error).__name__})"
        return [Finding(what, "fail", said, "Check the network, and whether a proxy is in the way.")]
    if status == 401:
        return [Finding(what, "fail", "Discord does not accept it", copy)]
    if status != 200:
        return [Finding(what, "warn", f"Discord answers {status}", "Try again in a few minutes.")]
    return [*_application(body)]


def _application(body: Mapping[str, object]) -> Sequence[Finding]:
    """Read what Discord says of the application: its name, its servers, its intents."""
    servers = body.get("approximate_guild_count")
    said = f"Discord accepts it: {body.get('name', 'unnamed')}"
    found = [Finding("token", "ok", said + (f", in {servers} servers" if servers is not None else ""))]
    if servers == 0:
        todo = "Start the bot: its log shows the link with which it is added to a server."
        found = [Finding("token", "warn", f"{said}, in no server yet", todo)]
    asked = [name for name, on in intents() if on]
    privileged = {"members", "presences", "message_content"} & set(asked)
    flags = int(str(body.get("flags") or 0))
    if "message_content" in privileged and not flags & _MESSAGE_CONTENT:
        todo = "Switch on Message Content Intent in the developer portal (Bot -> Privileged Gateway Intents)."
        return [*found, Finding("intents", "fail", "message content is asked for and not allowed", todo)]
    count = f"{len(asked)} asked for, {len(privileged) or 'none'} of them privileged"
    return [*found, Finding("intents", "ok", count)]


def _id_of(secret: str) -> int | None:
    """Return the bot's id, which a token begins with; None if this is no token."""
    match = _TOKEN.fullmatch(secret)
    if match is None:
        return None
    try:
        return int(base64.urlsafe_b64decode(match["id"] + "=" * (-len(match["id"]) % 4)))
    except (ValueError, binascii.Error):
        return None


async def uploads(settings: Settings, timeout: float) -> list[Finding]:
    """Compare the largest picture of the usual size with what Discord takes."""
    what, limit = "uploads", discord.utils.DEFAULT_FILE_SIZE_LIMIT_BYTES
    usual = 768 if settings.diffusion_url.startswith("embedded") else settings.diffusion_native_size
    width, height = settings.picture_width or usual, settings.picture_height or usual
    most = width * height * 3 + 20_000  # a PNG of noise, with its texts
    said = f"a picture of {width} × {height} has at most {size_of(most)}; servers take {size_of(limit)}"
    if most <= limit:
        return [Finding(what, "ok", said)]
    todo = "Larger ones are shown as WebP and kept whole; set PICTURE_WIDTH and PICTURE_HEIGHT to avoid that."
    return [Finding(what, "warn", said, todo)]


PROBES: Mapping[str, Probe] = {"token": token, **PIPELINE, "uploads": uploads}


def diagnose(settings: Settings, *, timeout: float, console: Console | None = None) -> int:
    """Print what is well and what is not; return the process's exit status: 1 if something fails."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 120)
    with console.status("Looking at everything; the models take some seconds …"):
        findings = asyncio.run(examine(settings, PROBES, timeout=timeout))
    secrets = Secrets(settings)
    table = Table(box=SIMPLE, show_edge=False, pad_edge=False)
    for heading in ("", "what", "found"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        said = secrets.hide(finding.said)
        if finding.todo:
            said += f"\n→ {secrets.hide(finding.todo)}"
        table.add_row(_SIGNS[finding.state], finding.what, _plain(said))
    console.print(table)
    failed = sum(finding.state == "fail" for finding in findings)
    warned = sum(finding.state == "warn" for finding in findings)
    console.print(f"\n{_count(failed, 'thing')} to mend, {_count(warned, 'warning')}.")
    return 1 if failed else 0


def _plain(text: str) -> str:
    """Keep rich from reading marks into a text."""
    return text.replace("[", "\\[")


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
