"""The store: one request is one row, the tree is the queue, and two writers never trip over each other."""

import asyncio
import socket
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from pipeline.domain import (
    Box,
    Detection,
    ObjectContext,
    PaintParams,
    SceneContext,
    SceneObject,
    StepKind,
    StepState,
)
from pipeline.errors import ConfigurationError, InvalidRequest, NotFound
from pipeline.store import Store, mask_to_png, migrate, png_to_mask, revisions


async def make(store: Store, request: str = "r", client: str = "cli", depth: int = 1):
    return await store.create_session(
        client=client,
        owner="42",
        request=request,
        prompt="밤 \x27 night",
        negative_prompt="",
        seed=2**32 - 1,
        width=64,
        height=48,
        steps=20,
        guidance=5.0,
        depth=depth,
    )


def scene_object(number: int, **changes) -> SceneObject:
    mask = np.zeros((48, 64), np.bool_)
    mask[number : number + 5, 2:9] = True
    return SceneObject(number, Detection("Hat", 0.75, Box(number, 2, number + 5, 9), mask), "Hat", **changes)


async def finish(store: Store, step_id: int, png: bytes = b"png") -> None:
    await store.begin(step_id)
    await store.finish(step_id, png=png, model="m", notes=["note"])


async def test_the_same_request_is_one_session_even_when_asked_at_once(store):
    sessions = await asyncio.gather(*(make(store, "same") for _ in range(8)))
    assert len({session.id for session in sessions}) == 1
    assert len(await store.steps(sessions[0].id)) == 2
    assert sessions[0].seed == 2**32 - 1
    assert sessions[0].created_at.tzinfo is not None


async def test_the_queue_gives_children_only_after_their_parent(store):
    session = await make(store, depth=2)
    first = await store.claim("cli")
    assert first is not None
    assert first.kind is StepKind.GENERATE
    assert await store.claim("cli") is None
    await store.finish(first.id, png=b"1", model="m", notes=[])
    second = await store.claim("cli")
    assert second is not None
    assert (second.kind, second.depth, second.parent_id) == (StepKind.RECURSE, 1, first.id)
    assert [step.state for step in await store.steps(session.id)] == ["done", "running", "queued"]


async def test_clients_have_queues_of_their_own(store):
    await make(store, client="discord")
    assert await store.claim("cli") is None
    assert await store.claim("discord") is not None


async def test_many_claimers_never_get_the_same_step(store, database_url):
    for number in range(20):
        await make(store, f"r{number}", depth=0)
    others = [Store(database_url) for _ in range(4)]
    claimed = await asyncio.gather(*(other.claim("cli") for other in others for _ in range(5)))
    assert len({step.id for step in claimed if step}) == 20
    for other in others:
        await other.aclose()


async def test_what_a_killed_process_left_running_is_queued_again(store):
    await make(store)
    await make(store, "other", client="discord")
    running, other = await store.claim("cli"), await store.claim("discord")
    assert await store.recover("cli") == 1
    assert (await store.step(running.id)).state is StepState.QUEUED
    assert (await store.step(other.id)).state is StepState.RUNNING


async def test_a_failed_step_cancels_what_waits_below_and_a_retry_brings_it_back(store):
    session = await make(store, depth=3)
    first, second, third, fourth = await store.steps(session.id)
    await finish(store, first.id)
    await store.begin(second.id)
    assert await store.fail(second.id, "no server") == (third.id, fourth.id)
    assert (await store.step(second.id)).error == "no server"
    with pytest.raises(InvalidRequest, match="earlier"):
        await store.add_step(parent_id=second.id, kind=StepKind.RECURSE, asked_by="", origin="x")
    assert await store.retry(second.id)
    assert not await store.retry(second.id), "it waits now: there is nothing to try again"
    states = [step.state for step in await store.steps(session.id)]
    assert states == ["done", "queued", "queued", "queued"]
    assert (await store.step(second.id)).attempt == 2


async def test_cancel_takes_the_waiting_steps_below_with_it(store):
    session = await make(store, depth=2)
    first, second, third = await store.steps(session.id)
    await finish(store, first.id)
    assert await store.cancel(second.id) == (second.id, third.id)
    assert await store.cancel(first.id) == ()


