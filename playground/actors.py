"""Members that a test or a page acts as: what a person does in Discord's client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from playground import serialise
from playground.errors import JSON, RefusedError
from playground.interactions import (
    AUTOCOMPLETE,
    COMMAND,
    COMPONENT,
    MODAL,
    MODAL_SUBMIT,
    SentInteraction,
    check_choice,
    modal_answer,
)
from playground.permissions import Permission
from playground.state import Channel, ChannelType, Message, Role, Upload, User
from playground.validate import Draft, walk

if TYPE_CHECKING:
    from playground.server import Playground

_SUBCOMMAND, _GROUP, _STRING, _INTEGER, _BOOLEAN, _USER = 1, 2, 3, 4, 5, 6
_CHANNEL, _ROLE, _MENTIONABLE, _NUMBER, _ATTACHMENT = 7, 8, 9, 10, 11
_ENTITY_MENUS = {5: _USER, 6: _ROLE, 7: _MENTIONABLE, 8: _CHANNEL}  # select menus and what they take
_BIGGEST_INTEGER = 2**53
File = tuple[str, bytes]


class Actor:
    """One member. Every method does what a click or a key press would, with the client's own checks.

    Raises RefusedError where the client would not let a member go on, ApiError where Discord would say no.
    Methods that set an interaction going return when the bot has acknowledged it or three seconds are over;
    with `settle=False` they return at once.
    """

    def __init__(self, discord: Playground, user: User) -> None:
        self._discord = discord
        self.user = user

    def __repr__(self) -> str:
        return f"<Actor {self.user.name}>"

    @property
    def id(self) -> int:
        """Return the user's id."""
        return self.user.id

    @property
    def mention(self) -> str:
        """Return the text that mentions this member."""
        return f"<@{self.user.id}>"

    def dm(self) -> Channel:
        """Return the DM channel with the bot."""
        return self._discord.threads_service.dm(self.id, self._discord.bot.id)

    # Messages

    async def send(
        self,
        channel: Channel | int,
        text: str = "",
        *,
        reply_to: Message | None = None,
        ping: bool = True,
        files: Iterable[File] = (),
    ) -> Message:
        """Write a message; `ping` is the reply's @ON/@OFF switch. Files are (name, bytes)."""
        draft = Draft(content=text, uploads={i: Upload(n, d) for i, (n, d) in enumerate(files)})
        draft.allowed_mentions = {"parse": ["users", "roles", "everyone"], "replied_user": ping}
        if reply_to is not None:
            draft.reference = {"message_id": str(reply_to.id)}
        return self._discord.messages_service.send(self.id, self._channel(channel), draft)

    async def edit(self, message: Message, text: str) -> Message:
        """Change the text of one's own message."""
        return self._discord.messages_service.edit(self.id, message, Draft(content=text))

    async def delete(self, message: Message) -> None:
        """Delete a message."""
        self._see(message)
        self._discord.messages_service.delete(self.id, message)

    async def react(self, message: Message, emoji: str) -> None:
        """Add a reaction."""
        self._see(message)
        self._discord.messages_service.react(self.id, message, emoji)

    async def unreact(self, message: Message, emoji: str) -> None:
        """Take a reaction back."""
        self._see(message)
        self._discord.messages_service.unreact(self.id, message, emoji, self.id)

    async def start_thread(
        self, channel: Channel | int, name: str, *, message: Message | None = None, private: bool = False
    ) -> Channel:
        """Start a thread."""
        where = self._channel(channel)
        return self._discord.threads_service.start(self.id, where, name, message=message, private=private)

    async def edit_thread(self, thread: Channel, **changes: Any) -> None:
        """Archive, lock or rename: `archived`, `locked`, `name`, `auto_archive_duration`."""
        self._discord.threads_service.edit(self.id, thread, changes)

    # Commands

    async def slash(
        self, channel: Channel | int, name: str, /, *, settle: bool = True, **options: Any
    ) -> SentInteraction:
        """Use a slash command; `name` may have subcommands: `"settings show"`.

        Options are plain values; members, channels and roles may be given as objects, an attachment as
        (name, bytes), a choice by its name or its value.
        """
        where = self._channel(channel)
        command, data, resolved = self._command_data(where, name)
        leaf, schema = _leaf(command, data, name)
        leaf["options"] = [
            self._option(where, schema, key, value, resolved)
            for key, value in options.items()
            if value is not None
        ]
        given = {o["name"] for o in leaf["options"]}
        missing = [o["name"] for o in schema if o.get("required") and o["name"] not in given]
        if missing:
            raise RefusedError(f"/{name} needs {', '.join(missing)}")
        return await self._begin(COMMAND, where, data, settle, command=name)

    async def autocomplete(
        self, channel: Channel | int, name: str, /, focused: str, typed: str = "", **options: Any
    ) -> list[JSON]:
        """Type into an option that completes; return the offered choices ({"name", "value"})."""
        where = self._channel(channel)
        command, data, resolved = self._command_data(where, name)
        leaf, schema = _leaf(command, data, name)
        option = next((o for o in schema if o["name"] == focused), None)
        if option is None or not option.get("autocomplete"):
            raise RefusedError(f"/{name} does not complete {focused}")
        leaf["options"] = [self._option(where, schema, k, v, resolved) for k, v in options.items()]
        leaf["options"].append({"name": focused, "type": option["type"], "value": typed, "focused": True})
        return (await self._begin(AUTOCOMPLETE, where, data, True, command=name)).choices

    async def context_menu(
        self, target: Message | Actor, name: str, *, channel: Channel | int | None = None, settle: bool = True
    ) -> SentInteraction:
        """Use a message's or a member's context menu; for a member, say in which channel."""
        if isinstance(target, Message):
            where, kind = self._see(target), 3
        else:
            if channel is None:
                raise ValueError("a member's context menu needs a channel")
            where, kind = self._channel(channel), 2
        _, data, resolved = self._command_data(where, name, kind)
        data["target_id"] = str(target.id)
        if isinstance(target, Message):
            resolved["messages"] = {str(target.id): serialise.message(self._discord.world, target)}
        else:
            self._resolve_user(where, target.id, resolved)
        return await self._begin(COMMAND, where, data, settle, command=name)

    def _command_data(self, where: Channel, name: str, kind: int = 1) -> tuple[JSON, JSON, JSON]:
        self._discord.interactions.check_usable(self.id, where)
        base = name.split()[0] if kind == 1 else name
        command = self._discord.world.command(where.guild_id, base, kind)
        if command is None:
            raise RefusedError(f"there is no command {base!r} here")
        self._check_command(where, command)
        resolved: JSON = {}
        data: JSON = {"id": command["id"], "name": base, "type": kind, "resolved": resolved}
        if "guild_id" in command:
            data["guild_id"] = command["guild_id"]
        return command, data, resolved

    def _check_command(self, where: Channel, command: JSON) -> None:
        contexts = command.get("contexts")
        in_dm = where.type is ChannelType.DM
        if in_dm and (command.get("dm_permission") is False or (contexts is not None and 1 not in contexts)):
            raise RefusedError(f"{command['name']!r} is not offered in DMs")
        if not in_dm and contexts is not None and 0 not in contexts:
            raise RefusedError(f"{command['name']!r} is not offered in servers")
        if command.get("nsfw") and not where.nsfw and not in_dm:
            raise RefusedError(f"{command['name']!r} is for age-restricted channels")
        needed = command.get("default_member_permissions")
        if needed is not None and not in_dm:
            bits = Permission(int(needed))
            # Zero means: administrators only.
            allowed = serialise.permissions_of(self._discord.world, where, self.id)
            if (int(needed) == 0 and not allowed & Permission.ADMINISTRATOR) or allowed & bits != bits:
                raise RefusedError(f"{command['name']!r} is not offered to this member")

    def _option(self, where: Channel, schema: list[JSON], key: str, value: Any, resolved: JSON) -> JSON:
        option = next((o for o in schema if o["name"] == key), None)
        if option is None:
            raise RefusedError(f"there is no option {key!r}; there are {[o['name'] for o in schema]}")
        kind = option["type"]
        if option.get("choices"):
            value = _choice(option, value)
        elif kind in (_STRING, _INTEGER, _NUMBER, _BOOLEAN):
            _check_plain(option, value)
        else:
            value = self._entity(where, option, value, resolved)
        return {"name": key, "type": kind, "value": value}

    def _entity(self, where: Channel, option: JSON, value: Any, resolved: JSON) -> str:
        world = self._discord.world
        kind, key = option["type"], option["name"]
        if kind == _ATTACHMENT:
            if not (isinstance(value, tuple) and len(value) == 2):
                raise RefusedError(f"{key} takes a file: (name, bytes)")
            if len(value[1]) > world.upload_limit(where.guild_id):
                raise RefusedError(f"{key}: the file is too large")
            file = self._discord.messages_service.store(where.id, Upload(*value))
            resolved.setdefault("attachments", {})[str(file.id)] = serialise.attachment(world, file)
            return str(file.id)
        if kind in (_USER, _MENTIONABLE) and isinstance(value, (Actor, User)):
            return self._resolve_user(where, value.id, resolved)
        if kind == _CHANNEL and isinstance(value, Channel):
            wanted = option.get("channel_types")
            if wanted and value.type not in wanted:
                raise RefusedError(f"{key} does not take this kind of channel")
            permissions = str(int(serialise.permissions_of(world, value, self.id)))
            shown = serialise.channel(world, value) | {"permissions": permissions}
            resolved.setdefault("channels", {})[str(value.id)] = shown
            return str(value.id)
        if kind in (_ROLE, _MENTIONABLE) and isinstance(value, Role):
            resolved.setdefault("roles", {})[str(value.id)] = serialise.role(value)
            return str(value.id)
        raise RefusedError(f"{key} does not take {value!r}")

    def _resolve_user(self, where: Channel, user_id: int, resolved: JSON) -> str:
        world = self._discord.world
        resolved.setdefault("users", {})[str(user_id)] = serialise.user(world.users[user_id])
        member = None if where.guild_id is None else world.guilds[where.guild_id].members.get(user_id)
        if member is not None:
            permissions = str(int(serialise.permissions_of(world, where, user_id)))
            shown = serialise.member(member, with_user=False) | {"permissions": permissions}
            resolved.setdefault("members", {})[str(user_id)] = shown
        return str(user_id)

    # Components and modals

    async def click(self, message: Message, custom_id: str, *, settle: bool = True) -> SentInteraction:
        """Press a button."""
        button = self._component(message, custom_id, (2,))
        data: JSON = {"custom_id": custom_id, "component_type": 2, "id": button.get("id", 0)}
        return await self._begin(COMPONENT, self._see(message), data, settle, source=message)

    async def select(
        self, message: Message, custom_id: str, *values: str | Actor | Channel | Role, settle: bool = True
    ) -> SentInteraction:
        """Choose from a select menu: option values, or members, channels, roles or their ids."""
        where = self._see(message)
        menu = self._component(message, custom_id, (3, 5, 6, 7, 8))
        resolved: JSON = {}
        option = _as_option(menu)
        chosen = list(self._chosen(where, option, values, resolved))
        data: JSON = {
            "custom_id": custom_id,
            "component_type": menu["type"],
            "id": menu.get("id", 0),
            "values": check_choice(menu, chosen),
        }
        if menu["type"] != 3:
            data["resolved"] = resolved  # a menu of texts has none, and discord.py minds
        return await self._begin(COMPONENT, where, data, settle, source=message)

    def _chosen(self, where: Channel, option: JSON, values: Iterable[Any], resolved: JSON) -> Iterator[str]:
        world = self._discord.world
        for value in values:
            if isinstance(value, str) and option["type"] != _STRING:
                places: list[Mapping[int, Any]] = [world.users, self._discord.guild.roles, world.channels]
                value = next((p[int(value)] for p in places if int(value) in p), value)
            yield value if isinstance(value, str) else self._entity(where, option, value, resolved)

    def _component(self, message: Message, custom_id: str, kinds: tuple[int, ...]) -> JSON:
        self._see(message)
        for component in walk(message.components):
            if component.get("custom_id") == custom_id and component["type"] in kinds:
                if component.get("disabled"):
                    raise RefusedError(f"{custom_id} is disabled")
                return component
        ids = [c["custom_id"] for c in walk(message.components) if c.get("custom_id")]
        raise RefusedError(f"the message has no {custom_id!r}; it has {ids}")

    async def submit_modal(
        self, opened: SentInteraction, values: Mapping[str, Any] | None = None, *, settle: bool = True
    ) -> SentInteraction:
        """Fill and send the modal that answered an interaction; what is left out stays as prefilled."""
        if opened.modal is None or opened.callback_type != MODAL or opened.submitted:
            raise RefusedError("no modal is open")
        if opened.user_id != self.id:
            raise RefusedError("that is another member's modal")
        filled = modal_answer(opened.modal, dict(values or {}))
        where = self._channel(opened.channel_id)
        resolved: JSON = {}
        for component in walk(filled):
            if component["type"] in _ENTITY_MENUS:
                list(self._chosen(where, _as_option(component), component["values"], resolved))
        data: JSON = {"custom_id": opened.modal["custom_id"], "components": filled, "resolved": resolved}
        sent = await self._begin(MODAL_SUBMIT, where, data, settle, source=opened.source)
        opened.submitted = not sent.failed  # after a failure the form stays open, to try again
        return sent

    # Common

    async def _begin(
        self,
        kind: int,
        where: Channel,
        data: JSON,
        settle: bool,
        *,
        command: str | None = None,
        source: Message | None = None,
    ) -> SentInteraction:
        sent = self._discord.interactions.begin(kind, self.id, where, data, command=command, source=source)
        return await sent.settled() if settle else sent

    def _channel(self, channel: Channel | int) -> Channel:
        where = self._discord.world.channel(channel if isinstance(channel, int) else channel.id)
        return self._discord.hub.see(self.id, where)

    def _see(self, message: Message) -> Channel:
        if message.deleted:
            raise RefusedError("the message is gone")
        if message.visible_to not in (None, self.id):
            raise RefusedError("the message is not shown to this member")
        return self._channel(message.channel_id)


