"""Points discord.py at a playground instead of at Discord."""

from __future__ import annotations


def connect_here(rest_url: str) -> None:
    """Set discord.py's addresses for this process, from now on. `rest_url` is `Playground.rest_url`."""
    import yarl  # with discord.py: only where a bot is connected
    from discord import asset, gateway, http

    url = yarl.URL(rest_url)
    if url.host not in ("127.0.0.1", "localhost", "::1"):
        raise ValueError("a playground is on this machine only")
    http.Route.BASE = rest_url.rstrip("/")
    gateway.DiscordWebSocket.DEFAULT_GATEWAY = url.with_scheme("ws").with_path("/gateway")
    setattr(asset.Asset, "BASE", str(url.with_path("/cdn")))  # noqa: B010 - it is typed as a literal
