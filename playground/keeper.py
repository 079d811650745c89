"""The world on disk: one SQLite file, written as things happen, so that a kill loses nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from playground.errors import JSON
from playground.interactions import TOKEN_SECONDS, Interactions, SentInteraction
from playground.state import (
    Application,
    Attachment,
    Cause,
    Channel,
    ChannelType,
    Guild,
    Member,
    Message,
    MessageType,
    Overwrite,
    Reference,
    Role,
    ThreadState,
    User,
    World,
)

VERSION = 1
# A record's `place` is what goes with it when that is deleted: a message's channel, a thread's parent.
_SCHEMA = """
CREATE TABLE record (kind TEXT, id INTEGER, place INTEGER, body TEXT NOT NULL, PRIMARY KEY (kind, id));
CREATE INDEX record_place ON record (kind, place);
CREATE TABLE file (id INTEGER PRIMARY KEY, owner INTEGER NOT NULL, body TEXT NOT NULL, data BLOB NOT NULL);
CREATE INDEX file_owner ON file (owner);
"""
_MESSAGES = {"MESSAGE_CREATE", "MESSAGE_UPDATE"}
_REACTIONS = {f"MESSAGE_REACTION_{what}" for what in ("ADD", "REMOVE", "REMOVE_ALL", "REMOVE_EMOJI")}
_CHANNELS = {"CHANNEL_CREATE", "CHANNEL_UPDATE", "THREAD_CREATE", "THREAD_UPDATE", "THREAD_MEMBERS_UPDATE"}
_INTERACTIONS = {"INTERACTION_CREATE", "INTERACTION_ACKNOWLEDGED", "INTERACTION_FAILED"}


class DirectoryInUse(Exception):
    """Another process has this playground open."""


class Keeper:
    """Keeps one playground in a directory that no other process may use meanwhile.

    Raises DirectoryInUse, or ValueError for a file of another version.
    """

    def __init__(self, directory: Path, world: World, interactions: Interactions) -> None:
        self._world = world
        self._interactions = interactions
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = directory / "playground.sqlite"
        path.touch(mode=0o600)  # the tokens are in it
        self._db = sqlite3.connect(path, isolation_level=None, timeout=0.5)
        try:
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode=WAL")
            # Safe against a kill; a power failure may cost the last second.
            self._db.execute("PRAGMA synchronous=NORMAL")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._db.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version={VERSION};COMMIT;")
            else:
                self._db.execute("BEGIN IMMEDIATE")  # takes the lock that is then kept
                self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            self._db.close()
            raise DirectoryInUse(f"another playground has {directory} open") from error
        if version not in (0, VERSION):
            self._db.close()
            raise ValueError(f"{path} is of another version ({version}); move it away to begin anew")

    def close(self) -> None:
        """Let go of the directory."""
        self._db.close()

    # Writing

    def note(self, kind: str, data: JSON) -> None:
        """Write down what an event changed."""
        self._db.execute("BEGIN")
        try:
            self._note(kind, data)
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _note(self, kind: str, data: JSON) -> None:
        world = self._world
        if kind in _MESSAGES or kind in _REACTIONS:
            channel = world.channels.get(int(data["channel_id"]))
            message_id = int(data["message_id"] if kind in _REACTIONS else data["id"])
            if channel is not None and message_id in channel.messages:
                self._save_message(channel.messages[message_id])
                self._save_channel(channel)  # DMs are announced by nothing else; threads count messages
        elif kind == "MESSAGE_DELETE":
            self._delete("message", int(data["id"]))
            self._save_channel(world.channels[int(data["channel_id"])])
        elif kind in _CHANNELS:
            channel = world.channels.get(int(data["id"]))
            if channel is not None:
                self._save_channel(channel)
        elif kind in ("CHANNEL_DELETE", "THREAD_DELETE"):
            self._delete("channel", int(data["id"]))
        elif kind in ("GUILD_MEMBER_ADD", "GUILD_ROLE_CREATE"):
            self._save_guild(world.guilds[int(data["guild_id"])])
        elif kind == "COMMANDS":
            self._save_application()
        elif kind in _INTERACTIONS:
            sent = self._interactions.find(int(data["id"]))
            if sent is not None:
                self._save_interaction(sent)

    def save_all(self, admin_token: str) -> None:
        """Write the whole world down: after a fresh one was made, or its address changed."""
        self._db.execute("BEGIN")
        self._put("address", 0, None, {"url": self._world.base_url, "admin_token": admin_token})
        self._save_application()
        for guild in self._world.guilds.values():
            self._save_guild(guild)
        for channel in self._world.channels.values():
            self._save_channel(channel)
            for message in channel.messages.values():
                self._save_message(message)
        self._db.execute("COMMIT")

    def _put(self, kind: str, key: int, place: int | None, body: JSON) -> None:
        text = json.dumps(body, ensure_ascii=False)
        self._db.execute("INSERT OR REPLACE INTO record VALUES (?, ?, ?, ?)", (kind, key, place, text))

    def _delete(self, kind: str, key: int) -> None:
        if kind == "channel":
            inner = self._db.execute("SELECT id FROM record WHERE kind = 'channel' AND place = ?", (key,))
            for (thread,) in inner.fetchall():
                self._delete("channel", thread)
            inside = "SELECT id FROM record WHERE kind = 'message' AND place = ?"
            self._db.execute(f"DELETE FROM file WHERE owner IN ({inside})", (key,))  # noqa: S608 - constants
            self._db.execute("DELETE FROM record WHERE kind = 'message' AND place = ?", (key,))
        else:
            self._db.execute("DELETE FROM file WHERE owner = ?", (key,))
        self._db.execute("DELETE FROM record WHERE kind = ? AND id = ?", (kind, key))

    def _save_application(self) -> None:
        app = self._world.application
        commands = [[scope, list(found.values())] for scope, found in app.commands.items()]
        body: JSON = {"name": app.name, "bot": app.bot.id, "owner": app.owner.id, "token": app.token}
        body |= {"message_content": app.message_content, "commands": commands}
        self._put("application", app.id, None, body)

    def _save_guild(self, guild: Guild) -> None:
        for user in self._world.users.values():
            self._put("user", user.id, None, {"name": user.name, "shown": user.display_name, "bot": user.bot})
        roles = [[r.id, r.name, r.permissions, r.position, r.managed] for r in guild.roles.values()]
        members = [[m.user.id, m.joined_at.isoformat(), m.role_ids, m.nick] for m in guild.members.values()]
        body: JSON = {"name": guild.name, "owner": guild.owner_id, "roles": roles, "members": members}
        body |= {"premium_tier": guild.premium_tier, "upload_limit": guild.upload_limit_override}
        self._put("guild", guild.id, None, body)

    def _save_channel(self, channel: Channel) -> None:
        body: JSON = {
            "type": int(channel.type),
            "name": channel.name,
            "guild": channel.guild_id,
            "topic": channel.topic,
            "nsfw": channel.nsfw,
            "position": channel.position,
            "parent": channel.parent_id,
            "overwrites": [[i, o.kind, o.allow, o.deny] for i, o in channel.overwrites.items()],
            "recipients": channel.recipient_ids,
            "archive_minutes": channel.default_auto_archive_minutes,
        }
        thread = channel.thread
        if thread is not None:
            body["thread"] = {
                "owner_id": thread.owner_id,
                "auto_archive_minutes": thread.auto_archive_minutes,
                "created_at": thread.created_at.isoformat(),
                "archive_changed_at": thread.archive_changed_at.isoformat(),
                "last_active": thread.last_active,
                "archived": thread.archived,
                "locked": thread.locked,
                "invitable": thread.invitable,
                "joined": [[i, at.isoformat()] for i, at in thread.joined.items()],
                "message_count": thread.message_count,
            }
        self._put("channel", channel.id, channel.parent_id, body)

    def _save_message(self, m: Message) -> None:
        body: JSON = {
            "guild": m.guild_id,
            "author": m.author.id,
            "type": int(m.type),
            "created_at": m.created_at.isoformat(),
            "edited_at": m.edited_at and m.edited_at.isoformat(),
            "reference": m.reference
            and [m.reference.message_id, m.reference.channel_id, m.reference.guild_id],
            "cause": m.cause and _cause(m.cause),
            **{name: getattr(m, name) for name in _PLAIN},
        }
        self._put("message", m.id, m.channel_id, body)
        self._save_files(m.id, m.attachments)

    def _save_files(self, owner: int, files: list[Attachment]) -> None:
        kept = {i for (i,) in self._db.execute("SELECT id FROM file WHERE owner = ?", (owner,))}
        wanted = {a.id: a for a in files}
        self._db.executemany("DELETE FROM file WHERE id = ?", [(i,) for i in kept - set(wanted)])
        for a in files:
            if a.id not in kept:
                body: JSON = {"channel": a.channel_id, "name": a.filename, "type": a.content_type}
                body |= {"description": a.description, "width": a.width, "height": a.height}
                row = (a.id, owner, json.dumps(body, ensure_ascii=False), a.data)
                self._db.execute("INSERT INTO file VALUES (?, ?, ?, ?)", row)

    def _save_interaction(self, sent: SentInteraction) -> None:
        clock = self._world.clock
        body: JSON = {
            "token": sent.token,
            "kind": sent.kind,
            "user": sent.user_id,
            "channel": sent.channel_id,
            "data": sent.data,
            "created": clock.time() - (clock.monotonic() - sent.created),
            "command": sent.command,
            "source": sent.source and sent.source.id,
            "acknowledged_after": sent.acknowledged_after,
            "failed": sent.failed,
            "callback_type": sent.callback_type,
            "ephemeral": sent.ephemeral,
            "response": sent.response and sent.response.id,
        }
        self._put("interaction", sent.id, sent.channel_id, body)
        ids = [int(i) for i in (sent.data.get("resolved") or {}).get("attachments") or {}]
        files = [self._world.attachments[i] for i in ids if i in self._world.attachments]
        if files:
            self._save_files(sent.id, files)

    # Reading

    def load(self) -> JSON | None:
        """Fill the world from the file; return the former address and token, None for an empty file."""
        address = next(self._records("address"), None)
        if address is None:
            return None
        self._load_accounts()
        for key, body in self._records("channel"):
            self._world.channels[key] = _channel(key, body)
        files = self._load_files()
        last = 0
        for (key,) in self._db.execute("SELECT max(id) FROM record UNION SELECT max(id) FROM file"):
            last = max(last, key or 0)
        self._world.continue_after(last)
        self._forget_the_expired()
        for key, place, text in self._db.execute(
            "SELECT id, place, body FROM record WHERE kind = 'message' ORDER BY id"
        ):
            channel = self._world.channels.get(place)
            if channel is not None:
                channel.messages[key] = self._message(key, place, json.loads(text), files.get(key, []))
        self._load_interactions()
        return address[1]

    def _records(self, kind: str) -> Iterator[tuple[int, JSON]]:
        rows = self._db.execute("SELECT id, body FROM record WHERE kind = ? ORDER BY id", (kind,))
        return ((key, json.loads(text)) for key, text in rows.fetchall())

    def _load_accounts(self) -> None:
        world = self._world
        for key, body in self._records("user"):
            world.users[key] = User(key, body["name"], body["shown"], body["bot"])
        for key, body in self._records("application"):
            bot, owner = world.users[body["bot"]], world.users[body["owner"]]
            world.application = Application(
                key, body["name"], bot, owner, body["token"], body["message_content"]
            )
            for scope, commands in body["commands"]:
                world.application.commands[scope] = {int(c["id"]): c for c in commands}
        for key, body in self._records("guild"):
            guild = Guild(key, body["name"], body["owner"], body["premium_tier"], body["upload_limit"])
            guild.roles = {row[0]: Role(*row) for row in body["roles"]}
            for user_id, joined, role_ids, nick in body["members"]:
                when = datetime.fromisoformat(joined)
                guild.members[user_id] = Member(world.users[user_id], key, when, role_ids, nick)
            world.guilds[key] = guild

    def _load_files(self) -> dict[int, list[Attachment]]:
        by_owner: dict[int, list[Attachment]] = {}
        for key, owner, text, data in self._db.execute("SELECT id, owner, body, data FROM file ORDER BY id"):
            b = json.loads(text)
            file = Attachment(
                key, b["channel"], b["name"], data, b["type"], b["description"], b["width"], b["height"]
            )
            self._world.attachments[key] = file
            by_owner.setdefault(owner, []).append(file)
        return by_owner

    def _forget_the_expired(self) -> None:
        # An ephemeral message cannot be reached any more once its token is void; Discord's client, too, has
        # none left after it was started anew.
        edge = self._world.clock.time() - TOKEN_SECONDS
        for kind, field_ in (("interaction", None), ("message", "visible_to")):
            for key, body in self._records(kind):
                created = body.get("created") or datetime.fromisoformat(body["created_at"]).timestamp()
                if created < edge and (field_ is None or body[field_]):
                    self._delete(kind, key)

    def _message(self, key: int, channel_id: int, body: JSON, files: list[Attachment]) -> Message:
        cause = body["cause"]
        return Message(
            id=key,
            channel_id=channel_id,
            guild_id=body["guild"],
            author=self._world.users[body["author"]],
            type=MessageType(body["type"]),
            created_at=datetime.fromisoformat(body["created_at"]),
            edited_at=datetime.fromisoformat(body["edited_at"]) if body["edited_at"] else None,
            attachments=files,
            reference=Reference(*body["reference"]) if body["reference"] else None,
            cause=Cause(*cause) if cause else None,
            **{name: body[name] for name in _PLAIN},
        )

    def _load_interactions(self) -> None:
        clock, by_cause = self._world.clock, self._messages_by_cause()
        for key, b in self._records("interaction"):
            sent = SentInteraction(
                id=key,
                token=b["token"],
                kind=b["kind"],
                user_id=b["user"],
                channel_id=b["channel"],
                data=b["data"],
                created=clock.monotonic() - (clock.time() - b["created"]),
                command=b["command"],
                source=self._world.find_message(b["source"]) if b["source"] else None,
                acknowledged_after=b["acknowledged_after"],
                # Whoever was to answer is gone with the member's three seconds.
                failed=b["failed"] or b["acknowledged_after"] is None,
                callback_type=b["callback_type"],
                ephemeral=b["ephemeral"],
                response=self._world.find_message(b["response"]) if b["response"] else None,
            )
            sent.followups = [m for m in by_cause.get(key, []) if m is not sent.response]
            sent.done.set()
            self._interactions.restore(sent)

    def _messages_by_cause(self) -> dict[int, list[Message]]:
        found: dict[int, list[Message]] = {}
        for channel in self._world.channels.values():
            for message in channel.messages.values():
                if message.cause is not None:
                    found.setdefault(message.cause.id, []).append(message)
        return found


# What of a message is JSON as it stands.
_PLAIN = (
    *("content", "embeds", "components", "reactions", "mentions", "mention_roles", "mention_everyone"),
    *("flags", "nonce", "tts", "webhook_id", "thread_id", "visible_to"),
)


def _cause(cause: Cause) -> list[Any]:
    return [
        *(cause.id, cause.kind, cause.user_id, cause.command),
        *(cause.original_response_id, cause.source_message_id),
    ]


def _channel(key: int, body: JSON) -> Channel:
    channel = Channel(
        id=key,
        type=ChannelType(body["type"]),
        name=body["name"],
        guild_id=body["guild"],
        topic=body["topic"],
        nsfw=body["nsfw"],
        position=body["position"],
        parent_id=body["parent"],
        overwrites={i: Overwrite(kind, allow, deny) for i, kind, allow, deny in body["overwrites"]},
        recipient_ids=body["recipients"],
        default_auto_archive_minutes=body["archive_minutes"],
    )
    if "thread" in body:
        state = body["thread"]
        for name in ("created_at", "archive_changed_at"):
            state[name] = datetime.fromisoformat(state[name])
        state["joined"] = {i: datetime.fromisoformat(at) for i, at in state["joined"]}
        channel.thread = ThreadState(**state)
    return channel


def rebase(world: World, former: str) -> None:
    """Change the addresses of this server's own files in messages, when it listens elsewhere than before."""
    if former == world.base_url:
        return

    def moved(value: Any) -> Any:
        if isinstance(value, str) and value.startswith(f"{former}/"):
            return world.base_url + value.removeprefix(former)
        if isinstance(value, dict):
            return {key: moved(inner) for key, inner in value.items()}
        return [moved(inner) for inner in value] if isinstance(value, list) else value

    for channel in world.channels.values():
        for message in channel.messages.values():
            message.embeds, message.components = moved(message.embeds), moved(message.components)
