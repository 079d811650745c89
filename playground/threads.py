"""Channels and threads: made, joined, archived, locked, deleted."""

from __future__ import annotations

from playground import serialise
from playground.errors import JSON, ApiError, FormErrors, missing_permissions, unknown
from playground.hub import Hub
from playground.permissions import Permission, named
from playground.state import (
    Channel,
    ChannelType,
    Guild,
    Message,
    MessageFlag,
    MessageType,
    Overwrite,
    Reference,
    ThreadState,
)

ARCHIVE_MINUTES = (60, 1440, 4320, 10080)


class Threads:
    """What may be done with channels and threads."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._world = hub.world

    def make_channel(self, guild: Guild, name: str, *, nsfw: bool = False) -> Channel:
        """Add a text channel."""
        channel = Channel(
            id=self._world.snowflake(),
            type=ChannelType.TEXT,
            name=name,
            guild_id=guild.id,
            nsfw=nsfw,
            position=sum(c.guild_id == guild.id for c in self._world.channels.values()),
        )
        self._world.channels[channel.id] = channel
        self._hub.tell("CHANNEL_CREATE", serialise.channel(self._world, channel), channel=channel)
        return channel

    def dm(self, user_id: int, other_id: int) -> Channel:
        """Return the DM channel of two users, made at the first call."""
        for channel in self._world.channels.values():
            if channel.type is ChannelType.DM and set(channel.recipient_ids) == {user_id, other_id}:
                return channel
        channel = Channel(
            id=self._world.snowflake(), type=ChannelType.DM, name="", recipient_ids=[user_id, other_id]
        )
        self._world.channels[channel.id] = channel
        return channel

    def start(
        self,
        user_id: int,
        parent: Channel,
        name: str,
        *,
        message: Message | None = None,
        minutes: int | None = None,
        private: bool = False,
        invitable: bool = True,
    ) -> Channel:
        """Start a thread, from a message or on its own.

        Raises 50035 for a bad name, 160004 for a message that has one already, 50024 where none can be.
        """
        if parent.type is not ChannelType.TEXT:
            raise ApiError(400, 50024, "Cannot execute action on this channel type")
        needed = Permission.CREATE_PRIVATE_THREADS if private else Permission.CREATE_PUBLIC_THREADS
        self._hub.require(user_id, parent, needed | Permission.VIEW_CHANNEL)
        minutes = minutes or parent.default_auto_archive_minutes
        _check_thread(name, minutes)
        if message is not None:
            if message.id in self._world.channels:
                raise ApiError(400, 160004, "A thread has already been created for this message")
            if message.is_system or message.visible_to is not None:
                raise ApiError(400, 50068, "Invalid message type")
        clock = self._world.clock
        thread = Channel(
            id=self._world.snowflake() if message is None else message.id,
            type=ChannelType.PRIVATE_THREAD if private else ChannelType.PUBLIC_THREAD,
            name=name,
            guild_id=parent.guild_id,
            parent_id=parent.id,
            nsfw=parent.nsfw,
            thread=ThreadState(
                owner_id=user_id,
                auto_archive_minutes=minutes,
                created_at=clock.now(),
                archive_changed_at=clock.now(),
                last_active=clock.time(),
                invitable=invitable,
                joined={user_id: clock.now()},
            ),
        )
        self._world.channels[thread.id] = thread
        self._announce(thread)
        self._write_system_messages(user_id, parent, thread, message)
        return thread

    def _announce(self, thread: Channel) -> None:
        viewer = self._world.application.bot.id
        data = serialise.channel(self._world, thread, viewer=viewer) | {"newly_created": True}
        self._hub.tell("THREAD_CREATE", data, channel=thread)

    def _write_system_messages(
        self, user_id: int, parent: Channel, thread: Channel, message: Message | None
    ) -> None:
        author = self._world.user(user_id)
        clock = self._world.clock
        if message is not None:
            message.thread_id = thread.id
            message.flags |= MessageFlag.HAS_THREAD
            self._hub.tell_message("MESSAGE_UPDATE", message)
            where, kind = thread, MessageType.THREAD_STARTER_MESSAGE
            source = Reference(message.id, parent.id, parent.guild_id)
        elif thread.type is ChannelType.PUBLIC_THREAD:
            where, kind = parent, MessageType.THREAD_CREATED
            source = Reference(thread.id, thread.id, parent.guild_id)
        else:
            return
        self._hub.post(
            Message(
                id=self._world.snowflake(),
                channel_id=where.id,
                guild_id=parent.guild_id,
                author=author,
                type=kind,
                created_at=clock.now(),
                content=thread.name if kind is MessageType.THREAD_CREATED else "",
                reference=source,
            )
        )

    def edit(self, user_id: int, channel: Channel, changes: JSON) -> Channel:
        """Change a channel's or thread's name, archive state, lock and the like."""
        if channel.thread is None:
            self._hub.require(user_id, channel, Permission.MANAGE_CHANNELS)
            self._edit_channel(channel, changes)
            return channel
        self._hub.see(user_id, channel)
        thread = channel.thread
        moderator = self._hub.allowed(user_id, channel, Permission.MANAGE_THREADS)
        if "locked" in changes and bool(changes["locked"]) != thread.locked and not moderator:
            raise missing_permissions()
        if thread.archived:
            if changes.get("archived", True):
                self._hub.require_open(channel)
            if thread.locked and not moderator:
                raise missing_permissions()
        elif not moderator and user_id != thread.owner_id:
            raise missing_permissions()
        name = changes.get("name", channel.name)
        minutes = int(changes.get("auto_archive_duration", thread.auto_archive_minutes))
        _check_thread(name, minutes)
        channel.name, thread.auto_archive_minutes = name, minutes
        thread.locked = bool(changes.get("locked", thread.locked))
        thread.invitable = bool(changes.get("invitable", thread.invitable))
        self._set_archived(channel, bool(changes.get("archived", thread.archived)))
        self.announce_change(channel)
        return channel

    def _edit_channel(self, channel: Channel, changes: JSON) -> None:
        errors = FormErrors()
        if "name" in changes:
            errors.length("name", changes["name"], low=1, high=100)
        errors.raise_if_any()
        channel.name = changes.get("name", channel.name)
        channel.topic = changes.get("topic", channel.topic)
        channel.nsfw = bool(changes.get("nsfw", channel.nsfw))
        self.announce_change(channel)

    def _set_archived(self, channel: Channel, archived: bool) -> None:
        thread = channel.thread
        if thread is not None and thread.archived != archived:
            thread.archived = archived
            thread.archive_changed_at = self._world.clock.now()
            thread.last_active = self._world.clock.time()

    def announce_change(self, channel: Channel) -> None:
        """Announce a channel's or thread's new state."""
        name = "CHANNEL_UPDATE" if channel.thread is None else "THREAD_UPDATE"
        viewer = self._world.application.bot.id
        self._hub.tell(name, serialise.channel(self._world, channel, viewer=viewer), channel=channel)

    def enter_to_write(self, user_id: int, channel: Channel) -> None:
        """Open an archived thread for a message and join its writer; raise 160005 if it is locked."""
        thread = channel.thread
        if thread is None:
            return
        if thread.locked and not self._hub.allowed(user_id, channel, Permission.MANAGE_THREADS):
            raise ApiError(400, 160005, "Thread is locked")
        if thread.archived:
            self._set_archived(channel, False)
            self.announce_change(channel)
        self.join(user_id, channel)

    def join(self, user_id: int, channel: Channel) -> None:
        """Make a user a member of a thread."""
        thread = channel.thread
        if thread is None:
            raise ApiError(400, 50024, "Cannot execute action on this channel type")
        self._hub.require_open(channel)
        if user_id not in thread.joined:
            thread.joined[user_id] = self._world.clock.now()
            self._tell_members(channel, added=[user_id], removed=[])

    def leave(self, user_id: int, channel: Channel) -> None:
        """Take a user out of a thread."""
        thread = channel.thread
        if thread is None or user_id not in thread.joined:
            raise unknown("Member")
        self._hub.require_open(channel)
        del thread.joined[user_id]
        self._tell_members(channel, added=[], removed=[user_id])

    def _tell_members(self, channel: Channel, *, added: list[int], removed: list[int]) -> None:
        assert channel.thread is not None  # noqa: S101 - callers hold a thread
        members = [serialise.thread_member(channel, i) for i in added]
        guild = self._world.guilds[channel.guild_id or 0]
        for i, data in zip(added, members, strict=True):
            data |= {"member": serialise.member(guild.members[i]), "presence": None}
        data: JSON = {
            "id": str(channel.id),
            "guild_id": str(channel.guild_id),
            "member_count": len(channel.thread.joined),
            "added_members": members,
            "removed_member_ids": [str(i) for i in removed],
        }
        self._hub.tell("THREAD_MEMBERS_UPDATE", data, channel=channel)

    def delete(self, user_id: int, channel: Channel) -> None:
        """Delete a channel with its threads, or one thread."""
        needed = Permission.MANAGE_CHANNELS if channel.thread is None else Permission.MANAGE_THREADS
        self._hub.require(user_id, channel, needed)
        self.remove(channel)

    def remove(self, channel: Channel) -> None:
        """Delete without asking who does it."""
        data = serialise.channel(self._world, channel)
        name = "CHANNEL_DELETE"
        if channel.thread is not None:
            name = "THREAD_DELETE"
            data = {key: data[key] for key in ("id", "guild_id", "parent_id", "type")}
        self._hub.tell(name, data, channel=channel)
        for thread in self._world.threads_of(channel.id):
            self._forget(thread)
        self._forget(channel)

    def _forget(self, channel: Channel) -> None:
        for message in channel.messages.values():
            message.deleted = True
            for file in message.attachments:
                self._world.attachments.pop(file.id, None)
        del self._world.channels[channel.id]

    def overwrite(
        self, channel: Channel, target_id: int, kind: int, *, allow: str = "", deny: str = ""
    ) -> None:
        """Allow and deny permissions (names with spaces between) to a role (0) or member (1) in a channel."""
        entry = channel.overwrites.setdefault(target_id, Overwrite(kind))
        granted, taken = int(named(allow.split())), int(named(deny.split()))
        entry.allow = (entry.allow | granted) & ~taken
        entry.deny = (entry.deny | taken) & ~granted
        # Told even if the bot has just lost sight of the channel; Discord does that too.
        self._hub.tell("CHANNEL_UPDATE", serialise.channel(self._world, channel))

    def sweep(self) -> None:
        """Archive the threads that have been quiet for long enough."""
        now = self._world.clock.time()
        for channel in list(self._world.channels.values()):
            thread = channel.thread
            if thread is None or thread.archived:
                continue
            if now - thread.last_active >= thread.auto_archive_minutes * 60:
                self._set_archived(channel, True)
                self.announce_change(channel)


def _check_thread(name: object, minutes: int) -> None:
    errors = FormErrors()
    errors.length("name", name, low=1, high=100)
    if minutes not in ARCHIVE_MINUTES:
        text = f"Value must be one of {ARCHIVE_MINUTES}."
        errors.add("auto_archive_duration", "BASE_TYPE_CHOICES", text)
    errors.raise_if_any()