def _as_option(menu: JSON) -> JSON:
    kind = _ENTITY_MENUS.get(menu["type"], _STRING)
    return {"name": menu["custom_id"], "type": kind, "channel_types": menu.get("channel_types")}


def _leaf(command: JSON, data: JSON, name: str) -> tuple[JSON, list[JSON]]:
    """Return the part of `data` that takes the options, and their schema, going down the subcommands."""
    schema = command.get("options") or []
    for word in name.split()[1:]:
        found = next((o for o in schema if o["name"] == word and o["type"] in (_SUBCOMMAND, _GROUP)), None)
        if found is None:
            raise RefusedError(f"there is no /{name}")
        inner: JSON = {"name": word, "type": found["type"]}
        data["options"] = [inner]
        data, schema = inner, found.get("options") or []
    if any(o["type"] in (_SUBCOMMAND, _GROUP) for o in schema):
        raise RefusedError(f"/{name} needs a subcommand")
    return data, schema


def _choice(option: JSON, value: Any) -> Any:
    for choice in option["choices"]:
        if value in (choice["value"], choice["name"]):
            return choice["value"]
    raise RefusedError(f"{option['name']} does not offer {value!r}")


def _check_plain(option: JSON, value: Any) -> None:
    name, kind = option["name"], option["type"]
    types: dict[int, tuple[type, ...]] = {
        _STRING: (str,),
        _INTEGER: (int,),
        _NUMBER: (int, float),
        _BOOLEAN: (bool,),
    }
    if not isinstance(value, types[kind]) or (kind != _BOOLEAN and isinstance(value, bool)):
        raise RefusedError(f"{name} does not take {value!r}")
    if kind == _STRING:
        low, high = int(option.get("min_length") or 0), int(option.get("max_length") or 6000)
        if not max(low, 1) <= len(value) <= high:
            raise RefusedError(f"{name} takes {low} to {high} characters")
    elif kind != _BOOLEAN:
        low_value = option.get("min_value", -_BIGGEST_INTEGER)
        high_value = option.get("max_value", _BIGGEST_INTEGER)
        if not low_value <= value <= high_value:
            raise RefusedError(f"{name} takes {low_value} to {high_value}")