async def test_siblings_have_seeds_of_their_own_and_an_origin_is_one_step(store):
    session = await make(store, depth=0)
    (root,) = await store.steps(session.id)
    await finish(store, root.id)
    one = await store.add_step(parent_id=root.id, kind=StepKind.RECURSE, asked_by="1", origin="a")
    two = await store.add_step(parent_id=root.id, kind=StepKind.RECURSE, asked_by="1", origin="b")
    again = await store.add_step(parent_id=root.id, kind=StepKind.RECURSE, asked_by="1", origin="a")
    assert again == one
    assert one.seed != two.seed
    tweak = await store.add_step(
        parent_id=one.id, kind=StepKind.TWEAK, asked_by="1", origin="c", request="1: red"
    )
    assert (tweak.depth, tweak.request) == (1, "1: red")


async def test_objects_and_context_come_back_as_they_were(store):
    session = await make(store)
    _, step = await store.steps(session.id)
    await store.save_objects(step.id, [scene_object(1), scene_object(2)])
    params = PaintParams(strength=0.5, prompt_prefix="pastel")
    described = [
        scene_object(1, tags=("red", "striped"), seed=2**32 - 1, params=params),
        scene_object(2, repaint=False),
    ]
    context = SceneContext("Once.", (ObjectContext(1, "Hat", ("red", "striped")),), "template")
    await store.save_context(step.id, context, described)
    await store.save_painted(step.id, 1, b"half", model="m", notes=["n"])
    one, two = await store.objects(step.id)
    assert (one.tags, one.seed, one.params, one.painted) == (("red", "striped"), 2**32 - 1, params, True)
    assert (two.repaint, two.painted) == (False, False)
    assert (one.detection.mask == described[0].detection.mask).all()
    assert one.detection.box == Box(1, 2, 6, 9)
    assert await store.picture(step.id) == b"half"
    stored = await store.step(step.id)
    assert (stored.story, stored.source, stored.model, stored.notes) == ("Once.", "template", "m", ("n",))


@pytest.mark.parametrize("shape", [(1, 1), (7, 13), (48, 64)])
def test_masks_survive_packing(shape):
    mask = np.random.default_rng(1).random(shape) > 0.5
    assert (png_to_mask(mask_to_png(mask)) == mask).all()


async def test_posts_are_written_before_and_after_they_are_sent(store):
    session = await make(store, client="discord")
    step, _ = await store.steps(session.id)
    post, first = await store.begin_post(step.id, "picture", "99")
    assert first
    assert post.message == ""
    _, first = await store.begin_post(step.id, "picture", "99")
    assert not first
    await store.set_post(step.id, "picture", "1234")
    assert (await store.step_of_message("1234")).id == step.id
    assert await store.step_of_message("5") is None
    assert await store.undelivered("discord") == []
    await finish(store, step.id)
    assert [item.id for item in await store.undelivered("discord")] == [step.id]
    await store.set_delivered(step.id, attempt=1)
    assert await store.undelivered("discord") == []


async def test_a_copy_has_the_done_steps_with_their_words_and_nothing_painted(store):
    session = await make(store, depth=2)
    first, second, third = await store.steps(session.id)
    await finish(store, first.id)
    await store.save_objects(second.id, [scene_object(1)])
    await store.save_context(
        second.id, SceneContext("Once.", (), "template"), [scene_object(1, tags=("red",), seed=5)]
    )
    await store.save_painted(second.id, 1, b"x", model="m", notes=[])
    await finish(store, second.id)
    await store.fail(third.id, "x")
    copy = await store.copy_session(session.id, client="cli", request="copy")
    one, two = await store.steps(copy.id)
    assert (one.seed, two.seed, two.parent_id) == (first.seed, second.seed, one.id)
    assert (two.story, two.source, two.state) == ("Once.", "template", StepState.QUEUED)
    (item,) = await store.objects(two.id)
    assert (item.tags, item.seed, item.painted) == (("red",), 5, False)
    assert await store.picture(two.id) is None


async def test_siblings_asked_for_at_once_have_seeds_of_their_own(store):
    session = await make(store, depth=0)
    (first,) = await store.steps(session.id)
    made = await asyncio.gather(
        *(
            store.add_step(parent_id=first.id, kind=StepKind.RECURSE, asked_by="1", origin=f"o{number}")
            for number in range(8)
        )
    )
    assert len({step.seed for step in made}) == 8


