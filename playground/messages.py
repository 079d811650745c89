"""Messages and reactions: who may write, change and remove what."""

from __future__ import annotations

import io
import mimetypes
import re
from dataclasses import dataclass
from itertools import islice

from PIL import Image, UnidentifiedImageError

from playground import serialise
from playground.errors import JSON, ApiError, FormErrors, missing_permissions, unknown
from playground.hub import Hub
from playground.permissions import Permission
from playground.state import (
    Attachment,
    Cause,
    Channel,
    Message,
    MessageFlag,
    MessageType,
    Reference,
    Upload,
)
from playground.threads import Threads
from playground.validate import Draft, check_draft, check_not_empty, walk

NONCE_SECONDS = 300.0
_SETTABLE_FLAGS = MessageFlag.SUPPRESS_EMBEDS | MessageFlag.SUPPRESS_NOTIFICATIONS | MessageFlag.COMPONENTS_V2


@dataclass(frozen=True, slots=True)
class Answer:
    """What makes a message an answer to an interaction."""

    cause: Cause
    type: MessageType
    flags: int = 0
    visible_to: int | None = None
    reference: Reference | None = None


class Messages:
    """What may be done with messages."""

    def __init__(self, hub: Hub, threads: Threads) -> None:
        self._hub = hub
        self._world = hub.world
        self._threads = threads
        self._nonces: dict[tuple[int, str], tuple[float, Message]] = {}

    def send(self, author_id: int, channel: Channel, draft: Draft) -> Message:
        """Post a message as a bot or member; the same nonce again returns the message it made."""
        self._check_may_send(author_id, channel, draft)
        check_draft(draft, self._world.upload_limit(channel.guild_id))
        check_not_empty(draft)
        earlier = self._with_nonce(author_id, draft)
        if earlier is not None:
            return earlier
        reference = self._reference(author_id, channel, draft)
        self._threads.enter_to_write(author_id, channel)
        kind = MessageType.DEFAULT if reference is None else MessageType.REPLY
        message = self._make(author_id, channel, draft, kind)
        message.reference = reference
        self._set_mentions(message, draft.allowed_mentions)
        if draft.nonce is not None and draft.enforce_nonce:
            key = (author_id, str(draft.nonce))
            self._nonces[key] = (self._world.clock.monotonic(), message)
        self._hub.post(message)
        if channel.thread is not None:
            for user_id in message.mentions:  # a ping brings its member into the thread
                self._threads.join(user_id, channel)
        return message

    def answer(self, channel: Channel, draft: Draft, answer: Answer) -> Message:
        """Post an interaction's response or follow-up; needs no permission in the channel."""
        check_draft(draft, self._world.upload_limit(channel.guild_id))
        if not answer.flags & MessageFlag.LOADING:
            check_not_empty(draft)
        bot_id = self._world.application.bot.id
        message = self._make(bot_id, channel, draft, answer.type)
        message.flags |= answer.flags
        message.cause = answer.cause
        message.webhook_id = self._world.application.id
        message.visible_to = answer.visible_to
        message.reference = answer.reference
        self._set_mentions(message, draft.allowed_mentions)
        return self._hub.post(message)

    def _check_may_send(self, author_id: int, channel: Channel, draft: Draft) -> None:
        if any(self._world.user(i).dms_closed for i in channel.recipient_ids if i != author_id):
            raise ApiError(403, 50007, "Cannot send messages to this user")
        in_thread = channel.thread is not None
        needed = Permission.SEND_MESSAGES_IN_THREADS if in_thread else Permission.SEND_MESSAGES
        if draft.uploads:
            needed |= Permission.ATTACH_FILES
        if draft.embeds:
            needed |= Permission.EMBED_LINKS
        self._hub.require(author_id, channel, needed)

    def _with_nonce(self, author_id: int, draft: Draft) -> Message | None:
        if draft.nonce is None or not draft.enforce_nonce:
            return None
        at, message = self._nonces.get((author_id, str(draft.nonce)), (float("-inf"), None))
        if message is None or message.deleted or self._world.clock.monotonic() - at > NONCE_SECONDS:
            return None
        return message

    def _reference(self, author_id: int, channel: Channel, draft: Draft) -> Reference | None:
        asked = draft.reference
        if asked is None or asked.get("message_id") is None:
            return None
        if not self._hub.allowed(author_id, channel, Permission.READ_MESSAGE_HISTORY):
            raise ApiError(403, 160002, "Cannot reply without permission to read message history")
        source = channel.messages.get(int(asked["message_id"]))
        if source is None:
            if not asked.get("fail_if_not_exists", True):
                return None
            errors = FormErrors()
            errors.add("message_reference", "MESSAGE_REFERENCE_UNKNOWN_MESSAGE", "Unknown message")
            errors.raise_if_any()
            return None
        if source.is_system:
            errors = FormErrors()
            errors.add(
                "message_reference",
                "REPLIES_CANNOT_REPLY_TO_SYSTEM_MESSAGE",
                "Cannot reply to a system message",
            )
            errors.raise_if_any()
        return Reference(source.id, channel.id, channel.guild_id)

    def _make(self, author_id: int, channel: Channel, draft: Draft, kind: MessageType) -> Message:
        message = Message(
            id=self._world.snowflake(),
            channel_id=channel.id,
            guild_id=channel.guild_id,
            author=self._world.user(author_id),
            type=kind,
            created_at=self._world.clock.now(),
            content=(draft.content or "").strip(),
            embeds=list(draft.embeds or []),
            components=_numbered(draft.components or []),
            flags=(draft.flags or 0) & _SETTABLE_FLAGS,
            nonce=draft.nonce,
            tts=draft.tts,
        )
        self._attach(message, draft)
        return message

    def _attach(self, message: Message, draft: Draft) -> None:
        """Keep the attachments that the draft lists (all, if it lists none) and store its uploads."""
        described = {str(a.get("id")): a for a in draft.attachments or []}
        if draft.attachments is not None:
            self._drop([a for a in message.attachments if str(a.id) not in described])
            message.attachments = [a for a in message.attachments if str(a.id) in described]
        for index, upload in draft.uploads.items():
            about = described.get(str(index), {})
            named = Upload(
                str(about.get("filename") or upload.filename), upload.data, about.get("description")
            )
            message.attachments.append(self.store(message.channel_id, named))
        for embed in message.embeds:
            embed.setdefault("type", "rich")
            self._resolve(message, [embed.get("image"), embed.get("thumbnail")])
        for component in walk(message.components):
            items = [item.get("media") for item in component.get("items", [])]
            self._resolve(message, [component.get("media"), component.get("file"), *items])

    def _resolve(self, message: Message, media: list[JSON | None]) -> None:
        """Turn attachment:// into the address of the message's own file."""
        by_url = {f"attachment://{a.filename}": a for a in message.attachments}
        for item in media:
            file = by_url.get(str((item or {}).get("url")))
            if item is not None and file is not None:
                shown = serialise.attachment(self._world, file)
                item.update({k: shown[k] for k in ("url", "proxy_url", "width", "height") if k in shown})

    def _drop(self, files: list[Attachment]) -> None:
        for file in files:
            self._world.attachments.pop(file.id, None)

    def store(self, channel_id: int, upload: Upload) -> Attachment:
        """Keep a file and give it its address."""
        name = re.sub(r"[^\w.\-]", "", upload.filename.replace(" ", "_")) or "unknown"
        kind, _ = mimetypes.guess_type(name)
        file = Attachment(
            self._world.snowflake(), channel_id, name, upload.data, kind, description=upload.description
        )
        try:
            with Image.open(io.BytesIO(upload.data)) as image:
                file.width, file.height = image.size
                file.content_type = image.get_format_mimetype()
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError):
            pass  # not a picture: it has no size
        self._world.attachments[file.id] = file
        return file

    def _set_mentions(self, message: Message, asked: JSON | None) -> None:
        """Work out whom the message pings from its text, its reply and its allowed_mentions."""
        parse = {"users", "roles", "everyone"} if asked is None else set(asked.get("parse") or [])
        some_users = {int(i) for i in (asked or {}).get("users") or []}
        some_roles = {int(i) for i in (asked or {}).get("roles") or []}
        if ("users" in parse and some_users) or ("roles" in parse and some_roles):
            errors = FormErrors()
            text = "parse and ids are mutually exclusive"
            errors.add("allowed_mentions", "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE", text)
            errors.raise_if_any()
        text = message.content
        users = [int(i) for i in re.findall(r"<@!?(\d+)>", text)]
        roles = [int(i) for i in re.findall(r"<@&(\d+)>", text)]
        guild = None if message.guild_id is None else self._world.guilds[message.guild_id]
        found = [i for i in users if i in self._world.users and ("users" in parse or i in some_users)]
        replied = self._replied_author(message)
        pings_replied = asked is None or bool(asked.get("replied_user", False))
        if replied is not None and pings_replied and replied != message.author.id:
            found.append(replied)
        message.mentions = list(dict.fromkeys(found))
        if guild is None:
            return
        message.mention_roles = [
            i for i in dict.fromkeys(roles) if i in guild.roles and ("roles" in parse or i in some_roles)
        ]
        channel = self._world.channels[message.channel_id]
        may_all = self._hub.allowed(message.author.id, channel, Permission.MENTION_EVERYONE)
        has_all = bool(re.search(r"@(everyone|here)\b", text))
        message.mention_everyone = has_all and "everyone" in parse and may_all

    def _replied_author(self, message: Message) -> int | None:
        if message.reference is None or message.type is not MessageType.REPLY:
            return None
        source = self._world.channels[message.channel_id].messages.get(message.reference.message_id)
        # A reply to an interaction's response does not mention the bot (measured; see the facts of Discord).
        if source is None or source.cause is not None:
            return None
        return source.author.id

    def edit(self, editor_id: int, message: Message, draft: Draft) -> Message:
        """Change a message of one's own."""
        channel = self._world.channel(message.channel_id)
        self._hub.see(editor_id, channel)
        if message.author.id != editor_id:
            raise ApiError(403, 50005, "Cannot edit a message authored by another user")
        self._hub.require_open(channel)
        if draft.uploads and not self._hub.allowed(editor_id, channel, Permission.ATTACH_FILES):
            raise missing_permissions()
        return self.apply_edit(message, draft)

    def apply_edit(self, message: Message, draft: Draft) -> Message:
        """Change a message without asking who does it; also fills a "thinking" response."""
        check_draft(draft, self._world.upload_limit(message.guild_id))
        self._check_stays(message, draft)
        was_loading = message.loading
        if not was_loading:
            message.revisions.append((message.content, message.embeds))
            message.edited_at = self._world.clock.now()
        if draft.content is not None:
            message.content = draft.content.strip()
        if draft.embeds is not None:
            message.embeds = list(draft.embeds)
        if draft.components is not None:
            message.components = _numbered(draft.components)
        if draft.flags is not None:
            message.flags = (message.flags & ~_SETTABLE_FLAGS) | (draft.flags & _SETTABLE_FLAGS)
        message.flags &= ~MessageFlag.LOADING
        self._attach(message, draft)
        if draft.content is not None or draft.allowed_mentions is not None:
            self._set_mentions(message, draft.allowed_mentions)
        self._hub.tell_message("MESSAGE_UPDATE", message)
        return message

    def _check_stays(self, message: Message, draft: Draft) -> None:
        kept = draft.attachments if draft.attachments is not None else message.attachments
        content = message.content if draft.content is None else draft.content
        embeds = message.embeds if draft.embeds is None else draft.embeds
        components = message.components if draft.components is None else draft.components
        if not (content.strip() or embeds or components or kept or draft.uploads):
            raise ApiError(400, 50006, "Cannot send an empty message")

    def delete(self, user_id: int, message: Message) -> None:
        """Delete one's own message, or as a moderator another's."""
        channel = self._hub.see(user_id, self._world.channel(message.channel_id))
        if message.author.id != user_id:
            self._hub.require(user_id, channel, Permission.MANAGE_MESSAGES)
        if message.type is MessageType.THREAD_STARTER_MESSAGE:
            raise ApiError(403, 50021, "Cannot execute action on a system message")
        self.remove(message)

    def remove(self, message: Message) -> None:
        """Delete without asking who does it."""
        channel = self._world.channels[message.channel_id]
        channel.messages.pop(message.id, None)
        message.deleted = True
        self._drop(message.attachments)
        if channel.thread is not None and not message.is_system:
            channel.thread.message_count -= 1
        data: JSON = {"id": str(message.id), "channel_id": str(channel.id)}
        if channel.guild_id is not None:
            data["guild_id"] = str(channel.guild_id)
        if message.visible_to is None:
            self._hub.tell("MESSAGE_DELETE", data, channel=channel)
        else:
            self._hub.feed.publish("MESSAGE_DELETE", data)

    def history(
        self,
        user_id: int,
        channel: Channel,
        *,
        limit: int = 50,
        before: int | None = None,
        after: int | None = None,
        around: int | None = None,
    ) -> list[Message]:
        """Return messages newest first, as Discord does; nothing without the permission to read them."""
        self._hub.see(user_id, channel)
        if not 1 <= limit <= 100:
            errors = FormErrors()
            errors.add("limit", "NUMBER_TYPE_RANGE", "Value should be between 1 and 100.")
            errors.raise_if_any()
        if not self._hub.allowed(user_id, channel, Permission.READ_MESSAGE_HISTORY):
            return []
        oldest_first = [m for m in channel.messages.values() if m.visible_to is None]
        newest_first = oldest_first[::-1]
        if around is not None:
            newer = list(islice((m for m in oldest_first if m.id > around), limit // 2))
            older = list(islice((m for m in newest_first if m.id <= around), limit - len(newer)))
            return newer[::-1] + older
        if after is not None:
            return list(islice((m for m in oldest_first if m.id > after), limit))[::-1]
        return list(islice((m for m in newest_first if before is None or m.id < before), limit))

    def react(self, user_id: int, message: Message, emoji: str) -> None:
        """Add a reaction; twice is the same as once."""
        channel = self._hub.see(user_id, self._world.channel(message.channel_id))
        self._hub.require_open(channel)
        _check_emoji(emoji)
        self._hub.require(user_id, channel, Permission.READ_MESSAGE_HISTORY)
        if emoji not in message.reactions:
            self._hub.require(user_id, channel, Permission.ADD_REACTIONS)
            if len(message.reactions) >= 20:
                raise ApiError(400, 30010, "Maximum number of reactions reached (20)")
        users = message.reactions.setdefault(emoji, [])
        if user_id in users:
            return
        users.append(user_id)
        data = self._reaction_event(user_id, message, emoji)
        data["message_author_id"] = str(message.author.id)
        if message.guild_id is not None:
            data["member"] = serialise.member(self._world.guilds[message.guild_id].members[user_id])
        self._hub.tell("MESSAGE_REACTION_ADD", data, channel=channel)

    def unreact(self, actor_id: int, message: Message, emoji: str, user_id: int) -> None:
        """Take a reaction back, or as a moderator take another's away."""
        channel = self._hub.see(actor_id, self._world.channel(message.channel_id))
        self._hub.require_open(channel)
        _check_emoji(emoji)
        if actor_id != user_id:
            self._hub.require(actor_id, channel, Permission.MANAGE_MESSAGES)
        users = message.reactions.get(emoji, [])
        if user_id not in users:
            return
        users.remove(user_id)
        if not users:
            del message.reactions[emoji]
        self._hub.tell(
            "MESSAGE_REACTION_REMOVE", self._reaction_event(user_id, message, emoji), channel=channel
        )

    def clear_reactions(self, actor_id: int, message: Message, emoji: str | None) -> None:
        """Remove all reactions, or all of one emoji, as a moderator."""
        channel = self._world.channel(message.channel_id)
        self._hub.require(actor_id, channel, Permission.MANAGE_MESSAGES)
        self._hub.require_open(channel)
        data: JSON = {"channel_id": str(channel.id), "message_id": str(message.id)}
        if channel.guild_id is not None:
            data["guild_id"] = str(channel.guild_id)
        if emoji is None:
            message.reactions.clear()
            self._hub.tell("MESSAGE_REACTION_REMOVE_ALL", data, channel=channel)
        elif message.reactions.pop(emoji, None) is not None:
            data["emoji"] = serialise.emoji(emoji)
            self._hub.tell("MESSAGE_REACTION_REMOVE_EMOJI", data, channel=channel)

    def _reaction_event(self, user_id: int, message: Message, emoji: str) -> JSON:
        data: JSON = {
            "user_id": str(user_id),
            "channel_id": str(message.channel_id),
            "message_id": str(message.id),
            "emoji": serialise.emoji(emoji),
            "burst": False,
            "type": 0,
        }
        if message.guild_id is not None:
            data["guild_id"] = str(message.guild_id)
        return data


def _check_emoji(emoji: str) -> None:
    custom = re.fullmatch(r"\w{2,32}:\d+", emoji)
    # Not the whole list of Unicode, but enough to catch text and a forgotten escape.
    if not custom and (not emoji or len(emoji) > 16 or emoji.isascii()):
        raise unknown("Emoji")


def _numbered(components: list[JSON]) -> list[JSON]:
    # Discord numbers the components that come without an id.
    taken = {c["id"] for c in walk(components) if c.get("id")}
    free = (i for i in range(1, 1000) if i not in taken)
    for component in walk(components):
        if not component.get("id"):
            component["id"] = next(free)
    return components
