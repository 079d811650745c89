"""Routes that an interaction's token opens: the callback and its webhook."""

from __future__ import annotations

from aiohttp import web

from playground import serialise
from playground.errors import unknown
from playground.interactions import SentInteraction
from playground.rest import context
from playground.rest.context import answer, nothing, services
from playground.validate import Draft


async def callback(request: web.Request) -> web.Response:
    s = services(request)
    interaction_id = context.snowflake(request, "interaction_id", "Interaction")
    payload, uploads = await context.form(request)
    result = s.interactions.callback(interaction_id, request.match_info["webhook_token"], payload, uploads)
    wants_it = request.query.get("with_response", "").lower() in ("1", "true")
    return answer(result) if wants_it else nothing()


def _sent(request: web.Request) -> SentInteraction:
    s = services(request)
    if context.snowflake(request, "webhook_id", "Webhook") != s.world.application.id:
        raise unknown("Webhook")
    return s.interactions.by_token(request.match_info["webhook_token"])


async def follow_up(request: web.Request) -> web.Response:
    s = services(request)
    payload, uploads = await context.form(request)
    posted = s.interactions.follow_up(_sent(request), Draft.from_request(payload, uploads))
    return answer(serialise.message(s.world, posted))


async def fetch(request: web.Request) -> web.Response:
    s = services(request)
    found = s.interactions.message(_sent(request), request.match_info["which"])
    return answer(serialise.message(s.world, found))


async def edit(request: web.Request) -> web.Response:
    s = services(request)
    payload, uploads = await context.form(request)
    found = s.interactions.message(_sent(request), request.match_info["which"])
    changed = s.messages.apply_edit(found, Draft.from_request(payload, uploads))
    return answer(serialise.message(s.world, changed))


async def delete(request: web.Request) -> web.Response:
    s = services(request)
    s.messages.remove(s.interactions.message(_sent(request), request.match_info["which"]))
    return nothing()


_WEBHOOK = "/webhooks/{webhook_id}/{webhook_token}"
ROUTES = [
    web.post("/interactions/{interaction_id}/{webhook_token}/callback", callback),
    web.post(_WEBHOOK, follow_up),
    web.get(_WEBHOOK + "/messages/{which}", fetch),
    web.patch(_WEBHOOK + "/messages/{which}", edit),
    web.delete(_WEBHOOK + "/messages/{which}", delete),
]
