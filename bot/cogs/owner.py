"""/status: how the bot is doing; and for its owner, how the machine is."""

# No postponed annotations here: discord.py reads the callback's.

import math
import platform
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import discord
import psutil
from discord import app_commands

from bot import texts
from bot.translations import tr
from pipeline.checkup import disk, examine, name_writer, picture_backend
from pipeline.domain import StepKind, StepState
from pipeline.settings import ROOT, Settings

if TYPE_CHECKING:
    from bot.client import Client

_LOOK = 5.0  # seconds that the look at the picture backend may take

Census = Mapping[tuple[StepKind, StepState], int]


def status_command(client: "Client") -> app_commands.Command:
    """Make the command."""

    @app_commands.command(
        name="status", description="How the bot is doing: what is queued, what runs, and with which models"
    )
    @app_commands.allowed_contexts(guilds=True, dms=True, private_channels=False)
    @app_commands.allowed_installs(guilds=True, users=False)
    async def status(interaction: discord.Interaction) -> None:
        await interaction.response.defer(ephemeral=True)
        owned = await client.is_owner(interaction.user)
        census = await client.pipeline.store.census("discord")
        (painting, *_) = await examine(client.settings, {"picture backend": picture_backend}, timeout=_LOOK)
        embeds = [_overview(client, census, well=painting.state != "fail")]
        if owned:
            embeds.append(await _details(client, census, painting.said))
        await interaction.edit_original_response(embeds=embeds)

    return status


def _overview(client: "Client", census: Census, *, well: bool) -> discord.Embed:
    settings = client.settings
    embed = discord.Embed(title=tr("Status"), colour=discord.Colour(0x7C6FD9 if well else 0xD9576F))
    queued, running = (_count(census, state) for state in (StepState.QUEUED, StepState.RUNNING))
    _field(embed, tr("Waiting"), f"{queued:,}")
    _field(
        embed,
        tr("Running"),
        tr("{count} of {most} at the same time", count=running, most=settings.concurrency),
    )
    _field(embed, tr("Pictures so far"), f"{_count(census, StepState.DONE):,}")
    painter = client.pipeline.info.name
    _field(embed, tr("Paints"), painter if well else tr("{name}: not working at the moment", name=painter))
    finders = dict.fromkeys(Path(file).stem for file in settings.segmenters.values())
    _field(embed, tr("Finds objects"), f"Mask R-CNN: {', '.join(finders)}")
    _field(embed, tr("Writes"), name_writer(settings))
    embed.set_footer(
        text=tr(
            "Version {version} · up for {time}", version=program_version(), time=_since(client.started_at)
        )
    )
    return embed


async def _details(client: "Client", census: Census, painting: str) -> discord.Embed:
    """Tell the owner what is nobody else's business; no secrets all the same: people share screenshots."""
    embed = discord.Embed(title=tr("For you, who runs the bot"), colour=discord.Colour(0x9A94A8))
    process = psutil.Process()
    memory = sum(part.memory_info().rss for part in (process, *_children(process)))
    (room,) = await disk(client.settings, _LOOK)
    _field(embed, tr("Picture backend"), texts.clip(painting, texts.FIELD))
    _field(embed, tr("Database"), _kind_of_database(client.settings))
    _field(
        embed,
        tr("Failed, cancelled"),
        f"{_count(census, StepState.FAILED):,}, {_count(census, StepState.CANCELLED):,}",
    )
    _field(embed, tr("Servers"), f"{len(client.guilds):,}")
    latency = client.latency * 1000  # not a number before the first answer, infinite without a gateway
    _field(embed, tr("Gateway"), f"{latency:.0f} ms" if math.isfinite(latency) else tr("none"))
    _field(embed, tr("Memory"), tr("{size} with workers", size=texts.size_of(memory)))
    _field(embed, tr("Disk"), room.said)
    _field(embed, "Python", f"{platform.python_version()}, discord.py {discord.__version__}")
    return embed


def program_version() -> str:
    """Return the program's version: the installed package's, else what pyproject.toml says."""
    try:
        return version("contextual-diffusion")
    except PackageNotFoundError:
        import tomllib

        return str(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def _children(process: psutil.Process) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for child in process.children(recursive=True):
        try:
            child.memory_info()
        except psutil.Error:
            continue  # ended meanwhile
        found.append(child)
    return found


def _kind_of_database(settings: Settings) -> str:
    return "SQLite" if settings.database_url.startswith("sqlite") else "PostgreSQL"


def _count(census: Census, state: StepState) -> int:
    return sum(count for (_, of), count in census.items() if of is state)


def _since(begin: datetime) -> str:
    gone = datetime.now(UTC) - begin
    return str(timedelta(seconds=int(gone.total_seconds())))


def _field(embed: discord.Embed, name: str, value: str) -> None:
    embed.add_field(name=name, value=value or "-")
