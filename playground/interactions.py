"""Interactions: commands, clicks and forms on their way to the bot, and what it answers in time."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import Any

from playground import serialise
from playground.errors import JSON, ApiError, FormErrors, RefusedError, unknown
from playground.hub import Hub
from playground.messages import Answer, Messages
from playground.permissions import Permission
from playground.state import Cause, Channel, ChannelType, Message, MessageFlag, MessageType, Reference, Upload
from playground.validate import Draft, check_choices, check_modal

ACKNOWLEDGE_SECONDS = 3.0
TOKEN_SECONDS = 15 * 60.0

COMMAND, COMPONENT, AUTOCOMPLETE, MODAL_SUBMIT = 2, 3, 4, 5
PONG, MESSAGE, DEFERRED_MESSAGE, DEFERRED_UPDATE, UPDATE, CHOICES, MODAL = 1, 4, 5, 6, 7, 8, 9
# Which callbacks each kind of interaction may get; a form from a button may also update its message.
_CALLBACKS = {
    COMMAND: {MESSAGE, DEFERRED_MESSAGE, MODAL},
    COMPONENT: {MESSAGE, DEFERRED_MESSAGE, DEFERRED_UPDATE, UPDATE, MODAL},
    AUTOCOMPLETE: {CHOICES},
    MODAL_SUBMIT: {MESSAGE, DEFERRED_MESSAGE, DEFERRED_UPDATE, UPDATE},
}


@dataclass(slots=True, eq=False)
class SentInteraction:
    """What a member set going, and how the bot answered."""

    id: int
    token: str
    kind: int
    user_id: int
    channel_id: int
    data: JSON
    created: float  # Clock.monotonic()
    command: str | None = None
    source: Message | None = None  # the message whose component was used
    acknowledged_after: float | None = None  # seconds
    failed: bool = False  # "The application did not respond"
    callback_type: int | None = None
    ephemeral: bool = False
    response: Message | None = None  # the original response, or the message that a component updates
    followups: list[Message] = field(default_factory=list)
    modal: JSON | None = None
    submitted: bool = False  # whether its modal was sent off, which closes it
    choices: list[JSON] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    timer: asyncio.TimerHandle | None = None

    async def settled(self) -> SentInteraction:
        """Return when the bot has acknowledged it or the three seconds are over."""
        await self.done.wait()
        return self

    @property
    def messages(self) -> list[Message]:
        """Return the original response and the follow-ups."""
        return ([self.response] if self.response is not None else []) + self.followups


class Interactions:
    """All interactions and the deadlines of their answers."""

    def __init__(self, hub: Hub, messages: Messages) -> None:
        self._hub = hub
        self._world = hub.world
        self._messages = messages
        self._by_id: dict[int, SentInteraction] = {}
        self._by_token: dict[str, SentInteraction] = {}

    @property
    def all(self) -> list[SentInteraction]:
        """Return every interaction, oldest first."""
        return list(self._by_id.values())

    def find(self, interaction_id: int) -> SentInteraction | None:
        """Return an interaction by its id."""
        return self._by_id.get(interaction_id)

    def restore(self, sent: SentInteraction) -> None:
        """Take back an interaction of a former run; its token still serves until it is too old."""
        self._by_id[sent.id] = self._by_token[sent.token] = sent

    def begin(
        self,
        kind: int,
        user_id: int,
        channel: Channel,
        data: JSON,
        *,
        command: str | None = None,
        source: Message | None = None,
    ) -> SentInteraction:
        """Send an interaction to the bot and start its three seconds."""
        sent = SentInteraction(
            id=self._world.snowflake(),
            token=secrets.token_urlsafe(48),
            kind=kind,
            user_id=user_id,
            channel_id=channel.id,
            data=data,
            created=self._world.clock.monotonic(),
            command=command,
            source=source,
        )
        self._by_id[sent.id] = sent
        self._by_token[sent.token] = sent
        loop = asyncio.get_running_loop()
        sent.timer = loop.call_later(ACKNOWLEDGE_SECONDS, self._give_up, sent)
        # To the bot whether or not it sees the channel: an interaction brings its own access.
        self._hub.tell("INTERACTION_CREATE", self._payload(sent, channel))
        return sent

    def _payload(self, sent: SentInteraction, channel: Channel) -> JSON:
        app = self._world.application
        data: JSON = {
            "id": str(sent.id),
            "application_id": str(app.id),
            "type": sent.kind,
            "token": sent.token,
            "version": 1,
            "channel_id": str(channel.id),
            "channel": serialise.channel(self._world, channel, viewer=app.bot.id),
            "locale": self._world.users[sent.user_id].locale,
            "entitlements": [],
            "attachment_size_limit": self._world.upload_limit(channel.guild_id),
            "app_permissions": str(int(serialise.permissions_of(self._world, channel, app.bot.id))),
            "data": sent.data,
        }
        allowed = str(int(serialise.permissions_of(self._world, channel, sent.user_id)))
        data["channel"]["permissions"] = allowed
        if channel.guild_id is None:
            data |= {"user": serialise.user(self._world.users[sent.user_id]), "context": 1}
            data["authorizing_integration_owners"] = {"0": "0"}
        else:
            guild = self._world.guilds[channel.guild_id]
            member = guild.members[sent.user_id]
            data |= {
                "guild_id": str(channel.guild_id),
                "guild": {"id": str(guild.id), "locale": guild.locale, "features": guild.features},
                "guild_locale": guild.locale,
                "member": serialise.member(member) | {"permissions": allowed},
                "authorizing_integration_owners": {"0": str(channel.guild_id)},
                "context": 0,
            }
        if sent.source is not None:
            data["message"] = serialise.message(self._world, sent.source)
        return data

    def _give_up(self, sent: SentInteraction) -> None:
        if not sent.done.is_set():
            sent.failed = True
            self._settle(sent, "INTERACTION_FAILED")

    def _settle(self, sent: SentInteraction, kind: str) -> None:
        if sent.timer is not None:
            sent.timer.cancel()
        sent.done.set()
        data: JSON = {
            "id": str(sent.id),
            "user_id": str(sent.user_id),
            "channel_id": str(sent.channel_id),
            "callback_type": sent.callback_type,
            "after": sent.acknowledged_after,
        }
        if sent.modal is not None:
            data["modal"] = sent.modal
        self._hub.feed.publish(kind, data)

    def sweep(self) -> None:
        """Let what is overdue fail, after the clock was moved."""
        for sent in self._by_id.values():
            if self._age(sent) >= ACKNOWLEDGE_SECONDS:
                self._give_up(sent)

    def _age(self, sent: SentInteraction) -> float:
        return self._world.clock.monotonic() - sent.created

    def close(self) -> None:
        """Stop all timers."""
        for sent in self._by_id.values():
            if sent.timer is not None:
                sent.timer.cancel()

    def callback(self, interaction_id: int, token: str, payload: JSON, uploads: dict[int, Upload]) -> JSON:
        """Take the bot's first answer; return the callback resource.

        Raises 10062 for one that is unknown or three seconds old, 40060 for a second answer.
        """
        sent = self._by_id.get(interaction_id)
        if sent is None or sent.token != token:
            raise unknown("Interaction")
        if self._age(sent) >= ACKNOWLEDGE_SECONDS:
            self._give_up(sent)
        if sent.failed:
            raise unknown("Interaction")
        if sent.done.is_set():
            raise ApiError(400, 40060, "Interaction has already been acknowledged.")
        kind = int(payload.get("type", 0))
        self._check_callback(sent, kind)
        self._respond(sent, kind, payload.get("data") or {}, uploads)
        sent.callback_type = kind
        sent.acknowledged_after = self._age(sent)
        self._settle(sent, "INTERACTION_ACKNOWLEDGED")
        return self._resource(sent, kind)

    def _check_callback(self, sent: SentInteraction, kind: int) -> None:
        allowed = _CALLBACKS[sent.kind]
        if sent.source is None:
            allowed = allowed - {DEFERRED_UPDATE, UPDATE}
        if kind not in allowed:
            errors = FormErrors()
            choices = ", ".join(map(str, sorted(allowed)))
            errors.add("type", "BASE_TYPE_CHOICES", f"Value must be one of {{{choices}}}.")
            errors.raise_if_any()

    def _respond(self, sent: SentInteraction, kind: int, data: JSON, uploads: dict[int, Upload]) -> None:
        flags = int(data.get("flags") or 0)
        if kind in (MESSAGE, DEFERRED_MESSAGE):
            loading = kind == DEFERRED_MESSAGE
            draft = Draft(flags=flags) if loading else Draft.from_request(data, uploads)
            sent.ephemeral = bool(flags & MessageFlag.EPHEMERAL)
            sent.response = self._answer(sent, draft, ephemeral=sent.ephemeral, loading=loading)
        elif kind == DEFERRED_UPDATE:
            sent.response = sent.source
        elif kind == UPDATE and sent.source is not None:
            sent.response = sent.source
            self._messages.apply_edit(sent.source, Draft.from_request(data, uploads))
        elif kind == CHOICES:
            sent.choices = list(data.get("choices") or [])
            check_choices(sent.choices)
        elif kind == MODAL:
            check_modal(data)
            sent.modal = data

    def _answer(
        self, sent: SentInteraction, draft: Draft, *, ephemeral: bool, loading: bool = False
    ) -> Message:
        source_id = None if sent.source is None else sent.source.id
        # An interaction that has been acknowledged gets follow-ups, which refer to the first answer.
        original, first = sent.acknowledged_after is None, sent.response
        first_id = None if original or first is None else first.id
        cause = Cause(sent.id, sent.kind, sent.user_id, sent.command, first_id, source_id)
        flags = (MessageFlag.LOADING if loading else 0) | (MessageFlag.EPHEMERAL if ephemeral else 0)
        channel = self._world.channel(sent.channel_id)
        answered = sent.source if original else first
        reference = None
        kind = MessageType.DEFAULT
        if answered is not None and answered.channel_id == channel.id:
            kind, reference = MessageType.REPLY, Reference(answered.id, channel.id, channel.guild_id)
        elif original and sent.kind == COMMAND:
            is_slash = sent.data.get("type", 1) == 1
            kind = MessageType.CHAT_INPUT_COMMAND if is_slash else MessageType.CONTEXT_MENU_COMMAND
        reader = sent.user_id if ephemeral else None
        return self._messages.answer(channel, draft, Answer(cause, kind, flags, reader, reference))

    def _resource(self, sent: SentInteraction, kind: int) -> JSON:
        about: JSON = {"id": str(sent.id), "type": sent.kind}
        result: JSON = {"interaction": about}
        if kind in (MESSAGE, DEFERRED_MESSAGE, UPDATE, DEFERRED_UPDATE) and sent.response is not None:
            about["response_message_id"] = str(sent.response.id)
            about["response_message_loading"] = sent.response.loading
            about["response_message_ephemeral"] = sent.ephemeral
            if kind in (MESSAGE, DEFERRED_MESSAGE, UPDATE):
                message = serialise.message(self._world, sent.response)
                result["resource"] = {"type": kind, "message": message}
        elif kind in (CHOICES, MODAL):
            result["resource"] = {"type": kind}
        return result

    def by_token(self, token: str) -> SentInteraction:
        """Return a webhook call's interaction; raise 10015 before its answer, 50027 after 15 minutes."""
        sent = self._by_token.get(token)
        if sent is None or self._age(sent) > TOKEN_SECONDS:
            raise ApiError(401, 50027, "Invalid Webhook Token")
        if sent.acknowledged_after is None:
            raise unknown("Webhook")
        return sent

    def follow_up(self, sent: SentInteraction, draft: Draft) -> Message:
        """Post a follow-up; the first after a "thinking" answer takes its place."""
        if sent.response is not None and sent.response.loading and not sent.response.deleted:
            return self._messages.apply_edit(sent.response, draft)
        message = self._answer(sent, draft, ephemeral=bool((draft.flags or 0) & MessageFlag.EPHEMERAL))
        sent.followups.append(message)
        return message

    def message(self, sent: SentInteraction, which: str) -> Message:
        """Return `@original` or a follow-up by id, or raise 10008."""
        if which == "@original":
            found = sent.response
        else:
            found = next((m for m in sent.messages if str(m.id) == which), None)
        if found is None or found.deleted:
            raise unknown("Message")
        return found

    def check_usable(self, user_id: int, channel: Channel) -> None:
        """Raise RefusedError where a member's client offers no commands."""
        if channel.type is not ChannelType.DM:
            needed = Permission.USE_APPLICATION_COMMANDS | Permission.VIEW_CHANNEL
            if not self._hub.allowed(user_id, channel, needed):
                raise RefusedError("no application commands here")
        if channel.thread is not None and channel.thread.archived:
            raise RefusedError("the thread is archived")


