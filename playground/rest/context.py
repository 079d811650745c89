"""What every route needs: the services, the caller, the request's parts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aiohttp import BodyPartReader, web

from playground.errors import JSON, ApiError, too_large, unknown
from playground.hub import Hub
from playground.interactions import Interactions
from playground.limits import RateLimiter
from playground.messages import Messages
from playground.state import Channel, Message, Upload, World
from playground.threads import Threads
from playground.validate import REQUEST_LIMIT


@dataclass(frozen=True, slots=True)
class Services:
    """Everything the routes call."""

    world: World
    hub: Hub
    threads: Threads
    messages: Messages
    interactions: Interactions
    limiter: RateLimiter

    @property
    def bot_id(self) -> int:
        """Return the caller: every bot token is the same bot's."""
        return self.world.application.bot.id


SERVICES: web.AppKey[Services] = web.AppKey("services", Services)


def services(request: web.Request) -> Services:
    """Return the services of the application that serves the request."""
    return request.config_dict[SERVICES]


def answer(data: Any, status: int = 200) -> web.Response:
    """Return JSON whose Content-Type is exactly `application/json`: discord.py reads no other."""
    body = json.dumps(data, ensure_ascii=False).encode()
    return web.Response(body=body, status=status, headers={"Content-Type": "application/json"})


def refuse(error: ApiError) -> web.Response:
    """Return an error in Discord's shape."""
    return answer(error.body(), error.status)


def nothing() -> web.Response:
    """Return 204."""
    return web.Response(status=204)


def snowflake(request: web.Request, name: str, what: str) -> int:
    """Return an id from the path, or raise the 404 of what it would have been."""
    text = request.match_info[name]
    if not text.isdecimal():
        raise unknown(what)
    return int(text)


def channel(request: web.Request) -> Channel:
    """Return the path's channel if the bot sees it."""
    s = services(request)
    return s.hub.see(s.bot_id, s.world.channel(snowflake(request, "channel_id", "Channel")))


def message(request: web.Request) -> Message:
    """Return the path's message if the bot can read it."""
    where = channel(request)
    found = services(request).world.message(where.id, snowflake(request, "message_id", "Message"))
    if found.visible_to is not None:
        raise unknown("Message")
    return found


def number(request: web.Request, name: str) -> int | None:
    """Return a query parameter that is a number or an id."""
    text = request.query.get(name)
    if text is None:
        return None
    if not text.isdecimal():
        raise ApiError(400, 50035, "Invalid Form Body", {name: {"_errors": []}})
    return int(text)


async def body(request: web.Request) -> JSON:
    """Return a JSON object from the body; an empty body is an empty object."""
    payload, _ = await form(request)
    return payload


async def json_list(request: web.Request) -> list[JSON]:
    """Return a JSON array from the body."""
    data = json.loads(await _read(request))
    if not isinstance(data, list):
        raise ApiError(400, 50035, "Invalid Form Body", {"_errors": []})
    return data


async def form(request: web.Request) -> tuple[JSON, dict[int, Upload]]:
    """Return a JSON or multipart body: the payload, and the files by their index.

    The whole body is read before anything is refused, or the client would only see a broken connection.
    Raises 40005 for a body over 25 MiB, 50109 for one that is not JSON.
    """
    uploads: dict[int, Upload] = {}
    if request.content_type == "multipart/form-data":
        text, uploads = await _multipart(request)
    else:
        text = await _read(request)
    try:
        payload = json.loads(text) if text else {}
    except ValueError:
        raise ApiError(400, 50109, "The request body contains invalid JSON.") from None
    if not isinstance(payload, dict):
        raise ApiError(400, 50035, "Invalid Form Body", {"_errors": []})
    return payload, uploads


async def _read(request: web.Request) -> bytes:
    return _join([chunk async for chunk in request.content.iter_chunked(1 << 16)])


def _join(chunks: Iterable[bytes]) -> bytes:
    data = b"".join(chunks)
    if len(data) > REQUEST_LIMIT:
        raise too_large()
    return data


async def _multipart(request: web.Request) -> tuple[bytes, dict[int, Upload]]:
    text, total = b"", 0
    uploads: dict[int, Upload] = {}
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            continue
        data = bytes(await part.read())
        total += len(data)
        if total > REQUEST_LIMIT:
            uploads.clear()  # refused below; no need to keep it
            continue
        index = re.fullmatch(r"files\[(\d+)\]", part.name or "")
        if part.name == "payload_json":
            text = data
        elif index is not None:
            uploads[int(index[1])] = Upload(part.filename or "unknown", data)
    if total > REQUEST_LIMIT:
        raise too_large()
    return text, uploads
