"""Permission bits and how roles and overwrites make a member's permissions in a channel."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntFlag

from playground.state import Channel, Guild


class Permission(IntFlag):
    """The permission bits that this server knows about; the names are discord.py's in capitals."""

    ADMINISTRATOR = 1 << 3
    MANAGE_CHANNELS = 1 << 4
    MANAGE_GUILD = 1 << 5
    ADD_REACTIONS = 1 << 6
    VIEW_CHANNEL = 1 << 10
    SEND_MESSAGES = 1 << 11
    MANAGE_MESSAGES = 1 << 13
    EMBED_LINKS = 1 << 14
    ATTACH_FILES = 1 << 15
    READ_MESSAGE_HISTORY = 1 << 16
    MENTION_EVERYONE = 1 << 17
    USE_EXTERNAL_EMOJIS = 1 << 18
    USE_APPLICATION_COMMANDS = 1 << 31
    MANAGE_THREADS = 1 << 34
    CREATE_PUBLIC_THREADS = 1 << 35
    CREATE_PRIVATE_THREADS = 1 << 36
    SEND_MESSAGES_IN_THREADS = 1 << 38


MEMBER_DEFAULTS = (
    Permission.ADD_REACTIONS
    | Permission.VIEW_CHANNEL
    | Permission.SEND_MESSAGES
    | Permission.EMBED_LINKS
    | Permission.ATTACH_FILES
    | Permission.READ_MESSAGE_HISTORY
    | Permission.USE_APPLICATION_COMMANDS
    | Permission.CREATE_PUBLIC_THREADS
    | Permission.CREATE_PRIVATE_THREADS
    | Permission.SEND_MESSAGES_IN_THREADS
)
EVERYTHING = Permission((1 << 50) - 1)
# In a DM there is nothing to configure: these always hold.
IN_DM = MEMBER_DEFAULTS & ~(Permission.CREATE_PUBLIC_THREADS | Permission.CREATE_PRIVATE_THREADS)


def named(names: Iterable[str]) -> Permission:
    """Return the bits for names such as `send_messages`."""
    total = Permission(0)
    for name in names:
        total |= Permission[name.upper()]
    return total


def in_guild(guild: Guild, user_id: int) -> Permission:
    """Return a member's permissions before any channel's overwrites; none for who is not a member."""
    member = guild.members.get(user_id)
    if member is None:
        return Permission(0)
    if guild.owner_id == user_id:
        return EVERYTHING
    total = Permission(guild.roles[guild.id].permissions)
    for role_id in member.role_ids:
        total |= Permission(guild.roles[role_id].permissions)
    return EVERYTHING if total & Permission.ADMINISTRATOR else total


def in_channel(guild: Guild, channel: Channel, user_id: int) -> Permission:
    """Return a member's permissions in a guild channel; for a thread pass its parent channel."""
    total = in_guild(guild, user_id)
    if total == EVERYTHING or not total:
        return total
    layers = [[guild.id], guild.members[user_id].role_ids, [user_id]]  # everyone, then roles, then the member
    for ids in layers:
        overwrites = [channel.overwrites[i] for i in ids if i in channel.overwrites]
        for overwrite in overwrites:
            total &= ~Permission(overwrite.deny)
        for overwrite in overwrites:
            total |= Permission(overwrite.allow)
    # Who cannot see a channel can do nothing there.
    return total if total & Permission.VIEW_CHANNEL else Permission(0)
