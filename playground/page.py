"""Serves the page, and keeps other pages in the same browser out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from playground.errors import ApiError
from playground.rest.context import refuse

_FOLDER = Path(__file__).parent / "page"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def only_from_here(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what another site's page asks, and names that somebody made lead to 127.0.0.1."""
    name, _, _ = request.host.partition(":")
    if name not in ("127.0.0.1", "localhost"):
        return refuse(ApiError(403, 0, "403: this server answers to 127.0.0.1 only"))
    origin = request.headers.get("Origin")
    if origin is not None and origin != f"http://{request.host}":
        return refuse(ApiError(403, 0, "403: not from another site"))
    # Browsers don't send an Origin with every GET, but say whether the asking page is another's; being led
    # here by a link is no harm.
    site, mode = request.headers.get("Sec-Fetch-Site"), request.headers.get("Sec-Fetch-Mode")
    if site in ("cross-site", "same-site") and mode != "navigate":
        return refuse(ApiError(403, 0, "403: not from another site"))
    return await handler(request)


async def _index(request: web.Request) -> web.Response:
    return _file(request, "index.html")


async def _part(request: web.Request) -> web.Response:
    return _file(request, request.match_info["name"])


def _file(request: web.Request, name: str) -> web.Response:
    path = _FOLDER / name
    if name not in {entry.name for entry in _FOLDER.iterdir()} or path.suffix not in _TYPES:
        return web.Response(status=404, text="There is no such page.")
    policy = [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        f"connect-src 'self' ws://{request.host}",  # not every browser counts ws: as 'self'
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
    headers = {
        "Content-Type": _TYPES[path.suffix],
        "Content-Security-Policy": "; ".join(policy),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }
    return web.Response(body=path.read_bytes(), headers=headers)


def add_routes(app: web.Application) -> None:
    """Serve the page at `/`, its parts below `/page`."""
    app.router.add_get("/", _index)
    app.router.add_get("/page/{name}", _part)
