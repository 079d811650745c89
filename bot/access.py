"""Which session a member means, and what they may do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands

from bot import texts
from pipeline.domain import Session
from pipeline.errors import ContextualDiffusionError, InvalidRequest, NotFound

if TYPE_CHECKING:
    from bot.client import Client

_PRIVATE = discord.ChannelType.private_thread


async def meant(client: Client, interaction: discord.Interaction, words: str) -> Session:
    """Return the session that a member names, else the one of the place they are in; they may see it.

    Raises InvalidRequest and NotFound. A session that they may not see is one that is not there.
    """
    store = client.pipeline.store
    if not words.strip():
        here = await store.find_sessions("discord", place=str(interaction.channel_id), limit=1)
        if not here:
            raise InvalidRequest(
                "This is not the thread of a session; use the command there, or name one as `session`."
            )
        session = here[0]
    else:
        number = words.strip().lstrip("#").partition(" ")[0]
        if not (number.isascii() and number.isdigit() and len(number) < 10):
            raise InvalidRequest("Choose a session from those offered, or write its number.")
        session = await store.session(int(number))
    if session.client != "discord" or not await may_see(client, interaction, session):
        raise NotFound(f"There is no session {session.id}; it may have been deleted.")
    return session


async def offered(client: Client, interaction: discord.Interaction, typed: str) -> list[Session]:
    """List the sessions to complete an option with: a member's own, and those of this server they see."""
    found = await client.pipeline.store.find_sessions(
        "discord",
        owner=str(interaction.user.id),
        guild=str(interaction.guild_id or ""),
        words=typed.strip(),
        limit=100,
    )
    return [
        session for session in found if is_own(interaction, session) or _sees(client, interaction, session)
    ][:25]


async def may_see(client: Client, interaction: discord.Interaction, session: Session) -> bool:
    """Tell whether a member may see a session: it is theirs, or shown in this server where they can read."""
    if is_own(interaction, session) or _sees(client, interaction, session):
        return True
    if not _is_of_guild(interaction, session) or not session.place.isdigit():
        return False
    # Not in the cache: a thread that is archived, or a private one.
    try:
        channel = await client.fetch_channel(int(session.place))
    except discord.HTTPException:
        return False
    if not isinstance(channel, discord.Thread) or not isinstance(interaction.user, discord.Member):
        return False
    allowed = _permissions(channel, interaction.user)
    if allowed is None or not allowed.read_messages:
        return False
    if channel.type is not _PRIVATE or allowed.manage_threads:
        return True
    try:
        await channel.fetch_member(interaction.user.id)
    except discord.HTTPException:
        return False
    return True


def is_own(interaction: discord.Interaction, session: Session) -> bool:
    """Tell whether a session belongs to who uses a command."""
    return session.owner == str(interaction.user.id)


def may_delete(client: Client, interaction: discord.Interaction, session: Session) -> bool:
    """Tell whether a member may delete a session: its owner, or who may delete messages where it is shown."""
    if is_own(interaction, session):
        return True
    if not _is_of_guild(interaction, session) or not isinstance(interaction.user, discord.Member):
        return False
    channel = _channel(client, session)
    allowed = _permissions(channel, interaction.user) if channel is not None else None
    return allowed is not None and allowed.manage_messages


def check_age(client: Client, interaction: discord.Interaction, session: Session) -> None:
    """Refuse to show a session of an age-restricted channel elsewhere. Raises InvalidRequest."""
    if session.place == str(interaction.channel_id) or interaction.guild_id is None:
        return
    channel = _channel(client, session)
    if channel is not None and _restricted(channel) and not _restricted(interaction.channel):
        raise InvalidRequest("That session is in an age-restricted channel; use the command there.")


def choice(session: Session) -> app_commands.Choice[str]:
    """Offer a session by its number and prompt."""
    return app_commands.Choice(
        name=texts.plain(f"#{session.id} · {session.prompt}", 100), value=str(session.id)
    )


async def answer(interaction: discord.Interaction, error: ContextualDiffusionError) -> None:
    """Say what went wrong after a button, as after a command."""
    await interaction.client.tree.on_error(interaction, error)  # type: ignore[attr-defined]


def _sees(client: Client, interaction: discord.Interaction, session: Session) -> bool:
    """Tell from the cache alone whether a member sees where a session is shown."""
    if not _is_of_guild(interaction, session) or not isinstance(interaction.user, discord.Member):
        return False
    place = int(session.place) if session.place.isdigit() else 0
    guild = client.get_guild(int(session.meta["guild"]))
    channel = guild.get_channel_or_thread(place) if guild else None
    if channel is None or channel.type is _PRIVATE:
        return channel is not None and place == interaction.channel_id
    allowed = _permissions(channel, interaction.user)
    return allowed is not None and allowed.read_messages


def _is_of_guild(interaction: discord.Interaction, session: Session) -> bool:
    return interaction.guild_id is not None and session.meta.get("guild") == str(interaction.guild_id)


def _channel(client: Client, session: Session) -> Any:
    """Return a session's thread or, where that is not known, the channel around it; None in a DM."""
    guild = client.get_guild(int(session.meta.get("guild") or 0))
    if guild is None:
        return None
    places = [int(place) for place in (session.place, session.meta.get("channel", "")) if place.isdigit()]
    return next((found for place in places if (found := guild.get_channel_or_thread(place))), None)


def _permissions(channel: Any, member: discord.Member) -> discord.Permissions | None:
    try:
        return channel.permissions_for(member)
    except discord.ClientException:  # a thread whose channel is gone
        return None


def _restricted(channel: Any) -> bool:
    return bool(getattr(channel, "is_nsfw", bool)())
