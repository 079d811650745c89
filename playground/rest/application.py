"""Routes of the bot's account, its application and its commands."""

from __future__ import annotations

from aiohttp import web

from playground import serialise
from playground.errors import JSON, ApiError, unknown
from playground.rest import context
from playground.rest.context import Services, answer, nothing, services
from playground.state import ChannelType
from playground.validate import check_commands


async def me(request: web.Request) -> web.Response:
    return answer(serialise.user(services(request).world.application.bot))


async def user(request: web.Request) -> web.Response:
    world = services(request).world
    return answer(serialise.user(world.user(context.snowflake(request, "user_id", "User"))))


async def application(request: web.Request) -> web.Response:
    return answer(serialise.application(services(request).world))


async def gateway(request: web.Request) -> web.Response:
    url = services(request).world.base_url.replace("http", "ws", 1) + "/gateway"
    start: JSON = {"total": 1000, "remaining": 1000, "reset_after": 86_400_000, "max_concurrency": 1}
    return answer({"url": url, "shards": 1, "session_start_limit": start})


async def open_dm(request: web.Request) -> web.Response:
    s = services(request)
    recipient = s.world.user(int((await context.body(request)).get("recipient_id", 0)))
    if recipient.bot:
        raise ApiError(400, 50007, "Cannot send messages to this user")
    where = s.threads.dm(s.bot_id, recipient.id)
    assert where.type is ChannelType.DM  # noqa: S101 - what dm() makes
    return answer(serialise.channel(s.world, where, viewer=s.bot_id))


def _scope(request: web.Request) -> int | None:
    s = services(request)
    if context.snowflake(request, "application_id", "Application") != s.world.application.id:
        raise unknown("Application")
    if "guild_id" not in request.match_info:
        return None
    return s.world.guild(context.snowflake(request, "guild_id", "Guild")).id


def _announce(s: Services, scope: int | None) -> None:
    commands = list(_stored(s, scope).values())
    s.hub.feed.publish("COMMANDS", {"guild_id": scope and str(scope), "commands": commands})


def _stored(s: Services, scope: int | None) -> dict[int, JSON]:
    return s.world.application.commands.setdefault(scope, {})


def _complete(s: Services, scope: int | None, command: JSON, command_id: int) -> JSON:
    full: JSON = {
        "type": 1,
        "description": "",
        "options": [],
        "default_member_permissions": None,
        "nsfw": False,
        **command,
        "id": str(command_id),
        "application_id": str(s.world.application.id),
        "version": str(s.world.snowflake()),
    }
    if scope is not None:
        full["guild_id"] = str(scope)
    return full


def _register(s: Services, scope: int | None, commands: list[JSON]) -> list[JSON]:
    """Put commands in place; the same name and type keep their id, others count as creations."""
    stored = _stored(s, scope)
    ids = {(c["name"], c["type"]): i for i, c in stored.items()}
    new = sum((c.get("name"), c.get("type", 1)) not in ids for c in commands)
    if not s.limiter.take_command_creates(scope, new):
        raise ApiError(429, 30034, "Max number of daily application command creates has been reached (200)")
    done: list[JSON] = []
    for command in commands:
        command_id = ids.get((command["name"], command.get("type", 1))) or s.world.snowflake()
        stored[command_id] = _complete(s, scope, command, command_id)
        done.append(stored[command_id])
    _announce(s, scope)
    return done


async def list_commands(request: web.Request) -> web.Response:
    return answer(list(_stored(services(request), _scope(request)).values()))


async def overwrite_commands(request: web.Request) -> web.Response:
    s, scope = services(request), _scope(request)
    commands = await context.json_list(request)
    check_commands(commands)
    wanted = {(c["name"], c.get("type", 1)) for c in commands}
    stored = _stored(s, scope)
    for old in [i for i, c in stored.items() if (c["name"], c["type"]) not in wanted]:
        del stored[old]
    return answer(_register(s, scope, commands))


async def upsert_command(request: web.Request) -> web.Response:
    s, scope = services(request), _scope(request)
    command = await context.body(request)
    same = (command.get("name"), command.get("type", 1))
    others = [c for c in _stored(s, scope).values() if (c["name"], c["type"]) != same]
    check_commands([*others, command])
    return answer(_register(s, scope, [command])[0], 201)


def _command_id(request: web.Request, stored: dict[int, JSON]) -> int:
    command_id = context.snowflake(request, "command_id", "Application Command")
    if command_id not in stored:
        raise unknown("Application Command")
    return command_id


async def fetch_command(request: web.Request) -> web.Response:
    stored = _stored(services(request), _scope(request))
    return answer(stored[_command_id(request, stored)])


async def edit_command(request: web.Request) -> web.Response:
    s, scope = services(request), _scope(request)
    stored = _stored(s, scope)
    command_id = _command_id(request, stored)
    changed = stored[command_id] | await context.body(request)
    check_commands([c for i, c in stored.items() if i != command_id] + [changed])
    stored[command_id] = changed
    _announce(s, scope)
    return answer(changed)


async def delete_command(request: web.Request) -> web.Response:
    s, scope = services(request), _scope(request)
    stored = _stored(s, scope)
    del stored[_command_id(request, stored)]
    _announce(s, scope)
    return nothing()


def _command_routes(base: str) -> list[web.RouteDef]:
    one = base + "/{command_id}"
    return [
        web.get(base, list_commands),
        web.put(base, overwrite_commands),
        web.post(base, upsert_command),
        web.get(one, fetch_command),
        web.patch(one, edit_command),
        web.delete(one, delete_command),
    ]


ROUTES = [
    web.get("/users/@me", me),
    web.post("/users/@me/channels", open_dm),
    web.get("/users/{user_id}", user),
    web.get("/oauth2/applications/@me", application),
    web.get("/applications/@me", application),
    web.get("/gateway/bot", gateway),
    web.get("/gateway", gateway),
    *_command_routes("/applications/{application_id}/commands"),
    *_command_routes("/applications/{application_id}/guilds/{guild_id}/commands"),
]