def modal_answer(modal: JSON, values: dict[str, Any]) -> list[JSON]:
    """Fill a modal as a member would; raise RefusedError for what its fields don't take.

    `values` maps custom_id to text or to a list of chosen values; what is left out keeps its prefilled text.
    """
    unknown_ids = set(values) - {c["custom_id"] for c in _fields(modal["components"])}
    if unknown_ids:
        raise RefusedError(f"no such fields: {sorted(unknown_ids)}")
    filled: list[JSON] = []
    for component in modal["components"]:
        if component["type"] == 1:
            inner = [_fill(c, values) for c in component["components"]]
            filled.append({"type": 1, "id": component.get("id", 0), "components": inner})
        elif component["type"] == 18:
            inner_one = _fill(component["component"], values)
            filled.append({"type": 18, "id": component.get("id", 0), "component": inner_one})
        else:
            filled.append({"type": component["type"], "id": component.get("id", 0)})
    return filled


def _fields(components: list[JSON]) -> list[JSON]:
    found: list[JSON] = []
    for component in components:
        if component.get("custom_id"):
            found.append(component)
        found += _fields(component.get("components", []))
        if component.get("component"):
            found += _fields([component["component"]])
    return found


def _fill(field_: JSON, values: dict[str, Any]) -> JSON:
    custom_id = field_["custom_id"]
    filled: JSON = {"type": field_["type"], "id": field_.get("id", 0), "custom_id": custom_id}
    required = field_.get("required", True)
    if field_["type"] == 4:
        text = str(values.get(custom_id, field_.get("value") or ""))
        low, high = int(field_.get("min_length") or 0), int(field_.get("max_length") or 4000)
        if required and not text:
            raise RefusedError(f"{custom_id} is required")
        if text and not low <= len(text) <= high:
            raise RefusedError(f"{custom_id} takes {low} to {high} characters")
        return filled | {"value": text}
    chosen = values.get(custom_id)
    if chosen is None:
        chosen = [o["value"] for o in field_.get("options", []) if o.get("default")]
    return filled | {"values": check_choice(field_, list(chosen), required=required)}


def check_choice(select: JSON, chosen: list[str], *, required: bool = True) -> list[str]:
    """Return the chosen values of a select menu, or raise RefusedError if it does not allow them."""
    low = int(select.get("min_values", 1)) if required or chosen else 0
    high = int(select.get("max_values", 1))
    if not low <= len(chosen) <= high:
        raise RefusedError(f"{select['custom_id']} takes {low} to {high} choices")
    if select["type"] == 3:
        offered = {o["value"] for o in select["options"]}
        if not set(chosen) <= offered:
            raise RefusedError(f"{sorted(set(chosen) - offered)} is not offered by {select['custom_id']}")
    return chosen
