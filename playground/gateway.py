"""The gateway: sessions over WebSocket, with heartbeat, resume and replay."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections import deque
from dataclasses import dataclass, field

from aiohttp import WSMsgType, web

from playground import serialise
from playground.errors import JSON
from playground.feed import Feed
from playground.state import World

_log = logging.getLogger(__name__)

DISPATCH, HEARTBEAT, IDENTIFY, RESUME, RECONNECT, REQUEST_MEMBERS = 0, 1, 2, 6, 7, 8
INVALID_SESSION, HELLO, HEARTBEAT_ACK = 9, 10, 11
HEARTBEAT_MS = 41_250
MESSAGE_CONTENT = 1 << 15
PRIVILEGED_MEMBERS = 1 << 1

# (in a guild, in a DM): the intent that an event needs; what is not here needs none.
_INTENTS: dict[str, tuple[int, int]] = {
    "MESSAGE_CREATE": (1 << 9, 1 << 12),
    "MESSAGE_UPDATE": (1 << 9, 1 << 12),
    "MESSAGE_DELETE": (1 << 9, 1 << 12),
    "MESSAGE_REACTION_ADD": (1 << 10, 1 << 13),
    "MESSAGE_REACTION_REMOVE": (1 << 10, 1 << 13),
    "MESSAGE_REACTION_REMOVE_ALL": (1 << 10, 1 << 13),
    "MESSAGE_REACTION_REMOVE_EMOJI": (1 << 10, 1 << 13),
    "TYPING_START": (1 << 11, 1 << 14),
    "GUILD_MEMBER_ADD": (1 << 1, 1 << 1),
} | dict.fromkeys(
    [
        "GUILD_CREATE",
        "CHANNEL_CREATE",
        "CHANNEL_UPDATE",
        "CHANNEL_DELETE",
        "THREAD_CREATE",
        "THREAD_UPDATE",
        "THREAD_DELETE",
        "THREAD_MEMBERS_UPDATE",
        "GUILD_ROLE_CREATE",
    ],
    (1 << 0, 1 << 0),
)


@dataclass(slots=True, eq=False)
class Session:
    """A bot's session: survives its connection, keeps what the bot has not seen yet."""

    id: str
    intents: int
    sequence: int = 0
    sent: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=2000))
    outbox: asyncio.Queue[str] | None = None  # None while no connection has it


