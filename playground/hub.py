"""Where changes are announced: the world, its event feed and the bot's gateway sessions."""

from __future__ import annotations

from typing import Protocol

from playground import serialise
from playground.errors import JSON, ApiError, missing_access, missing_permissions
from playground.feed import Feed
from playground.permissions import Permission
from playground.state import Channel, Message, World


class Sessions(Protocol):
    """Whatever passes dispatches on to the bot."""

    def dispatch(self, name: str, data: JSON, *, in_dm: bool, redacted: JSON | None) -> None:
        """Send an event to every session that asked for it."""
        ...


class Hub:
    """Holds the world and tells the feed and the bot what happens in it."""

    def __init__(self, world: World, feed: Feed, sessions: Sessions) -> None:
        self.world = world
        self.feed = feed
        self._sessions = sessions

    def tell(self, name: str, data: JSON, *, channel: Channel | None = None) -> None:
        """Announce an event; the bot hears of it if it sees the channel."""
        self.feed.publish(name, data)
        bot_id = self.world.application.bot.id
        if channel is None or serialise.can_view(self.world, channel, bot_id):
            in_dm = channel is not None and channel.guild_id is None
            self._sessions.dispatch(name, data, in_dm=in_dm, redacted=None)

    def tell_message(self, name: str, which: Message) -> None:
        """Announce a new or changed message, its content withheld where Discord would."""
        whole = serialise.message(self.world, which, gateway=True)
        channel = self.world.channels[which.channel_id]
        if which.visible_to is not None:
            self.feed.publish(name, whole | {"visible_to": str(which.visible_to)})
            return
        self.feed.publish(name, whole)
        if serialise.can_view(self.world, channel, self.world.application.bot.id):
            redacted = serialise.message(self.world, which, whole=False, gateway=True)
            self._sessions.dispatch(name, whole, in_dm=channel.guild_id is None, redacted=redacted)

    def post(self, which: Message) -> Message:
        """Put a finished message into its channel and announce it."""
        channel = self.world.channels[which.channel_id]
        channel.messages[which.id] = which
        if channel.thread is not None:
            channel.thread.last_active = self.world.clock.time()
            if not which.is_system:
                channel.thread.message_count += 1
        self.tell_message("MESSAGE_CREATE", which)
        return which

    def see(self, user_id: int, channel: Channel) -> Channel:
        """Return the channel or raise 50001 for who cannot see it."""
        if not serialise.can_view(self.world, channel, user_id):
            raise missing_access()
        return channel

    def allowed(self, user_id: int, channel: Channel, needed: Permission) -> bool:
        """Tell whether a user has all these permissions in a channel."""
        return serialise.permissions_of(self.world, channel, user_id) & needed == needed

    def require(self, user_id: int, channel: Channel, needed: Permission) -> None:
        """Raise 50001 for a channel out of sight, 50013 for a lacking permission."""
        self.see(user_id, channel)
        if not self.allowed(user_id, channel, needed):
            raise missing_permissions()

    def require_open(self, channel: Channel) -> None:
        """Raise 50083 in an archived thread."""
        if channel.thread is not None and channel.thread.archived:
            raise ApiError(
                400,
                50083,
                "Tried to perform an operation on an archived thread, such as editing a message or adding"
                " a user to the thread",
            )
