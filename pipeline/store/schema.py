"""Where a database is, what its tables are like, and what keeps it from being used."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Column, Integer, MetaData, Table
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, InvalidRequestError, SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from pipeline.errors import ConfigurationError

if TYPE_CHECKING:
    from alembic.config import Config


def migrate(url: str) -> None:
    """Bring a database to today's tables, making the file and its folder where there are none.

    Raises ConfigurationError for a database that cannot be used, with what to do.
    """
    from alembic import command
    from alembic.util import CommandError

    try:
        if (file := sqlite_file(url)) is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        command.upgrade(_alembic(url), "head")
    except CommandError as error:
        raise ConfigurationError(
            "The database in DATABASE_URL was made by a newer version of this program: update the program, "
            "or restore the backup from before the update."
        ) from error
    except (SQLAlchemyError, OSError, ImportError) as error:
        raise unusable(error) from error


async def revisions(url: str) -> tuple[str | None, str]:
    """Return a database's migration, None where nothing is there yet, and the newest one that there is.

    Tries whether the database is writable, and changes nothing. Raises ConfigurationError where it is not.
    """
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    try:
        newest = ScriptDirectory.from_config(_alembic(url)).get_current_head() or ""
        engine, file = create_async_engine(url, poolclass=NullPool), sqlite_file(url)
        if file is not None and not await asyncio.to_thread(_file_is_there, file):
            return None, newest
        if (
            file is not None
        ):  # SQLite makes tables outside of the driver's own transactions: this one has to be ours
            engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        try:
            async with engine.connect() as db:
                current = await db.run_sync(lambda it: MigrationContext.configure(it).get_current_revision())
                if file is not None:
                    for statement in ("PRAGMA busy_timeout=3000", "BEGIN IMMEDIATE", "ROLLBACK"):
                        await db.exec_driver_sql(statement)
                else:
                    await db.run_sync(Table("write_trial", MetaData(), Column("number", Integer)).create)
                    await db.rollback()
            return current, newest
        finally:
            await engine.dispose()
    except (SQLAlchemyError, OSError, ImportError) as error:
        raise unusable(error) from error


def _file_is_there(file: Path) -> bool:
    """Tell whether a database is there; PermissionError where it is not and cannot be made."""
    folder = next(parent for parent in file.absolute().parents if parent.exists())
    if not file.exists() and not os.access(folder, os.W_OK):
        raise PermissionError(13, "Permission denied", str(folder))
    return file.exists()


def sqlite_file(url: str) -> Path | None:
    """Return the file of an SQLite database; None for a server's."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        return None
    on_file = parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:")
    return Path(str(parsed.database)) if on_file else None


def unusable(error: BaseException) -> ConfigurationError:
    """Say what keeps a database from being used; nothing of its address, which has a password in it."""
    if isinstance(error, ImportError):
        driver = error.name or "its driver"
        how = ": uv sync --extra postgresql" if driver == "asyncpg" else ""
        return ConfigurationError(f"DATABASE_URL needs {driver}, which is not installed{how}.")
    if isinstance(error, (ArgumentError, InvalidRequestError)):
        return ConfigurationError(
            "DATABASE_URL is not the address of a database with an async driver, as in "
            "sqlite+aiosqlite:///data/bot.sqlite or postgresql+asyncpg://user:password@host/name."
        )
    cause = getattr(error, "orig", None) or error
    said = " ".join(str(cause).split())[:200]
    hints = {
        "unable to open": "check that the folder is there and may be written to",
        "readonly": "make the file and its folder writable for who runs the program",
        "read-only": "make the file and its folder writable for who runs the program",
        "permission": "make the file and its folder writable for who runs the program",
        "not a database": "it is some other file; name another, or move it away",
        "locked": "another program holds it; stop that one",
        "malformed": "the file is damaged; restore a backup",
        "password": "check user and password in it",
        "does not exist": "make the database or the user, or mend the name",
        "disk": "make room on the disk",
    }
    hint = next(
        (text for words, text in hints.items() if words in said.lower()),
        "check that it runs and can be reached from here" if isinstance(cause, OSError) else "see the log",
    )
    return ConfigurationError(
        f"The database in DATABASE_URL cannot be used: {hint} ({type(cause).__name__}: {said})."
    )


def _alembic(url: str) -> Config:
    from alembic.config import Config

    root = Path(__file__).resolve().parents[2]
    config = Config(toml_file=str(root / "pyproject.toml"))
    config.attributes["url"] = url
    return config
