"""Routes of messages and reactions."""

from __future__ import annotations

from aiohttp import web

from playground import serialise
from playground.errors import ApiError
from playground.rest import context
from playground.rest.context import answer, nothing, services
from playground.validate import Draft


async def send(request: web.Request) -> web.Response:
    s = services(request)
    payload, uploads = await context.form(request)
    where = context.channel(request)
    draft = Draft.from_request(payload, uploads)
    return answer(serialise.message(s.world, s.messages.send(s.bot_id, where, draft)))


async def edit(request: web.Request) -> web.Response:
    s = services(request)
    payload, uploads = await context.form(request)
    changed = s.messages.edit(s.bot_id, context.message(request), Draft.from_request(payload, uploads))
    return answer(serialise.message(s.world, changed))


async def fetch(request: web.Request) -> web.Response:
    s = services(request)
    found = context.message(request)
    return answer(serialise.message(s.world, found, whole=s.world.application.message_content))


async def delete(request: web.Request) -> web.Response:
    s = services(request)
    s.messages.delete(s.bot_id, context.message(request))
    return nothing()


async def delete_many(request: web.Request) -> web.Response:
    s = services(request)
    where = context.channel(request)
    ids = [int(i) for i in (await context.body(request)).get("messages", [])]
    if not 2 <= len(ids) <= 100:
        raise ApiError(400, 50016, "Provided too few or too many messages to delete.")
    for found in [where.messages[i] for i in ids if i in where.messages]:
        s.messages.delete(s.bot_id, found)
    return nothing()


async def history(request: web.Request) -> web.Response:
    s = services(request)
    where = context.channel(request)
    limit = context.number(request, "limit")
    found = s.messages.history(
        s.bot_id,
        where,
        limit=50 if limit is None else limit,
        before=context.number(request, "before"),
        after=context.number(request, "after"),
        around=context.number(request, "around"),
    )
    whole = s.world.application.message_content
    return answer([serialise.message(s.world, m, whole=whole) for m in found])


async def typing(request: web.Request) -> web.Response:
    s = services(request)
    where = context.channel(request)
    s.hub.feed.publish("TYPING_START", {"channel_id": str(where.id), "user_id": str(s.bot_id)})
    return nothing()


async def react(request: web.Request) -> web.Response:
    s = services(request)
    s.messages.react(s.bot_id, context.message(request), request.match_info["emoji"])
    return nothing()


async def unreact(request: web.Request) -> web.Response:
    s = services(request)
    who = request.match_info["user_id"]
    user_id = s.bot_id if who == "@me" else context.snowflake(request, "user_id", "User")
    s.messages.unreact(s.bot_id, context.message(request), request.match_info["emoji"], user_id)
    return nothing()


async def clear(request: web.Request) -> web.Response:
    s = services(request)
    s.messages.clear_reactions(s.bot_id, context.message(request), request.match_info.get("emoji"))
    return nothing()


async def reactors(request: web.Request) -> web.Response:
    s = services(request)
    limit, after = context.number(request, "limit") or 25, context.number(request, "after") or 0
    users = sorted(context.message(request).reactions.get(request.match_info["emoji"], []))
    return answer([serialise.user(s.world.users[i]) for i in users if i > after][:limit])


_ONE = "/channels/{channel_id}/messages/{message_id}"
ROUTES = [
    web.post("/channels/{channel_id}/messages/bulk-delete", delete_many),
    web.post("/channels/{channel_id}/messages", send),
    web.get("/channels/{channel_id}/messages", history),
    web.get(_ONE, fetch),
    web.patch(_ONE, edit),
    web.delete(_ONE, delete),
    web.post("/channels/{channel_id}/typing", typing),
    web.put(_ONE + "/reactions/{emoji}/@me", react),
    web.delete(_ONE + "/reactions/{emoji}/{user_id}", unreact),
    web.delete(_ONE + "/reactions/{emoji}", clear),
    web.delete(_ONE + "/reactions", clear),
    web.get(_ONE + "/reactions/{emoji}", reactors),
]