async def test_a_census_counts_a_clients_steps(store):
    await make(store, "a", depth=1)
    await make(store, "b", client="discord")
    assert await store.claim("cli") is not None
    assert await store.census("cli") == {
        (StepKind.GENERATE, StepState.RUNNING): 1,
        (StepKind.RECURSE, StepState.QUEUED): 1,
    }


async def test_only_one_process_works_a_clients_queue(store, database_url):
    other = Store(database_url)
    try:
        async with store.alone("discord"):
            with pytest.raises(ConfigurationError, match="Another process works on this database"):
                async with other.alone("discord"):
                    pytest.fail("both had it")
            async with other.alone("cli"):
                pass
        async with other.alone("discord"):
            pass
    finally:
        await other.aclose()


async def test_revisions_tell_how_far_a_database_is(database_url, tmp_path):
    current, newest = await revisions(database_url)
    assert current == newest != ""
    assert await revisions(f"sqlite+aiosqlite:///{tmp_path / 'none' / 'x.sqlite'}") == (None, newest)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:///x.sqlite", "async driver"),
        ("nonsense", "not the address of a database"),
        ("sqlite+aiosqlite:///{tmp}/text.sqlite", "it is some other file"),
        ("postgresql+asyncpg://u:hidden@127.0.0.1:{port}/x", "check that it runs"),
    ],
)
async def test_a_database_that_cannot_be_used_is_one_sentence(tmp_path, url, words):
    (tmp_path / "text.sqlite").write_text("not a database at all, but long enough to look into\n" * 100)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = url.format(tmp=tmp_path, port=unused.getsockname()[1])
        for tried in (asyncio.to_thread(migrate, url), revisions(url)):
            with pytest.raises(ConfigurationError) as caught:
                await tried
            assert words in str(caught.value) or "needs asyncpg" in str(caught.value)
            assert "hidden" not in str(caught.value)


async def test_a_database_of_a_newer_program_is_left_alone(database_url):
    store = Store(database_url)
    async with store._sessions.begin() as db:
        await db.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await store.aclose()
    with pytest.raises(ConfigurationError, match="newer version"):
        await asyncio.to_thread(migrate, database_url)


async def test_deleting_a_session_deletes_all_of_it(store):
    session = await make(store)
    step, _ = await store.steps(session.id)
    await store.save_objects(step.id, [scene_object(1)])
    await store.begin_post(step.id, "picture", "9")
    await finish(store, step.id)
    await store.delete_session(session.id)
    with pytest.raises(NotFound):
        await store.session(session.id)
    async with store._sessions() as db:
        for table in ("sessions", "steps", "objects", "pictures", "posts"):
            assert await db.scalar(text(f"select count(*) from {table}")) == 0  # noqa: S608


async def test_sqlite_is_in_wal_mode_with_foreign_keys(store, database_url):
    if not database_url.startswith("sqlite"):
        pytest.skip("this is about SQLite")
    await make(store)
    with sqlite3.connect(database_url.removeprefix("sqlite+aiosqlite:///")) as db:
        assert db.execute("pragma journal_mode").fetchone() == ("wal",)


def test_migrating_twice_changes_nothing_and_makes_the_folder(tmp_path):
    url = f"sqlite+aiosqlite:///{tmp_path / 'new' / 'x.sqlite'}"
    migrate(url)
    migrate(url)


def alembic_config(url: str) -> Config:
    config = Config(toml_file="pyproject.toml")
    config.attributes["url"] = url
    return config


def test_models_and_migrations_agree(tmp_path):
    config = alembic_config(f"sqlite+aiosqlite:///{tmp_path / 'x.sqlite'}")
    command.upgrade(config, "head")
    command.check(config)
    command.downgrade(config, "base")
    command.upgrade(config, "head")


# `alembic check` does not compare it, and a batch that makes a table anew leaves it out if it is not told.
def test_sqlite_never_gives_a_number_again(migrated_file):
    with closing(sqlite3.connect(migrated_file)) as db:
        for table in ("sessions", "steps"):
            (made,) = db.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
            assert "PRIMARY KEY AUTOINCREMENT" in made


