"""A small HTTP API for the members' side, so that another process or a page can act and watch."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import secrets
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

from aiohttp import web

from playground import serialise
from playground.actors import Actor
from playground.errors import JSON, ApiError, RefusedError
from playground.interactions import SentInteraction
from playground.rest.context import answer, refuse
from playground.state import Channel, ChannelType, Message

if TYPE_CHECKING:
    from playground.server import Playground

Action = Callable[["Admin", Actor, JSON], Awaitable[Any]]


class Admin:
    """The routes under `/playground`, all behind a random token."""

    def __init__(self, discord: Playground) -> None:
        self._discord = discord
        self._sockets: set[web.WebSocketResponse] = set()
        self._run = secrets.token_hex(8)  # another run counts its events anew

    def _authorise(self, request: web.Request) -> None:
        header = request.headers.get("Authorization", "").removeprefix("Bearer ")
        given = header or request.query.get("token", "")
        if not hmac.compare_digest(given.encode(), self._discord.admin_token.encode()):
            raise ApiError(401, 0, "401: Unauthorized")

    @web.middleware
    async def guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Answer errors as JSON."""
        try:
            self._authorise(request)
            return await handler(request)
        except ApiError as error:
            return refuse(error)
        except RefusedError as error:
            return refuse(ApiError(409, 0, str(error)))
        except (KeyError, ValueError, TypeError) as error:
            return refuse(ApiError(400, 0, f"{type(error).__name__}: {error}"))

    async def state(self, request: web.Request) -> web.Response:
        """Tell everything there is, or without messages (`?messages=0`): what a page draws first."""
        world = self._discord.world
        channels = [self._channel(c) for c in world.channels.values()]
        if request.query.get("messages") != "0":
            for shown, c in zip(channels, world.channels.values(), strict=True):
                shown["messages"] = [self._message(m) for m in c.messages.values()]
        return answer(
            {
                "last_event": self._discord.feed.last,
                "run": self._run,
                "rest_url": self._discord.rest_url,
                "bot": serialise.user(self._discord.bot),
                "bot_connected": self._discord.gateway.connected,
                "guild": serialise.guild(world, self._discord.guild),
                "members": [serialise.member(m) for m in self._discord.guild.members.values()],
                "channels": channels,
                "commands": [c for scope in world.application.commands.values() for c in scope.values()],
                "violations": [f"{v.method} {v.path} ({v.scope})" for v in self._discord.violations],
                "unknown_routes": self._discord.unknown_routes,
            }
        )

    async def follow(self, request: web.Request) -> web.WebSocketResponse:
        """Send every event after `?after=` over a WebSocket, and all that come.

        Where they are not kept any more, or `?run=` was another run, a RESYNC says to ask for the state.
        """
        after, run = int(request.query.get("after", "0")), request.query.get("run", self._run)
        socket = web.WebSocketResponse(heartbeat=30.0)
        await socket.prepare(request)
        if run != self._run or not self._discord.feed.reaches(after):
            await socket.send_str(json.dumps({"kind": "RESYNC"}))
            await socket.close()
            return socket
        self._sockets.add(socket)
        sending = asyncio.create_task(self._send_events(socket, after))
        try:
            async for _ in socket:  # only to notice that the other side hangs up
                pass
        finally:
            sending.cancel()
            self._sockets.discard(socket)
        return socket

    async def hang_up(self) -> None:
        """Close every connection that follows the feed; pages come back by themselves."""
        for socket in list(self._sockets):
            await socket.close(code=1001)

    async def _send_events(self, socket: web.WebSocketResponse, after: int) -> None:
        async for event in self._discord.feed.follow(after):
            data = {"sequence": event.sequence, "at": event.at, "kind": event.kind, "data": event.data}
            await socket.send_str(json.dumps(data))

    async def messages(self, request: web.Request) -> web.Response:
        """Tell a channel's newest `?limit=` messages, oldest first, those before `?before=` if given."""
        where = self.place({"channel": request.query["channel"]})
        before, limit = request.query.get("before"), int(request.query.get("limit", "50"))
        newest_first = reversed(where.messages.values())
        wanted = (m for m in newest_first if before is None or m.id < int(before))
        found = list(islice(wanted, limit + 1))
        shown = [self._message(m) for m in found[:limit]][::-1]
        return answer({"messages": shown, "more": len(found) > limit, "last_event": self._discord.feed.last})

    async def act(self, request: web.Request) -> web.Response:
        """Do one thing as a member: {"as": "alice", "do": "slash", …}."""
        wanted = await request.json()
        action = _ACTIONS.get(wanted["do"])
        if action is None:
            raise ApiError(404, 0, f"there is no {wanted['do']!r}; there are {sorted(_ACTIONS)}")
        actor = self._discord.member(wanted["as"])
        return answer(await action(self, actor, wanted))

    async def fault(self, request: web.Request) -> web.Response:
        """Set a failure: {"kind": "fail", "method", "pattern", …}; {"kind": "clear"} forgets all."""
        wanted: JSON = await request.json()
        kind = wanted.pop("kind")
        faults = self._discord.faults
        kinds: dict[str, Callable[..., Any]] = {
            "clear": faults.clear,
            "fail": faults.fail,
            "rate_limit": faults.rate_limit,
            "silence": faults.silence,
            "disconnect": faults.disconnect,
            "delay": faults.delay,
        }
        kinds[kind](**wanted)
        return answer({})

    async def drop(self, request: web.Request) -> web.Response:
        """Lose the gateway's connections: {"resumable": true, "code": 4000}."""
        await self._discord.gateway.drop(**(await request.json()))
        return answer({})

    async def advance(self, request: web.Request) -> web.Response:
        """Move time on: {"seconds": 901}."""
        self._discord.advance(float((await request.json())["seconds"]))
        return answer({})

    def _message(self, message: Message) -> JSON:
        data = serialise.message(self._discord.world, message, gateway=True)
        reactors = {emoji: [str(i) for i in users] for emoji, users in message.reactions.items()}
        return data | {"visible_to": message.visible_to and str(message.visible_to), "reactors": reactors}

    def _channel(self, channel: Channel) -> JSON:
        world = self._discord.world
        people = [u for u in world.users.values() if not u.bot]
        rights = {
            str(u.id): str(int(serialise.permissions_of(world, channel, u.id)))
            for u in people
            if serialise.can_view(world, channel, u.id)
        }
        return serialise.channel(world, channel) | {"permissions_of": rights}

    def sent(self, sent: SentInteraction) -> JSON:
        """Tell how an interaction went."""
        return {
            "id": str(sent.id),
            "acknowledged_after": sent.acknowledged_after,
            "failed": sent.failed,
            "callback_type": sent.callback_type,
            "ephemeral": sent.ephemeral,
            "modal": sent.modal,
            "choices": sent.choices,
            "messages": [self._message(m) for m in sent.messages],
        }

    def target(self, wanted: JSON) -> Message:
        """Return the message that a request names by id."""
        found = self._discord.world.find_message(int(wanted["message"]))
        if found is None:
            raise ApiError(404, 10008, "Unknown Message")
        return found

    def place(self, wanted: JSON) -> Channel:
        """Return the channel that a request names by id or name."""
        which = str(wanted["channel"])
        return self._discord.channel(int(which) if which.isdecimal() else which)

    def options(self, wanted: JSON) -> JSON:
        """Return a command's options, ids of members, channels and roles resolved.

        {"user": id}, {"channel": id}, {"role": id} and {"file": name, "data": base64} stand for objects.
        """
        return {key: self._value(value) for key, value in (wanted.get("options") or {}).items()}

    def _value(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if "user" in value:
            return self._discord.world.user(int(value["user"]))
        if "channel" in value:
            return self._discord.world.channel(int(value["channel"]))
        if "role" in value:
            return self._discord.guild.roles[int(value["role"])]
        return (str(value["file"]), base64.b64decode(value["data"]))

    def interaction(self, wanted: JSON) -> SentInteraction:
        """Return the interaction that a request names by id."""
        return next(i for i in self._discord.interactions.all if i.id == int(wanted["interaction"]))

    async def send(self, actor: Actor, wanted: JSON) -> JSON:
        """Write a message."""
        reply = self.target({"message": wanted["reply_to"]}) if wanted.get("reply_to") else None
        files = [(f["name"], base64.b64decode(f["data"])) for f in wanted.get("files", [])]
        text, ping = wanted.get("text", ""), bool(wanted.get("ping", True))
        return self._message(
            await actor.send(self.place(wanted), text, reply_to=reply, ping=ping, files=files)
        )

    async def dm(self, actor: Actor, wanted: JSON) -> JSON:
        """Open the DM with the bot."""
        where = actor.dm()
        assert where.type is ChannelType.DM  # noqa: S101 - what dm() makes
        return self._channel(where)


async def _slash(admin: Admin, actor: Actor, wanted: JSON) -> Any:
    return admin.sent(await actor.slash(admin.place(wanted), wanted["name"], **admin.options(wanted)))


async def _autocomplete(admin: Admin, actor: Actor, wanted: JSON) -> Any:
    where, name, options = admin.place(wanted), wanted["name"], admin.options(wanted)
    return await actor.autocomplete(where, name, wanted["focused"], wanted.get("typed", ""), **options)


async def _context_menu(admin: Admin, actor: Actor, wanted: JSON) -> Any:
    return admin.sent(await actor.context_menu(admin.target(wanted), wanted["name"]))


async def _click(admin: Admin, actor: Actor, wanted: JSON) -> Any:
    return admin.sent(await actor.click(admin.target(wanted), wanted["custom_id"]))


async def _select(admin: Admin, actor: Actor, wanted: JSON) -> Any:
    return admin.sent(await actor.select(admin.target(wanted), wanted["custom_id"], *wanted["values"]))


async def _submit_modal(admin: Admin, actor: Actor, wanted: JSON) -> Any:
    return admin.sent(await actor.submit_modal(admin.interaction(wanted), wanted.get("values")))


async def _react(admin: Admin, actor: Actor, wanted: JSON) -> Any:
    await actor.react(admin.target(wanted), wanted["emoji"])
    return {}


async def _unreact(admin: Admin, actor: Actor, wanted: JSON) -> Any:
    await actor.unreact(admin.target(wanted), wanted["emoji"])
    return {}


async def _edit(admin: Admin, actor: Actor, wanted: JSON) -> Any:
    await actor.edit(admin.target(wanted), wanted["text"])
    return {}


async def _delete(admin: Admin, actor: Actor, wanted: JSON) -> Any:
    await actor.delete(admin.target(wanted))
    return {}


async def _edit_thread(admin: Admin, actor: Actor, wanted: JSON) -> Any:
    await actor.edit_thread(admin.place(wanted), **wanted["changes"])
    return {}


_ACTIONS: dict[str, Action] = {
    "send": Admin.send,
    "dm": Admin.dm,
    "slash": _slash,
    "autocomplete": _autocomplete,
    "context_menu": _context_menu,
    "click": _click,
    "select": _select,
    "submit_modal": _submit_modal,
    "react": _react,
    "unreact": _unreact,
    "edit": _edit,
    "delete": _delete,
    "edit_thread": _edit_thread,
}


def add_routes(app: web.Application, admin: Admin) -> None:
    """Serve the admin API of a playground."""
    guarded = web.Application(middlewares=[admin.guard])
    guarded.add_routes(
        [
            web.get("/state", admin.state),
            web.get("/events", admin.follow),
            web.get("/messages", admin.messages),
            web.post("/act", admin.act),
            web.post("/faults", admin.fault),
            web.post("/gateway/drop", admin.drop),
            web.post("/advance", admin.advance),
        ]
    )
    app.add_subapp("/playground", guarded)
