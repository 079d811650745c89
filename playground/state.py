"""The world: guilds, channels, members, messages, files. Data and look-ups, no rules."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum

from playground.errors import JSON, unknown

_DISCORD_EPOCH_MS = 1_420_070_400_000
MIB = 1024 * 1024


class ChannelType(IntEnum):
    """The kinds of channel this server has."""

    TEXT = 0
    DM = 1
    PUBLIC_THREAD = 11
    PRIVATE_THREAD = 12


class MessageType(IntEnum):
    """The kinds of message this server writes."""

    DEFAULT = 0
    THREAD_CREATED = 18
    REPLY = 19
    CHAT_INPUT_COMMAND = 20
    THREAD_STARTER_MESSAGE = 21
    CONTEXT_MENU_COMMAND = 23


class MessageFlag:
    """Bits of `Message.flags`."""

    SUPPRESS_EMBEDS = 1 << 2
    HAS_THREAD = 1 << 5
    EPHEMERAL = 1 << 6
    LOADING = 1 << 7
    SUPPRESS_NOTIFICATIONS = 1 << 12
    COMPONENTS_V2 = 1 << 15


class Clock:
    """The server's time, which a test can move forward."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def time(self) -> float:
        """Return seconds since 1970."""
        return time.time() + self._ahead

    def monotonic(self) -> float:
        """Return seconds that never run backwards."""
        return time.monotonic() + self._ahead

    def now(self) -> datetime:
        """Return the date and time in UTC."""
        return datetime.fromtimestamp(self.time(), UTC)

    def advance(self, seconds: float) -> None:
        """Move on; only forward."""
        if seconds < 0:
            raise ValueError("time runs forward")
        self._ahead += seconds


@dataclass(slots=True, eq=False)
class User:
    """An account."""

    id: int
    name: str
    display_name: str
    bot: bool = False
    locale: str = "en-US"  # the language of this member's Discord
    dms_closed: bool = False  # to bots that share a server with it


@dataclass(slots=True, eq=False)
class Role:
    """A guild's role; the one whose id is the guild's is @everyone."""

    id: int
    name: str
    permissions: int
    position: int
    managed: bool = False


@dataclass(slots=True, eq=False)
class Member:
    """A user in a guild."""

    user: User
    guild_id: int
    joined_at: datetime
    role_ids: list[int] = field(default_factory=list)
    nick: str | None = None


@dataclass(slots=True, eq=False)
class Overwrite:
    """What a channel adds to and takes from a role's or member's permissions."""

    kind: int  # 0 role, 1 member
    allow: int = 0
    deny: int = 0


@dataclass(slots=True, eq=False)
class ThreadState:
    """What a thread has over a channel."""

    owner_id: int
    auto_archive_minutes: int
    created_at: datetime
    archive_changed_at: datetime
    last_active: float  # Clock.time()
    archived: bool = False
    locked: bool = False
    invitable: bool = True
    joined: dict[int, datetime] = field(default_factory=dict)  # user id -> when
    message_count: int = 0


@dataclass(slots=True, eq=False)
class Upload:
    """A file on its way in."""

    filename: str
    data: bytes
    description: str | None = None


@dataclass(slots=True, eq=False)
class Attachment:
    """A file that Discord keeps."""

    id: int
    channel_id: int
    filename: str
    data: bytes
    content_type: str | None
    description: str | None = None
    width: int | None = None
    height: int | None = None

    @property
    def path(self) -> str:
        """Return the path part of its address."""
        return f"/attachments/{self.channel_id}/{self.id}/{self.filename}"


@dataclass(slots=True, frozen=True)
class Reference:
    """What a message replies to or starts from."""

    message_id: int
    channel_id: int
    guild_id: int | None


@dataclass(slots=True, frozen=True)
class Cause:
    """The interaction that a message answers."""

    id: int
    kind: int
    user_id: int
    command: str | None = None
    original_response_id: int | None = None
    source_message_id: int | None = None


@dataclass(slots=True, eq=False)
class Message:
    """A message as it stands now. `revisions` holds (content, embeds) before each edit."""

    id: int
    channel_id: int
    guild_id: int | None
    author: User
    type: MessageType
    created_at: datetime
    content: str = ""
    embeds: list[JSON] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    components: list[JSON] = field(default_factory=list)
    reactions: dict[str, list[int]] = field(default_factory=dict)  # emoji -> user ids, in order
    mentions: list[int] = field(default_factory=list)  # users who are pinged
    mention_roles: list[int] = field(default_factory=list)
    mention_everyone: bool = False
    flags: int = 0
    nonce: str | int | None = None
    tts: bool = False
    reference: Reference | None = None
    cause: Cause | None = None
    webhook_id: int | None = None
    edited_at: datetime | None = None
    thread_id: int | None = None
    visible_to: int | None = None  # an ephemeral message's only reader
    deleted: bool = False
    revisions: list[tuple[str, list[JSON]]] = field(default_factory=list)

    @property
    def loading(self) -> bool:
        """Tell whether it says "… is thinking"."""
        return bool(self.flags & MessageFlag.LOADING)

    @property
    def is_system(self) -> bool:
        """Tell whether Discord wrote it, not its author."""
        return self.type in (MessageType.THREAD_CREATED, MessageType.THREAD_STARTER_MESSAGE)


