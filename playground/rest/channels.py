"""Routes of channels, threads and guilds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from aiohttp import web

from playground import serialise
from playground.errors import JSON, ApiError, unknown
from playground.permissions import Permission
from playground.rest import context
from playground.rest.context import Services, answer, nothing, services
from playground.state import Channel, ChannelType, Guild


async def fetch(request: web.Request) -> web.Response:
    s = services(request)
    return answer(serialise.channel(s.world, context.channel(request), viewer=s.bot_id))


async def edit(request: web.Request) -> web.Response:
    s = services(request)
    changes = await context.body(request)
    changed = s.threads.edit(s.bot_id, context.channel(request), changes)
    return answer(serialise.channel(s.world, changed, viewer=s.bot_id))


async def delete(request: web.Request) -> web.Response:
    s = services(request)
    where = context.channel(request)
    data = serialise.channel(s.world, where, viewer=s.bot_id)
    if where.type is not ChannelType.DM:  # a DM is only closed: it can be opened again
        s.threads.delete(s.bot_id, where)
    return answer(data)


async def start_from_message(request: web.Request) -> web.Response:
    s = services(request)
    wanted = await context.body(request)
    found = context.message(request)
    thread = s.threads.start(
        s.bot_id,
        context.channel(request),
        wanted.get("name", ""),
        message=found,
        minutes=wanted.get("auto_archive_duration"),
    )
    return answer(serialise.channel(s.world, thread, viewer=s.bot_id), 201)


async def start(request: web.Request) -> web.Response:
    s = services(request)
    wanted = await context.body(request)
    thread = s.threads.start(
        s.bot_id,
        context.channel(request),
        wanted.get("name", ""),
        minutes=wanted.get("auto_archive_duration"),
        private=wanted.get("type", 12) == 12,
        invitable=wanted.get("invitable", True),
    )
    return answer(serialise.channel(s.world, thread, viewer=s.bot_id), 201)


def _target(request: web.Request) -> int:
    if request.match_info["user_id"] == "@me":
        return services(request).bot_id
    return services(request).world.user(context.snowflake(request, "user_id", "User")).id


async def join(request: web.Request) -> web.Response:
    services(request).threads.join(_target(request), context.channel(request))
    return nothing()


async def leave(request: web.Request) -> web.Response:
    s = services(request)
    where, target = context.channel(request), _target(request)
    if target != s.bot_id:
        s.hub.require(s.bot_id, where, Permission.MANAGE_THREADS)
    s.threads.leave(target, where)
    return nothing()


async def thread_members(request: web.Request) -> web.Response:
    where = context.channel(request)
    joined = where.thread.joined if where.thread is not None else {}
    return answer([serialise.thread_member(where, i) for i in joined])


async def thread_member(request: web.Request) -> web.Response:
    where, target = context.channel(request), _target(request)
    if where.thread is None or target not in where.thread.joined:
        raise unknown("Member")
    return answer(serialise.thread_member(where, target))


def _listed(s: Services, threads: Iterable[Channel]) -> JSON:
    seen = [t for t in threads if serialise.can_view(s.world, t, s.bot_id)]
    mine = [t for t in seen if t.thread is not None and s.bot_id in t.thread.joined]
    return {
        "threads": [serialise.channel(s.world, t, viewer=s.bot_id) for t in seen],
        "members": [serialise.thread_member(t, s.bot_id) for t in mine],
    }


async def active_threads(request: web.Request) -> web.Response:
    s = services(request)
    guild = _guild(request)
    channels = s.world.channels.values()
    active = [c for c in channels if c.guild_id == guild.id and c.thread and not c.thread.archived]
    return answer(_listed(s, active))


async def archived_threads(request: web.Request) -> web.Response:
    s = services(request)
    where = context.channel(request)
    path = request.path
    kind = ChannelType.PUBLIC_THREAD if path.endswith("/public") else ChannelType.PRIVATE_THREAD
    if kind is ChannelType.PRIVATE_THREAD and "/users/@me/" not in path:
        s.hub.require(s.bot_id, where, Permission.MANAGE_THREADS)
    found = [
        (t.thread.archive_changed_at, t)
        for t in s.world.threads_of(where.id)
        if t.thread and t.thread.archived and t.type is kind
    ]
    before = request.query.get("before")
    if before is not None:
        try:
            edge = datetime.fromisoformat(before)
        except ValueError:
            raise ApiError(400, 50035, "Invalid Form Body", {"before": {"_errors": []}}) from None
        found = [pair for pair in found if pair[0] < edge]
    limit = context.number(request, "limit") or 50
    newest_first = sorted(found, key=lambda pair: pair[0], reverse=True)
    data = _listed(s, [t for _, t in newest_first[:limit]])
    return answer(data | {"has_more": len(newest_first) > limit})


def _guild(request: web.Request) -> Guild:
    return services(request).world.guild(context.snowflake(request, "guild_id", "Guild"))


async def guild(request: web.Request) -> web.Response:
    return answer(serialise.guild(services(request).world, _guild(request)))


async def guild_channels(request: web.Request) -> web.Response:
    s = services(request)
    mine = [c for c in s.world.channels.values() if c.guild_id == _guild(request).id and c.thread is None]
    return answer([serialise.channel(s.world, c) for c in mine])


async def guild_roles(request: web.Request) -> web.Response:
    return answer([serialise.role(r) for r in _guild(request).roles.values()])


async def guild_member(request: web.Request) -> web.Response:
    found = _guild(request).members.get(context.snowflake(request, "user_id", "Member"))
    if found is None:
        raise unknown("Member")
    return answer(serialise.member(found))


async def my_guilds(request: web.Request) -> web.Response:
    guilds = services(request).world.guilds.values()
    return answer([serialise.guild(services(request).world, g) for g in guilds])


_CHANNEL = "/channels/{channel_id}"
ROUTES = [
    web.get(_CHANNEL, fetch),
    web.patch(_CHANNEL, edit),
    web.delete(_CHANNEL, delete),
    web.post(_CHANNEL + "/messages/{message_id}/threads", start_from_message),
    web.post(_CHANNEL + "/threads", start),
    web.put(_CHANNEL + "/thread-members/{user_id}", join),
    web.delete(_CHANNEL + "/thread-members/{user_id}", leave),
    web.get(_CHANNEL + "/thread-members", thread_members),
    web.get(_CHANNEL + "/thread-members/{user_id}", thread_member),
    web.get(_CHANNEL + "/threads/archived/public", archived_threads),
    web.get(_CHANNEL + "/threads/archived/private", archived_threads),
    web.get(_CHANNEL + "/users/@me/threads/archived/private", archived_threads),
    web.get("/guilds/{guild_id}/threads/active", active_threads),
    web.get("/guilds/{guild_id}", guild),
    web.get("/guilds/{guild_id}/channels", guild_channels),
    web.get("/guilds/{guild_id}/roles", guild_roles),
    web.get("/guilds/{guild_id}/members/{user_id}", guild_member),
    web.get("/users/@me/guilds", my_guilds),
]
