"""Who may do what: read from the database and the members' roles each time it is asked."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING

import discord

from bot.preferences import ROLE, Wanted, wanted
from pipeline.domain import Session, Step

if TYPE_CHECKING:
    from bot.client import Client

log = logging.getLogger(__name__)


class Rules:
    """Ask a server's preferences; a server that set nothing has the operator's settings."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._first: dict[tuple[str, int], bool] = {}  # what was noted last, to ask the database once

    async def wanted(self, interaction: discord.Interaction) -> Wanted:
        """Put together what counts for a command."""
        return await wanted(
            self._client.pipeline.store,
            {
                "member": str(interaction.user.id),
                "channel": str(channel_of(interaction) if interaction.guild_id else ""),
                "server": str(interaction.guild_id or ""),
            },
        )

    async def may_go_on(self, session: Session, user_id: int) -> bool:
        """Tell whether a member may go on with a session or change it; notes their place in the queue."""
        server = await wanted(self._client.pipeline.store, {"server": session.guild})
        iterate = server.text("iterate") or self._client.settings.iterate_by
        roles: Collection[int] = ()
        if iterate.startswith(ROLE) or server.text("priority"):
            roles = await self._roles(session.guild, user_id)
        if session.guild:
            await self._note_priority(session.guild, user_id, server, roles)
        if iterate == "everyone" or session.owner == str(user_id):
            return True
        return iterate.startswith(ROLE) and int(iterate.removeprefix(ROLE)) in roles

    async def note_member(self, interaction: discord.Interaction, wanted: Wanted) -> None:
        """Note whether a member's pictures come first in this server."""
        if interaction.guild_id is not None and isinstance(interaction.user, discord.Member):
            roles = {role.id for role in interaction.user.roles}
            await self._note_priority(str(interaction.guild_id), interaction.user.id, wanted, roles)

    def may_cancel(self, session: Session, step: Step, interaction: discord.Interaction) -> bool:
        """Tell whether a member may cancel a step: whose it is, whose session it is, and moderators."""
        has = interaction.permissions
        moderator = interaction.guild_id is not None and (has.manage_messages or has.manage_threads)
        return moderator or str(interaction.user.id) in (session.owner, step.asked_by)

    async def _note_priority(self, guild: str, user_id: int, server: Wanted, roles: Collection[int]) -> None:
        first = {int(role) for role in server.text("priority").split(",") if role}
        now_first = not first.isdisjoint(roles)
        if self._first.get((guild, user_id)) is not now_first:
            await self._client.pipeline.store.set_priority(guild, str(user_id), now_first)
            self._first[guild, user_id] = now_first

    async def _roles(self, guild_id: str, user_id: int) -> Collection[int]:
        # Asked each time: reactions in an absence, buttons and replies tell of roles each in its own way.
        guild = self._client.get_guild(int(guild_id))
        if guild is None:
            return ()
        try:
            member = await guild.fetch_member(user_id)
        except discord.HTTPException as error:
            log.warning("the roles of member %s are not known: %s", user_id, error)
            return ()
        return {role.id for role in member.roles}


def channel_of(interaction: discord.Interaction) -> int | None:
    """Return the channel that a command is used in; of a thread, the one that it belongs to."""
    channel = interaction.channel
    return channel.parent_id if isinstance(channel, discord.Thread) else interaction.channel_id