@dataclass(slots=True, eq=False)
class Channel:
    """A text channel, a DM or a thread."""

    id: int
    type: ChannelType
    name: str
    guild_id: int | None = None
    topic: str | None = None
    nsfw: bool = False
    position: int = 0
    parent_id: int | None = None
    overwrites: dict[int, Overwrite] = field(default_factory=dict)  # role or user id -> overwrite
    recipient_ids: list[int] = field(default_factory=list)
    messages: dict[int, Message] = field(default_factory=dict)  # in order of id
    thread: ThreadState | None = None
    default_auto_archive_minutes: int = 1440

    @property
    def last_message_id(self) -> int | None:
        """Return the newest message's id."""
        return next(reversed(self.messages), None)


@dataclass(slots=True, eq=False)
class Guild:
    """A server, in Discord's sense of the word."""

    id: int
    name: str
    owner_id: int
    premium_tier: int = 0
    upload_limit_override: int | None = None
    locale: str = "en-US"  # only a server with the feature COMMUNITY can choose another
    features: list[str] = field(default_factory=list)
    roles: dict[int, Role] = field(default_factory=dict)
    members: dict[int, Member] = field(default_factory=dict)

    @property
    def upload_limit(self) -> int:
        """Return the greatest attachment in bytes."""
        if self.upload_limit_override is not None:
            return self.upload_limit_override
        return {2: 50 * MIB, 3: 100 * MIB}.get(self.premium_tier, 10 * MIB)


@dataclass(slots=True, eq=False)
class Application:
    """The bot's application."""

    id: int
    name: str
    bot: User
    owner: User
    token: str
    message_content: bool  # whether the privileged intent is switched on in the developer portal
    commands: dict[int | None, dict[int, JSON]] = field(
        default_factory=dict
    )  # guild or None -> id -> command


class World:
    """Everything there is, found by id."""

    def __init__(self, clock: Clock, application: Application | None = None) -> None:
        self.clock = clock
        self.users: dict[int, User] = {}
        self.guilds: dict[int, Guild] = {}
        self.channels: dict[int, Channel] = {}
        self.attachments: dict[int, Attachment] = {}
        self._last_ms = 0
        self._sequence = 0
        self.base_url = ""
        if application is not None:
            self.application = application

    def continue_after(self, last_id: int) -> None:
        """Make only ids greater than this one from now on."""
        self._last_ms = max(self._last_ms, (last_id >> 22) + _DISCORD_EPOCH_MS + 1)

    def snowflake(self) -> int:
        """Return a new id: later ids are greater, and it tells its time as Discord's do."""
        now = int(self.clock.time() * 1000)
        if now > self._last_ms:
            self._last_ms, self._sequence = now, 0
        else:
            self._sequence += 1
        return ((self._last_ms - _DISCORD_EPOCH_MS) << 22) + self._sequence

    def guild(self, guild_id: int) -> Guild:
        """Return a guild or raise 10004."""
        if guild_id not in self.guilds:
            raise unknown("Guild")
        return self.guilds[guild_id]

    def channel(self, channel_id: int) -> Channel:
        """Return a channel or raise 10003."""
        if channel_id not in self.channels:
            raise unknown("Channel")
        return self.channels[channel_id]

    def message(self, channel_id: int, message_id: int) -> Message:
        """Return a message or raise 10003 or 10008."""
        messages = self.channel(channel_id).messages
        if message_id not in messages:
            raise unknown("Message")
        return messages[message_id]

    def user(self, user_id: int) -> User:
        """Return a user or raise 10013."""
        if user_id not in self.users:
            raise unknown("User")
        return self.users[user_id]

    def find_message(self, message_id: int) -> Message | None:
        """Return a message wherever it is."""
        for channel in self.channels.values():
            if message_id in channel.messages:
                return channel.messages[message_id]
        return None

    def threads_of(self, channel_id: int) -> list[Channel]:
        """Return a channel's threads, oldest first."""
        return [c for c in self.channels.values() if c.thread is not None and c.parent_id == channel_id]

    def upload_limit(self, guild_id: int | None) -> int:
        """Return the greatest attachment in bytes in a guild, or in a DM."""
        return 10 * MIB if guild_id is None else self.guilds[guild_id].upload_limit

    def command(self, guild_id: int | None, name: str, kind: int) -> JSON | None:
        """Return the command a member would find; a guild's own hides a global one."""
        for scope in dict.fromkeys((guild_id, None)):
            for command in self.application.commands.get(scope, {}).values():
                if command["name"] == name and command["type"] == kind:
                    return command
        return None