@pytest.fixture
def earlier_file(migrated_file, tmp_path) -> Path:
    """Two sessions in a database of revision 0005, an SQLite file."""
    file = tmp_path / "earlier.sqlite"
    file.write_bytes(migrated_file.read_bytes())
    config = alembic_config(f"sqlite+aiosqlite:///{file}")

    async def fill() -> None:
        store = Store(config.attributes["url"])
        for request in ("first", "second"):
            session = await make(store, request, depth=2)
            root, step, _ = await store.steps(session.id)
            await finish(store, root.id)
            await store.save_objects(step.id, [scene_object(1)])
            await store.begin_post(root.id, "picture", "9")
        await store.aclose()

    asyncio.run(fill())
    command.downgrade(config, "0005")
    return file


def contents(file: Path) -> dict[str, tuple[Any, ...]]:
    """Read all rows of an SQLite file, its indexes and what its foreign keys refer to, by table."""
    with closing(sqlite3.connect(file)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {
            name: (
                sorted(db.execute(f"PRAGMA table_info({name})").fetchall(), key=lambda column: column[1]),
                sorted(row[2:] for row in db.execute(f"PRAGMA foreign_key_list({name})")),
                sorted(row[1:] for row in db.execute(f"PRAGMA index_list({name})")),
                db.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall(),  # noqa: S608
            )
            for name in names
            if name not in ("alembic_version", "sqlite_sequence")
        }


async def test_a_database_from_before_keeps_what_it_has_and_gives_new_numbers_from_then_on(earlier_file):
    url, before = f"sqlite+aiosqlite:///{earlier_file}", contents(earlier_file)
    await asyncio.to_thread(migrate, url)
    after = contents(earlier_file)
    assert after.keys() == before.keys()
    for name, (columns, references, indexes, rows) in before.items():
        gone = {"ix_steps_asked_by"}
        assert after[name] == (columns, references, [i for i in indexes if i[0] not in gone], rows)
    store = Store(url)
    try:
        first, second = await store.sessions()
        steps = await store.steps(second.id)
        await store.delete_session(second.id)
        third = await make(store, "third")
        assert third.id > second.id
        assert min(step.id for step in await store.steps(third.id)) > max(step.id for step in steps)
        assert [step.state for step in await store.steps(first.id)] == ["done", "queued", "queued"]
    finally:
        await store.aclose()


def test_a_migration_that_fails_halfway_changes_nothing(earlier_file):
    url = f"sqlite+aiosqlite:///{earlier_file}"
    with closing(sqlite3.connect(earlier_file)) as db:  # where the second of two tables is to be copied to
        db.execute("CREATE TABLE _alembic_tmp_steps (x, y)")
    before = contents(earlier_file)
    with pytest.raises(ConfigurationError):
        migrate(url)
    assert contents(earlier_file) == before
    with closing(sqlite3.connect(earlier_file)) as db:
        db.execute("DROP TABLE _alembic_tmp_steps")
    migrate(url)


async def test_a_cancelled_transaction_does_not_keep_the_lock(store: Store) -> None:
    for number in range(60):
        waiting = [asyncio.create_task(store.keep("key", f"{number}/{n}")) for n in range(4)]
        await asyncio.sleep(number % 12 / 2000)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        async with asyncio.timeout(5):
            await store.keep("key", str(number))
    assert await store.recall("key") == "59"


async def test_a_delivery_of_an_earlier_attempt_does_not_count(store: Store) -> None:
    session = await make(store, "2", client="discord", depth=0)
    (step,) = await store.steps(session.id)
    await store.fail(step.id, "no")
    await store.retry(step.id)
    await store.set_delivered(step.id, attempt=1)
    assert not (await store.step(step.id)).delivered
    await store.set_delivered(step.id, attempt=2)
    assert (await store.step(step.id)).delivered


async def test_posts_and_origins_are_found(store: Store) -> None:
    session = await make(store, "2", client="discord", depth=1)
    (step, _) = await store.steps(session.id)
    assert await store.count_origins("discord:2:") == 2
    assert await store.count_origins("discord:_:") == 0
    await store.begin_post(step.id, "progress:1", "5")
    await store.set_post(step.id, "progress:1", "77")
    post = await store.post_of_message("77")
    assert post is not None
    assert (post.step_id, post.part, post.place) == (step.id, "progress:1", "5")
    await store.remove_post(step.id, "progress:1")
    assert await store.post_of_message("77") is None
    await store.place_session(session.id, place="5")
    ago = datetime.now(UTC) - timedelta(minutes=1)
    assert [found.id for found in await store.recent_sessions("discord", since=ago, limit=5)] == [session.id]
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert await store.recent_sessions("discord", since=later, limit=5) == []
