"""A migrated database in a temporary folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from pipeline.store import Store, migrate


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("database") / "migrated.sqlite"
    migrate(f"sqlite+aiosqlite:///{path}")
    return path


@pytest.fixture
def database_url(migrated_file: Path, tmp_path: Path) -> str:
    path = tmp_path / "test.sqlite"
    path.write_bytes(migrated_file.read_bytes())
    return f"sqlite+aiosqlite:///{path}"


@pytest_asyncio.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    store = Store(database_url)
    yield store
    await store.aclose()
