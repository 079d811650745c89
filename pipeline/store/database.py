"""The engine, its transactions, and the claim to work alone."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import event, func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from pipeline.domain import Limits
from pipeline.errors import ConfigurationError
from pipeline.process_lock import FileLock
from pipeline.store.rows import lock_key
from pipeline.store.schema import sqlite_file

Kind = TypeVar("Kind")


def uninterrupted(kind: type[Kind]) -> type[Kind]:
    """Make every public coroutine of a class end before its caller's cancellation goes on.

    A transaction that is cancelled in the middle may never give SQLite's write lock back: the driver's
    thread takes it after the one who asked has gone. Everything after it would wait and fail.
    """

    def wrap(method: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
        @functools.wraps(method)
        async def whole(*args: Any, **kwargs: Any) -> Any:
            task = asyncio.ensure_future(method(*args, **kwargs))
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                if not task.done():
                    await asyncio.wait([task])
                if not task.cancelled():
                    task.exception()  # looked at, so that asyncio does not warn of it
                raise

        return whole

    for name, method in inspect.getmembers(kind, inspect.iscoroutinefunction):  # those of its bases, too
        if not name.startswith("_"):
            setattr(kind, name, wrap(method))
    return kind


class Database:
    """A database's connections and transactions; the parts of the store are built on them."""

    def __init__(self, url: str, *, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()  # everywhere; a server may have narrower ones
        self._engine = create_async_engine(url)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine.sync_engine, "connect", _prepare_sqlite)
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)
        # SQLite has one writer, and who finds it busy looks again now and then, with no turns: some would
        # wait for seconds. Here they stand in line, and hold no connection while they do.
        self._writer = asyncio.Lock() if self._engine.dialect.name == "sqlite" else nullcontext()

    async def aclose(self) -> None:
        await self._engine.dispose()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncSession]:
        async with self._writer, self._sessions.begin() as db:
            if self._engine.dialect.name == "sqlite":
                # Take the write lock at once: a transaction that reads first and writes later
                # cannot wait for another writer, it fails.
                await (await db.connection()).exec_driver_sql("BEGIN IMMEDIATE")
            yield db

    @asynccontextmanager
    async def alone(self, client: str) -> AsyncIterator[None]:
        """Work a client's queue with no other process doing so; ConfigurationError if one does.

        The claim ends with the process, however that ends: a file lock beside an SQLite file, an advisory
        lock of a connection of its own on PostgreSQL.
        """
        taken = ConfigurationError(
            "Another process works on this database already: stop it first, or give this one a database of "
            "its own (DATABASE_URL)."
        )
        if self._engine.dialect.name == "sqlite":
            file = sqlite_file(self._engine.url.render_as_string(hide_password=False))
            if file is None:  # in memory: nobody else can see it
                yield
                return
            with FileLock(Path(f"{file}.{client}.lock")) as got:
                if not got:
                    raise taken
                yield
            return
        async with self._engine.connect() as connection:
            if not await connection.scalar(select(func.pg_try_advisory_lock(lock_key("alone", client)))):
                raise taken
            await connection.commit()  # the lock is the connection's, not the transaction's
            try:
                yield
            finally:
                # Not given back to the pool with the lock on it, however this ends.
                await connection.invalidate()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # autocommit: SQLAlchemy's own BEGIN must be the only one, see Database._transaction.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "busy_timeout=30000", "synchronous=NORMAL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
