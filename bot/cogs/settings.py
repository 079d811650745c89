"""/settings: what a member, a channel and a server want without saying it each time."""

# No postponed annotations here: discord.py reads the options from them, and these are not global.

from typing import TYPE_CHECKING

import discord
from discord import app_commands

from bot import texts
from bot.preferences import LEVELS, Level, Preference, preferences, read_level, shown, write
from bot.rules import channel_of
from bot.translations import named, tr, translated
from pipeline.errors import InvalidRequest

if TYPE_CHECKING:
    from bot.client import Client

_NEEDED = {"channel": "Manage Channels", "server": "Manage Server"}
_LEVEL_CHOICES = [
    app_commands.Choice(name="for me", value="member"),
    app_commands.Choice(name="for this channel", value="channel"),
    app_commands.Choice(name="for this server", value="server"),
]


def settings_group(client: "Client") -> app_commands.Group:
    """Make /settings show, set and reset."""
    known = preferences(client.pipeline.options, client.settings)
    name_choices = [app_commands.Choice(name=item.name, value=item.name) for item in known.values()]
    group = app_commands.Group(
        name="settings",
        description="What you, this channel or this server want without saying it each time",
        allowed_contexts=app_commands.AppCommandContext(guild=True, dm_channel=True, private_channel=False),
        allowed_installs=app_commands.AppInstallationType(guild=True, user=False),
    )

    @group.command(name="show", description="Show what counts for you here, and where it comes from")
    async def show(interaction: discord.Interaction) -> None:
        await interaction.response.send_message(
            embed=await _shown(client, interaction, known), ephemeral=True
        )

    @group.command(name="set", description="Set what pictures are like, or what is allowed")
    @app_commands.describe(name="What to set", value="What it should be", level="For whom (for me)")
    @app_commands.choices(name=name_choices, level=_LEVEL_CHOICES)
    async def set_(
        interaction: discord.Interaction,
        name: app_commands.Choice[str],
        value: app_commands.Range[str, 1, 4000],
        level: app_commands.Choice[str] | None = None,
    ) -> None:
        item = known[name.value]
        where, place = _place(interaction, item, level)
        kept = item.read(value, interaction.guild)
        if item.name in ("model", "sampler"):
            given = {"model": "", "sampler": "", item.name: kept}
            kept = "".join(await client.offers.check(given["model"], given["sampler"]))
        await write(client.pipeline.store, where, place, item.name, kept)
        text = tr(
            "Set for {whom}: {name} = {value}",
            whom=_whom(where),
            name=named(item.name),
            value=_written(item.name, kept),
        )
        await interaction.response.send_message(texts.clip(text, texts.CONTENT), ephemeral=True)

    @group.command(name="reset", description="Forget what was set")
    @app_commands.describe(name="What to forget (all)", level="For whom (for me)")
    @app_commands.choices(name=name_choices, level=_LEVEL_CHOICES)
    async def reset(
        interaction: discord.Interaction,
        name: app_commands.Choice[str] | None = None,
        level: app_commands.Choice[str] | None = None,
    ) -> None:
        item = known[name.value] if name is not None else None
        where, place = _place(interaction, item, level)
        found = await read_level(client.pipeline.store, where, place)
        gone = [entry for entry in found if item is None or entry == item.name]
        if not gone:
            raise InvalidRequest(f"Nothing of that was set for {_for(where)}.")
        for entry in gone:
            await write(client.pipeline.store, where, place, entry, None)
        text = tr("Forgotten for {whom}: {names}.", whom=_whom(where), names=", ".join(map(named, gone)))
        await interaction.response.send_message(text, ephemeral=True)

    @set_.autocomplete("value")
    async def complete(interaction: discord.Interaction, typed: str) -> list[app_commands.Choice[str]]:
        return await _complete(client, interaction, typed)

    return group


def _place(
    interaction: discord.Interaction, item: Preference | None, level: app_commands.Choice[str] | None
) -> tuple[Level, str]:
    """Return at which level, and the id there. Raises InvalidRequest where the member may not set that."""
    allowed = item.levels if item is not None else LEVELS
    wanted = level.value if level is not None else allowed[0]
    where = next((known for known in LEVELS if known == wanted), LEVELS[0])
    if where not in allowed:
        raise InvalidRequest(f"{item.name if item else ''} can be set for this server only.")
    if where == "member":
        return where, str(interaction.user.id)
    if interaction.guild_id is None:
        raise InvalidRequest("That can be set in a server only.")
    has = interaction.permissions
    if not (has.manage_guild if where == "server" else has.manage_channels):
        raise InvalidRequest(f"For {_for(where)} only who has the permission {_NEEDED[where]} can set that.")
    return where, str(interaction.guild_id if where == "server" else channel_of(interaction))


def _for(level: Level) -> str:
    return {"member": "you", "channel": "this channel", "server": "this server"}[level]


def _whom(level: Level) -> str:
    return {"member": tr("you"), "channel": tr("this channel"), "server": tr("this server")}[level]


def _written(name: str, value: str) -> str:
    """Write a value for members; what they typed themselves is made harmless."""
    return shown(name, value) if name in ("gallery", "iterate", "priority") else texts.quote(value, 300)


async def _shown(
    client: "Client", interaction: discord.Interaction, known: dict[str, Preference]
) -> discord.Embed:
    store = client.pipeline.store
    server_only = await read_level(store, "server", str(interaction.guild_id or ""))
    counts = await client.rules.wanted(interaction)
    yours = {"member": tr("yours"), "channel": tr("this channel's"), "server": tr("this server's")}
    lines = []
    for item in known.values():
        everyones = "member" in item.levels
        value = counts.values.get(item.name) if everyones else server_only.get(item.name)
        said = translated(item.description)
        if value is None:
            lines.append(f"**{named(item.name)}** {tr('not set')}\n-# {said}")
        else:
            whose = yours[counts.levels[item.name] if everyones else "server"]
            lines.append(f"**{named(item.name)}** {_written(item.name, value)} ({whose})\n-# {said}")
    return discord.Embed(title=tr("Settings"), description=texts.clip("\n".join(lines), texts.DESCRIPTION))


async def _complete(
    client: "Client", interaction: discord.Interaction, typed: str
) -> list[app_commands.Choice[str]]:
    name = str(getattr(interaction.namespace, "name", ""))
    guild = interaction.guild
    if name in ("style", "model", "sampler"):
        return await client.offers.complete(name, typed)
    offered: list[tuple[str, str]] = []
    if name == "spoiler":
        offered = [("on", "on"), ("off", "off")]
    elif name == "nsfw":
        offered = [("age-restricted", "age-restricted"), ("never", "never")]
    elif name == "iterate":
        offered = [("everyone", "everyone"), ("requester", "requester"), *_roles_of(guild)]
    elif name == "priority":
        offered = _roles_of(guild)
    elif name == "gallery" and guild is not None:
        offered = [(f"#{channel.name}", str(channel.id)) for channel in guild.text_channels]
    elif name == "size":
        offered = [(size, size) for size in ("512x512", "768x512", "512x768", "768x768", "1024x576")]
    near = [(text, value) for text, value in offered if typed.casefold() in text.casefold()]
    return [app_commands.Choice(name=text[:100], value=value) for text, value in near[:25]]


def _roles_of(guild: discord.Guild | None) -> list[tuple[str, str]]:
    roles = guild.roles if guild is not None else []
    return [(f"@{role.name}", str(role.id)) for role in roles if not role.is_default()]
