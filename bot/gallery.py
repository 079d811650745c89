"""The channel in which a server shows its best pictures."""

from __future__ import annotations

from pipeline.store import Store


def gallery_key(guild_id: int | str) -> str:
    """Name the key under which a server's gallery channel is kept."""
    return f"discord:gallery:{guild_id}"


async def gallery_channel(store: Store, guild_id: int) -> int | None:
    """Return the id of a server's gallery channel, None if it has none."""
    value = await store.recall(gallery_key(guild_id))
    return int(value) if value.isdecimal() else None
