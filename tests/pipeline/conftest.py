"""A migrated database in a temporary folder, or on the PostgreSQL server that TEST_POSTGRESQL names.

TEST_POSTGRESQL=postgresql+asyncpg://user:password@127.0.0.1/postgres: its databases `migrated` and `test` are
made anew.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from pipeline.store import Store, migrate

SERVER = os.environ.get("TEST_POSTGRESQL", "")


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("database") / "migrated.sqlite"
    migrate(f"sqlite+aiosqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_url() -> str:
    url = _made("migrated", "template0")
    migrate(url)
    return url


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if SERVER:
        request.getfixturevalue("migrated_url")
        return _made("test", "migrated")
    path = tmp_path / "test.sqlite"
    path.write_bytes(request.getfixturevalue("migrated_file").read_bytes())
    return f"sqlite+aiosqlite:///{path}"


@pytest_asyncio.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    store = Store(database_url)
    yield store
    await store.aclose()


def _made(name: str, template: str) -> str:
    """Make a database of the server anew, and return its URL."""

    async def make() -> None:
        engine = create_async_engine(SERVER, isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            await connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
            await connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
        await engine.dispose()

    asyncio.run(make())
    return make_url(SERVER).set(database=name).render_as_string(hide_password=False)
