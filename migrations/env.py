"""Alembic's entry: migrations run on a plain connection of their own, in batch mode for SQLite."""

from __future__ import annotations

import asyncio
from typing import Literal

from alembic import context
from sqlalchemy import Connection, pool
from sqlalchemy.ext.asyncio import create_async_engine

from pipeline.models import Base, UtcDateTime
from pipeline.settings import Settings


def _render_item(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Write our column types as SQLAlchemy's own: a migration must run whatever our code becomes."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        compare_type=True,
        render_item=_render_item,
    )
    with context.begin_transaction():
        context.run_migrations()


async def _run(url: str) -> None:
    engine = create_async_engine(url, poolclass=pool.NullPool)
    if engine.dialect.name == "sqlite":
        # The driver's own transactions leave out what makes tables: a migration that is cut short would stay
        # half done. With ours it is done or it is not, and a second program that starts waits for it.
        engine = engine.execution_options(isolation_level="AUTOCOMMIT")
    async with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
        await connection.run_sync(_migrate)
    await engine.dispose()


asyncio.run(_run(context.config.attributes.get("url") or Settings().database_url))