class Gateway:
    """All sessions of the bot."""

    def __init__(self, world: World, feed: Feed) -> None:
        self._world = world
        self._feed = feed
        self._sessions: dict[str, Session] = {}
        self._connections: dict[web.WebSocketResponse, Session | None] = {}
        self._hung_up: set[web.WebSocketResponse] = set()  # by us: that gives no session up
        self._transports: dict[web.WebSocketResponse, asyncio.Transport] = {}
        self.identifies = 0
        self.resumes = 0
        self.url = ""

    @property
    def connected(self) -> bool:
        """Tell whether a session has a connection."""
        return any(s.outbox is not None for s in self._sessions.values())

    def dispatch(self, name: str, data: JSON, *, in_dm: bool, redacted: JSON | None = None) -> None:
        """Send an event to every session that asked for it; `redacted` is for who lacks message content."""
        needed = _INTENTS.get(name, (0, 0))[int(in_dm)]
        for session in self._sessions.values():
            if session.intents & needed == needed:
                shown = redacted if redacted is not None and not session.intents & MESSAGE_CONTENT else data
                self._push(session, name, shown)

    def _push(self, session: Session, name: str, data: JSON) -> None:
        session.sequence += 1
        text = json.dumps({"op": DISPATCH, "t": name, "s": session.sequence, "d": data})
        session.sent.append((session.sequence, text))
        if session.outbox is not None:
            session.outbox.put_nowait(text)

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one connection."""
        socket = web.WebSocketResponse(autoping=True, compress=False)
        await socket.prepare(request)
        outbox: asyncio.Queue[str] = asyncio.Queue()
        self._connections[socket] = None
        if isinstance(request.transport, asyncio.Transport):
            self._transports[socket] = request.transport
        pump = asyncio.create_task(_pump(socket, outbox))
        outbox.put_nowait(json.dumps({"op": HELLO, "d": {"heartbeat_interval": HEARTBEAT_MS}}))
        try:
            async for frame in socket:
                if frame.type is not WSMsgType.TEXT:
                    continue
                close_code = self._receive(socket, outbox, json.loads(frame.data))
                if close_code:
                    await socket.close(code=close_code)
        finally:
            pump.cancel()
            self._part(socket, outbox)
        return socket

    def _part(self, socket: web.WebSocketResponse, outbox: asyncio.Queue[str]) -> None:
        session = self._connections.pop(socket, None)
        self._transports.pop(socket, None)
        if session is not None:
            if session.outbox is outbox:
                session.outbox = None
                # A client that closes with these codes gives its session up.
                if socket.close_code in (1000, 1001) and socket not in self._hung_up:
                    self._sessions.pop(session.id, None)
            self._hung_up.discard(socket)
            self._feed.publish("GATEWAY_DISCONNECT", {"session": session.id, "code": socket.close_code})

    def _receive(self, socket: web.WebSocketResponse, outbox: asyncio.Queue[str], frame: JSON) -> int | None:
        """Handle one frame; return a code to close the connection with."""
        op, data = frame.get("op"), frame.get("d")
        session = self._connections[socket]
        if op == HEARTBEAT:
            outbox.put_nowait(json.dumps({"op": HEARTBEAT_ACK}))
        elif op == IDENTIFY and session is None and isinstance(data, dict):
            return self._identify(socket, outbox, data)
        elif op == RESUME and session is None and isinstance(data, dict):
            self._resume(socket, outbox, data)
        elif session is None:
            return 4003
        elif op == IDENTIFY:
            return 4005
        elif op == REQUEST_MEMBERS and isinstance(data, dict):
            self._send_members(session, data)
        return None

    def _identify(self, socket: web.WebSocketResponse, outbox: asyncio.Queue[str], data: JSON) -> int | None:
        app = self._world.application
        if data.get("token") != app.token:
            return 4004
        intents = int(data.get("intents", 0))
        if intents & MESSAGE_CONTENT and not app.message_content:
            return 4014
        self.identifies += 1
        session = Session(secrets.token_hex(16), intents)
        # Of sessions that lost their connection keep only the latest, or a bot killed often fills the memory.
        lost = [s for s in self._sessions.values() if s.outbox is None]
        for old in lost[:-1]:
            del self._sessions[old.id]
        self._sessions[session.id] = session
        self._connections[socket] = session
        session.outbox = outbox
        guilds = self._world.guilds.values()
        ready: JSON = {
            "v": 10,
            "user": serialise.user(app.bot),
            "guilds": [{"id": str(g.id), "unavailable": True} for g in guilds],
            "session_id": session.id,
            "resume_gateway_url": self.url,
            "session_type": "normal",
            "shard": [0, 1],
            "application": {"id": str(app.id), "flags": serialise.application(self._world)["flags"]},
        }
        self._push(session, "READY", ready)
        for guild in guilds:
            if intents & 1:
                self._push(session, "GUILD_CREATE", serialise.guild(self._world, guild, viewer=app.bot.id))
        self._feed.publish("GATEWAY_IDENTIFY", {"session": session.id, "intents": intents})
        return None

    def _resume(self, socket: web.WebSocketResponse, outbox: asyncio.Queue[str], data: JSON) -> None:
        session = self._sessions.get(str(data.get("session_id")))
        seen = int(data.get("seq") or 0)
        too_old = session is not None and bool(session.sent) and session.sent[0][0] > seen + 1
        if session is None or too_old or data.get("token") != self._world.application.token:
            outbox.put_nowait(json.dumps({"op": INVALID_SESSION, "d": False}))
            self._feed.publish("GATEWAY_INVALID_SESSION", {"session": data.get("session_id")})
            return
        self.resumes += 1
        self._connections[socket] = session
        replayed = [text for sequence, text in session.sent if sequence > seen]
        for text in replayed:
            outbox.put_nowait(text)
        session.outbox = outbox
        self._push(session, "RESUMED", {"_trace": []})
        self._feed.publish("GATEWAY_RESUME", {"session": session.id, "replayed": len(replayed)})

    def _send_members(self, session: Session, data: JSON) -> None:
        guild = self._world.guilds[int(data["guild_id"])]
        wanted = {int(i) for i in data.get("user_ids") or []}
        query = str(data.get("query") or "").lower()
        limit = int(data.get("limit") or 0) or None
        found = [
            m
            for m in guild.members.values()
            if (m.user.id in wanted if wanted else m.user.name.lower().startswith(query))
        ][:limit]
        chunk: JSON = {
            "guild_id": str(guild.id),
            "members": [serialise.member(m) for m in found],
            "chunk_index": 0,
            "chunk_count": 1,
            "not_found": [str(i) for i in wanted - set(guild.members)],
        }
        if data.get("nonce"):
            chunk["nonce"] = data["nonce"]
        self._push(session, "GUILD_MEMBERS_CHUNK", chunk)

    async def drop(self, *, resumable: bool = True, code: int = 4000, politely: bool = False) -> None:
        """Lose all connections.

        Not resumable: the sessions are forgotten, so RESUME gets INVALID_SESSION. Politely: op 7 first, and
        the bot hangs up itself. A code of 0 cuts the line without a word.
        """
        if not resumable:
            self._sessions.clear()
        for socket in list(self._connections):
            if politely:
                await socket.send_str(json.dumps({"op": RECONNECT, "d": None}))
            elif code:
                self._hung_up.add(socket)
                await socket.close(code=code)
            elif socket in self._transports:
                self._transports[socket].abort()

    async def invalidate(self) -> None:
        """Tell connected bots that their session is over (op 9), and forget it."""
        self._sessions.clear()
        for socket in list(self._connections):
            await socket.send_str(json.dumps({"op": INVALID_SESSION, "d": False}))

    async def close(self) -> None:
        """Close all connections, as Discord does when it restarts."""
        for socket in list(self._connections):
            await socket.close(code=1001)


async def _pump(socket: web.WebSocketResponse, outbox: asyncio.Queue[str]) -> None:
    # One writer a connection keeps the frames in order.
    while True:
        text = await outbox.get()
        try:
            await socket.send_str(text)
        except ConnectionError:
            return
