"""Every query. The only module that talks to the database."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import inspect
import io
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image
from sqlalchemy import (
    Column,
    ColumnElement,
    Integer,
    MetaData,
    Table,
    delete,
    event,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, InvalidRequestError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import aliased
from sqlalchemy.pool import NullPool

from pipeline.domain import (
    Box,
    Detection,
    Footprint,
    Limits,
    Mask,
    PaintParams,
    Post,
    SceneContext,
    SceneObject,
    Session,
    Source,
    Step,
    StepKind,
    StepState,
)
from pipeline.errors import ConfigurationError, InvalidRequest, NotFound
from pipeline.models import (
    KeptRow,
    ObjectRow,
    PictureRow,
    PostRow,
    PreferenceRow,
    PriorityRow,
    SessionRow,
    SourceRow,
    StepRow,
)
from pipeline.process_lock import FileLock
from pipeline.queue import Line, Waiting

if TYPE_CHECKING:
    from alembic.config import Config

Row = TypeVar("Row")
Kind = TypeVar("Kind")


def derive_seed(*parts: object) -> int:
    """Make a seed 0..2**32-1 from anything that prints the same each time."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big")


def mask_to_png(mask: Mask) -> bytes:
    """Pack a bool mask [H, W] as a 1-bit PNG, white = True."""
    buffer = io.BytesIO()
    Image.fromarray(mask).convert("1").save(buffer, "PNG")
    return buffer.getvalue()


def png_to_mask(data: bytes) -> Mask:
    """Unpack a mask PNG to bool [H, W]."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("1"), dtype=np.bool_).copy()


def _uninterrupted(kind: type[Kind]) -> type[Kind]:
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

    for name, method in list(vars(kind).items()):
        if not name.startswith("_") and inspect.iscoroutinefunction(method):
            setattr(kind, name, wrap(method))
    return kind


@_uninterrupted
class Store:
    """Sessions, steps, pictures, objects and posts in a database; every method is one transaction.

    `url` is SQLAlchemy's, with an async driver: `sqlite+aiosqlite:///file` or `postgresql+asyncpg://…`.
    The tables must exist: see `migrate`.
    """

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
    async def _transaction(self):
        async with self._writer, self._sessions.begin() as db:
            if self._engine.dialect.name == "sqlite":
                # Take the write lock at once: a transaction that reads first and writes later
                # cannot wait for another writer, it fails.
                await (await db.connection()).exec_driver_sql("BEGIN IMMEDIATE")
            yield db

    # -- sessions ---------------------------------------------------------------------------------

    async def create_session(
        self,
        *,
        client: str,
        owner: str,
        request: str,
        prompt: str,
        negative_prompt: str,
        seed: int,
        width: int,
        height: int,
        steps: int,
        guidance: float,
        depth: int,
        meta: Mapping[str, str] | None = None,
        source: bytes | None = None,
        strength: float = 0.0,
        guild: str = "",
        mature: bool = True,
        style: str = "",
        style_words: str = "",
        model: str = "",
        sampler: str = "",
    ) -> Session:
        """Save a session, its first picture and `depth` recursions queued; a `request` makes one session.

        `source` (PNG of the session's size) is what the first picture is painted over.
        Raises InvalidRequest where that is more than the member or the server may ask for.
        """
        try:
            async with self._transaction() as db:
                row = SessionRow(
                    client=client,
                    owner=owner,
                    request=request,
                    prompt=prompt,
                    negative_prompt=negative_prompt,
                    seed=seed,
                    width=width,
                    height=height,
                    steps=steps,
                    guidance=guidance,
                    guild=guild,
                    mature=mature,
                    style=style,
                    style_words=style_words,
                    model=model,
                    sampler=sampler,
                    meta=dict(meta or {}),
                    source_sha256=hashlib.sha256(source).hexdigest() if source else "",
                    source_strength=strength if source else 0.0,
                )
                db.add(row)
                await db.flush()
                if source:
                    db.add(SourceRow(session_id=row.id, png=source))
                parent: StepRow | None = None
                for level in range(depth + 1):
                    step = StepRow(
                        session_id=row.id,
                        parent_id=parent.id if parent else None,
                        kind=StepKind.RECURSE if parent else StepKind.GENERATE,
                        state=StepState.QUEUED,
                        depth=level,
                        seed=derive_seed(parent.seed, StepKind.RECURSE, 0) if parent else seed,
                        asked_by=owner,
                        origin=f"{client}:{request}:{level}",
                    )
                    db.add(step)
                    await db.flush()
                    parent = step
                row.head_id = parent.id if parent else None
                await self._check_limits(db, row, owner)
                return _session(row)
        except IntegrityError:
            async with self._sessions() as db:
                found = await db.scalar(
                    select(SessionRow).where(SessionRow.client == client, SessionRow.request == request)
                )
                if found is None:
                    raise
                return _session(found)

    async def copy_session(self, session_id: int, *, client: str, request: str) -> Session:
        """Copy a session's done steps, with their objects and words, queued to be painted again.

        The copy of a step has its `request` beside the number of the step it was made from, in `origin`.
        """
        async with self._transaction() as db:
            source = await _get(db, SessionRow, session_id, "session")
            values = {
                column.key: getattr(source, column.key)
                for column in SessionRow.__table__.columns
                if column.key not in ("id", "created_at", "place", "client", "request", "meta", "head_id")
            }
            copy = SessionRow(**values, client=client, request=request, meta={"replay_of": str(session_id)})
            db.add(copy)
            await db.flush()
            if (picture := await db.get(SourceRow, session_id)) is not None:
                db.add(SourceRow(session_id=copy.id, png=picture.png))
            copies: dict[int, int] = {}
            steps = await db.scalars(
                select(StepRow)
                .where(StepRow.session_id == session_id, StepRow.state == StepState.DONE)
                .order_by(StepRow.id)
            )
            for step in list(steps):
                row = StepRow(
                    session_id=copy.id,
                    parent_id=copies[step.parent_id] if step.parent_id else None,
                    kind=step.kind,
                    state=StepState.QUEUED,
                    depth=step.depth,
                    seed=step.seed,
                    asked_by=step.asked_by,
                    origin=f"{client}:{request}:of:{step.id}",
                    request=step.request,
                    story=step.story,
                    source=step.source,
                )
                db.add(row)
                await db.flush()
                copies[step.id] = row.id
                for item in await db.scalars(select(ObjectRow).where(ObjectRow.step_id == step.id)):
                    fields = {
                        column.key: getattr(item, column.key)
                        for column in ObjectRow.__table__.columns
                        if column.key not in ("step_id", "painted")
                    }
                    db.add(ObjectRow(step_id=row.id, painted=False, **fields))
            copy.head_id = copies.get(source.head_id or 0)
            return _session(copy)

    async def session(self, session_id: int) -> Session:
        async with self._sessions() as db:
            return _session(await _get(db, SessionRow, session_id, "session"))

    async def sessions(self, *, client: str | None = None, unplaced: bool = False) -> list[Session]:
        """List sessions, newest last; `unplaced` keeps those that are not shown anywhere yet."""
        query = select(SessionRow).order_by(SessionRow.id)
        if client is not None:
            query = query.where(SessionRow.client == client)
        if unplaced:
            query = query.where(SessionRow.place == "")
        async with self._sessions() as db:
            return [_session(row) for row in await db.scalars(query)]

    async def recent_sessions(self, client: str, *, since: datetime, limit: int) -> list[Session]:
        """List the shown sessions in which something was asked for since a time, the latest first."""
        latest = func.max(StepRow.id)
        query = (
            select(SessionRow)
            .join(StepRow, StepRow.session_id == SessionRow.id)
            .where(SessionRow.client == client, SessionRow.place != "", StepRow.created_at >= since)
            .group_by(SessionRow.id)
            .order_by(latest.desc())
            .limit(limit)
        )
        async with self._sessions() as db:
            return [_session(row) for row in await db.scalars(query)]

    async def place_session(
        self, session_id: int, *, place: str | None = None, meta: Mapping[str, str] | None = None
    ) -> Session:
        """Remember where a session is shown, or more of what its client must know."""
        async with self._transaction() as db:
            row = await _get(db, SessionRow, session_id, "session")
            if place is not None:
                row.place = place
            if meta:
                row.meta = {**row.meta, **meta}
            return _session(row)

    async def delete_session(self, session_id: int) -> None:
        """Remove a session with all its steps, pictures, objects and posts."""
        async with self._transaction() as db:
            await db.execute(delete(SessionRow).where(SessionRow.id == session_id))

    # -- steps ------------------------------------------------------------------------------------

    async def add_step(
        self, *, parent_id: int, kind: StepKind, asked_by: str, origin: str, request: str = ""
    ) -> Step:
        """Queue a step below `parent_id`; the same `origin` is one step however often it is asked for.

        Raises InvalidRequest when the parent has no picture and never will, or the limits are reached.
        """
        try:
            async with self._transaction() as db:
                # Locked: its siblings are counted, and it must not fail meanwhile.
                parent = await _get_step(db, parent_id, lock=True)
                return await self._add_below(
                    db, parent, kind, asked_by=asked_by, origin=origin, request=request
                )
        except IntegrityError:
            async with self._sessions() as db:
                found = await db.scalar(select(StepRow).where(StepRow.origin == origin))
                if found is None:
                    raise
                return _step(found)

    async def add_sibling(self, step_id: int, *, asked_by: str, origin: str) -> Step:
        """Queue a step like another one, with another seed; the same `origin` is one step."""
        try:
            async with self._transaction() as db:
                row = await _get_step(db, step_id)
                if row.parent_id is not None:
                    parent = await _get_step(db, row.parent_id, lock=True)
                    return await self._add_below(
                        db,
                        parent,
                        StepKind(row.kind),
                        asked_by=asked_by,
                        origin=origin,
                        request=row.request,
                    )
                session = await _get(db, SessionRow, row.session_id, "session")
                first = select(func.count()).where(
                    StepRow.session_id == row.session_id, StepRow.parent_id.is_(None)
                )
                sibling = StepRow(
                    session_id=row.session_id,
                    kind=row.kind,
                    state=StepState.QUEUED,
                    depth=0,
                    seed=derive_seed(session.seed, row.kind, await db.scalar(first)),
                    asked_by=asked_by,
                    origin=origin,
                )
                return await self._add(db, sibling)
        except IntegrityError:
            async with self._sessions() as db:
                found = await db.scalar(select(StepRow).where(StepRow.origin == origin))
                if found is None:
                    raise
                return _step(found)

    async def step(self, step_id: int) -> Step:
        async with self._sessions() as db:
            return _step(await _get_step(db, step_id))

    async def steps(self, session_id: int) -> list[Step]:
        """List a session's steps, parents before children."""
        async with self._sessions() as db:
            rows = await db.scalars(
                select(StepRow)
                .where(StepRow.session_id == session_id, StepRow.state != StepState.DELETED)
                .order_by(StepRow.id)
            )
            return [_step(row) for row in rows]

    async def path(self, step_id: int) -> list[Step]:
        """List the steps from a session's first picture down to this one."""
        async with self._sessions() as db:
            row = await _get_step(db, step_id)
            rows = [row]
            while row.parent_id is not None:
                row = await _get_step(db, row.parent_id)
                rows.append(row)
            return [_step(row) for row in reversed(rows)]

    async def last_origin(self, prefix: str) -> str:
        """Return the origin of the newest step whose `origin` begins with `prefix`, "" if there is none."""
        query = (
            select(StepRow.origin)
            .where(StepRow.origin.startswith(prefix, autoescape=True))
            .order_by(StepRow.id.desc())
            .limit(1)
        )
        async with self._sessions() as db:
            return await db.scalar(query) or ""

    async def current(self, session_id: int) -> Step | None:
        """Return the step whose picture a session stands at: that of its head, or the nearest above it."""
        async with self._sessions() as db:
            head = (await _get(db, SessionRow, session_id, "session")).head_id
            if head is None:  # a session from before there were heads, or a replay
                done = StepRow.session_id == session_id, StepRow.state == StepState.DONE
                head = await db.scalar(select(func.max(StepRow.id)).where(*done))
            while head is not None:
                row = await db.get(StepRow, head)
                if row is None or row.state == StepState.DONE:
                    return _step(row) if row else None
                head = row.parent_id
            return None

    async def undo(self, step_id: int) -> tuple[bool, tuple[int, ...]]:
        """Go back to a step's parent and cancel what is queued below the step; nothing is deleted.

        Return whether the session stood at the step or below it and so moved, and what was cancelled.
        Raises InvalidRequest for a first picture.
        """
        async with self._transaction() as db:
            row = await _get_step(db, step_id)
            if row.parent_id is None:
                raise InvalidRequest("This is a first picture: there is nothing before it to go back to.")
            session = await _get(db, SessionRow, row.session_id, "session")
            below = await _subtree(db, row)
            moved = session.head_id is None or session.head_id in {one.id for one in below}
            if moved:
                session.head_id = row.parent_id
            waiting = [one for one in below if one.state == StepState.QUEUED]
            for one in waiting:
                one.state = StepState.CANCELLED
                one.finished_at = datetime.now(UTC)
            return moved, tuple(one.id for one in waiting)

    async def go_to(self, step_id: int) -> bool:
        """Make a step's picture the current one of its session; False if it is that already."""
        async with self._transaction() as db:
            row = await _get_step(db, step_id)
            session = await _get(db, SessionRow, row.session_id, "session")
            moved = session.head_id != step_id
            session.head_id = step_id
            return moved

    async def delete_step(self, step_id: int) -> tuple[int, ...]:
        """Delete a step with all that was made from it: pictures, objects, posts and words.

        The emptied rows stay. Their origins tell, after a restart, that a reaction or a reply which still
        stands was answered, and their number keeps a later sibling from getting the same seed.
        """
        async with self._transaction() as db:
            row = await _get_step(db, step_id)
            session = await _get(db, SessionRow, row.session_id, "session")
            deleted = await _subtree(db, row)
            ids = [one.id for one in deleted]
            if session.head_id in ids:
                session.head_id = row.parent_id
            for kind in (PictureRow, ObjectRow, PostRow):
                await db.execute(delete(kind).where(kind.step_id.in_(ids)))
            for one in deleted:
                one.state = StepState.DELETED
                one.request = one.story = one.source = one.error = ""
                one.notes = []
            return tuple(ids)

    async def count_origins(self, prefix: str) -> int:
        """Count the steps whose `origin` begins with `prefix`."""
        query = select(func.count()).where(StepRow.origin.startswith(prefix, autoescape=True))
        async with self._sessions() as db:
            return int(await db.scalar(query) or 0)

    async def claim(self, client: str) -> Step | None:
        """Take the next queued step of a client whose parent is done, and mark it running.

        Members with priority come first; of the others, or among them, who was served longest ago: so nobody
        waits for more than one step of each other member. A member's own steps go by age. See also
        `queue.forecast`, which foretells this order.
        """
        parent, earlier = aliased(StepRow), aliased(StepRow)
        served = (
            select(func.max(earlier.started_at))
            .where(earlier.asked_by == StepRow.asked_by)
            .correlate(StepRow)
            .scalar_subquery()
        )
        query = (
            select(StepRow)
            .join(SessionRow, SessionRow.id == StepRow.session_id)
            .outerjoin(parent, parent.id == StepRow.parent_id)
            .outerjoin(
                PriorityRow,
                (PriorityRow.guild == SessionRow.guild) & (PriorityRow.member == StepRow.asked_by),
            )
            .where(
                SessionRow.client == client,
                StepRow.state == StepState.QUEUED,
                (StepRow.parent_id.is_(None)) | (parent.state == StepState.DONE),
            )
            .order_by(PriorityRow.member.is_(None), served.nulls_first(), StepRow.id)
            .limit(1)
            .with_for_update(of=StepRow, skip_locked=True)  # SQLite leaves this out: it has one writer
        )
        async with self._transaction() as db:
            row = await db.scalar(query)
            if row is None:
                return None
            row.state = StepState.RUNNING
            row.started_at = datetime.now(UTC)
            return _step(row)

    async def recover(self, client: str) -> int:
        """Queue again what a killed process left running; return how many steps."""
        async with self._transaction() as db:
            of_client = select(SessionRow.id).where(SessionRow.client == client)
            result = await db.execute(
                update(StepRow)
                .where(StepRow.state == StepState.RUNNING, StepRow.session_id.in_(of_client))
                .values(state=StepState.QUEUED, started_at=None)  # what was cut short has had no turn
            )
            return result.rowcount  # type: ignore[attr-defined]

    async def begin(self, step_id: int) -> Step:
        """Mark a queued step running, out of turn."""
        async with self._transaction() as db:
            row = await _get_step(db, step_id)
            if row.state == StepState.QUEUED:
                row.state = StepState.RUNNING
                row.started_at = datetime.now(UTC)
            return _step(row)

    async def finish(self, step_id: int, *, png: bytes, model: str, notes: Sequence[str]) -> None:
        """Save a step's finished picture and mark it done; nothing if it was cancelled in the meantime."""
        async with self._transaction() as db:
            row = await _get_step(db, step_id)
            if row.state == StepState.CANCELLED:
                return
            await _put_picture(db, step_id, png)
            row.state = StepState.DONE
            row.model = model
            row.notes = list(notes)
            row.error = ""
            row.finished_at = datetime.now(UTC)

    async def fail(self, step_id: int, message: str) -> tuple[int, ...]:
        """Mark a step failed and cancel the queued steps below it; return those."""
        async with self._transaction() as db:
            row = await _get_step(db, step_id)
            if row.state == StepState.CANCELLED:
                return ()
            row.state = StepState.FAILED
            row.error = message
            row.finished_at = datetime.now(UTC)
            return await _cancel_below(db, [step_id])

    async def retry(self, step_id: int) -> bool:
        """Queue a failed step again, with what was cancelled below it; False when it is not a failed one.

        A step that a member cancelled counts as one; a step cancelled because of another does not.
        """
        async with self._transaction() as db:
            row = await _get_step(db, step_id)
            if row.state not in (StepState.FAILED, StepState.CANCELLED) or not row.error:
                return False
            row.attempt += 1
            _requeue(row)
            below = [step_id]
            while below:
                query = select(StepRow).where(
                    StepRow.parent_id.in_(below), StepRow.state == StepState.CANCELLED, StepRow.error == ""
                )
                rows = list(await db.scalars(query))
                for child in rows:
                    _requeue(child)
                below = [child.id for child in rows]
            return True

    async def cancel(self, step_id: int, *, why: str = "") -> tuple[int, ...]:
        """Cancel a step that is not done, and the queued steps below it; return all that were cancelled.

        With a `why`, for members, the step is shown as cancelled and can be taken up again.
        """
        async with self._transaction() as db:
            row = await _get_step(db, step_id)
            if row.state not in (StepState.QUEUED, StepState.RUNNING):
                return ()
            row.state = StepState.CANCELLED
            row.error = why
            row.finished_at = datetime.now(UTC)
            return (step_id, *await _cancel_below(db, [step_id]))

    # -- the queue's line, limits and preferences -------------------------------------------------

    async def line(self, client: str) -> Line:
        """List a client's unfinished steps, with what `queue.forecast` must know."""
        open_steps = (
            select(
                StepRow.id,
                StepRow.session_id,
                StepRow.parent_id,
                StepRow.kind,
                StepRow.asked_by,
                SessionRow.guild,
                PriorityRow.member.is_not(None),
                StepRow.state,
                StepRow.started_at,
            )
            .join(SessionRow, SessionRow.id == StepRow.session_id)
            .outerjoin(
                PriorityRow,
                (PriorityRow.guild == SessionRow.guild) & (PriorityRow.member == StepRow.asked_by),
            )
            .where(SessionRow.client == client, StepRow.state.in_((StepState.QUEUED, StepState.RUNNING)))
            .order_by(StepRow.id)
        )
        async with self._sessions() as db:
            steps = tuple(
                Waiting(
                    *(number, session, parent, StepKind(kind), member, guild, first),
                    running_since=_seconds(started) if started and state == StepState.RUNNING else None,
                )
                for number, session, parent, kind, member, guild, first, state, started in await db.execute(
                    open_steps
                )
            )
            members = {step.member for step in steps}
            served = await db.execute(
                select(StepRow.asked_by, func.max(StepRow.started_at))
                .where(StepRow.asked_by.in_(members), StepRow.started_at.is_not(None))
                .group_by(StepRow.asked_by)
            )
            times = {member: _seconds(at) for member, at in served if at}
            return Line(steps, times, await self._durations(db, {step.kind for step in steps}))

    async def unfinished(
        self, client: str, *, place: str | None = None, member: str | None = None
    ) -> list[Step]:
        """List a client's queued and running steps: those shown in a place, or those of a member.

        A member's are those they asked for, and all of the sessions that they began.
        """
        query = (
            select(StepRow)
            .join(SessionRow, SessionRow.id == StepRow.session_id)
            .where(SessionRow.client == client, StepRow.state.in_((StepState.QUEUED, StepState.RUNNING)))
            .order_by(StepRow.id)
        )
        if place is not None:
            query = query.where(SessionRow.place == place)
        if member is not None:
            query = query.where((StepRow.asked_by == member) | (SessionRow.owner == member))
        async with self._sessions() as db:
            return [_step(row) for row in await db.scalars(query)]

    async def _durations(self, db: AsyncSession, kinds: set[StepKind]) -> dict[StepKind, float]:
        """Return how long steps of these kinds take: the median of the latest twenty, in seconds."""
        found: dict[StepKind, float] = {}
        for kind in kinds:
            latest = await db.execute(
                select(StepRow.started_at, StepRow.finished_at)
                .where(
                    StepRow.kind == kind,
                    StepRow.state == StepState.DONE,
                    StepRow.started_at.is_not(None),
                    StepRow.finished_at.is_not(None),
                )
                .order_by(StepRow.id.desc())
                .limit(20)
            )
            spans = [max(0.0, _seconds(end) - _seconds(start)) for start, end in latest if start and end]
            if spans:
                found[kind] = median(spans)
        return found

    async def _add_below(
        self, db: AsyncSession, parent: StepRow, kind: StepKind, *, asked_by: str, origin: str, request: str
    ) -> Step:
        if parent.state in (StepState.FAILED, StepState.CANCELLED):
            raise InvalidRequest("That step has no picture to go on from; choose an earlier one.")
        siblings = await db.scalar(select(func.count()).where(StepRow.parent_id == parent.id))
        row = StepRow(
            session_id=parent.session_id,
            parent_id=parent.id,
            kind=kind,
            state=StepState.QUEUED,
            depth=parent.depth + (kind is StepKind.RECURSE),
            # The sibling's number is part of it: the same picture asked again gives another one.
            seed=derive_seed(parent.seed, kind, siblings),
            asked_by=asked_by,
            origin=origin,
            request=request,
        )
        return await self._add(db, row)

    async def _add(self, db: AsyncSession, row: StepRow) -> Step:
        db.add(row)
        await db.flush()
        session = await _get(db, SessionRow, row.session_id, "session")
        session.head_id = row.id
        await self._check_limits(db, session, row.asked_by)
        return _step(row)

    async def _check_limits(self, db: AsyncSession, session: SessionRow, member: str) -> None:
        """Raise InvalidRequest where a member's or a server's steps, the new ones included, are too many."""
        if not member:
            return  # the command line's
        narrower = {
            row.name: int(row.value)
            for row in await db.scalars(
                select(PreferenceRow).where(
                    PreferenceRow.level == "server",
                    PreferenceRow.place == session.guild,
                    PreferenceRow.name.in_(asdict(self._limits)),
                )
            )
        }
        limits = {
            name: min(filter(None, (everywhere, narrower.get(name, 0))), default=0)
            for name, everywhere in asdict(self._limits).items()
        }
        if not any(limits.values()):
            return
        own = StepRow.asked_by == member
        waiting = StepRow.state.in_((StepState.QUEUED, StepState.RUNNING))
        today = (StepRow.state != StepState.CANCELLED) & (
            StepRow.created_at >= datetime.now(UTC) - timedelta(days=1)
        )
        counted = {
            "member_waiting": own & waiting,
            "member_daily": own & today,
            "server_waiting": waiting,
            "server_daily": today,
        }
        counts = await db.execute(
            select(*(func.count().filter(condition) for condition in counted.values()))
            .select_from(StepRow)
            .join(SessionRow, SessionRow.id == StepRow.session_id)
            .where(SessionRow.client == session.client, SessionRow.guild == session.guild, waiting | today)
        )
        for (name, limit), count in zip(limits.items(), counts.one(), strict=True):
            if limit and count > limit:
                raise InvalidRequest(_LIMIT_REACHED[name].format(limit=limit))

    async def preferences(self, level: str, place: str) -> dict[str, str]:
        """Return what a server, a channel or a member wants, by name."""
        async with self._sessions() as db:
            rows = await db.scalars(
                select(PreferenceRow).where(PreferenceRow.level == level, PreferenceRow.place == place)
            )
            return {row.name: row.value for row in rows}

    async def preferences_of(self, places: Mapping[str, str]) -> dict[str, dict[str, str]]:
        """Return what is wanted at several levels, places by level; one query."""
        here = [
            (PreferenceRow.level == level) & (PreferenceRow.place == place)
            for level, place in places.items()
            if place
        ]
        found: dict[str, dict[str, str]] = {}
        if here:
            async with self._sessions() as db:
                for row in await db.scalars(select(PreferenceRow).where(or_(*here))):
                    found.setdefault(row.level, {})[row.name] = row.value
        return found

    async def set_preference(self, level: str, place: str, name: str, value: str | None) -> None:
        """Keep a preference in place of what was there; None forgets it."""
        async with self._transaction() as db:
            row = await db.get(PreferenceRow, (level, place, name))
            if value is None:
                if row is not None:
                    await db.delete(row)
            elif row is None:
                db.add(PreferenceRow(level=level, place=place, name=name, value=value))
            else:
                row.value = value

    async def set_priority(self, guild: str, member: str, first: bool) -> None:
        """Note whether a member's steps go before others' in a server; writes only what changes."""
        async with self._sessions() as db:
            row = await db.get(PriorityRow, (guild, member))
        if (row is not None) == first:
            return
        async with self._transaction() as db:
            row = await db.get(PriorityRow, (guild, member))
            if first and row is None:
                db.add(PriorityRow(guild=guild, member=member))
            elif not first and row is not None:
                await db.delete(row)

    # -- pictures and objects ---------------------------------------------------------------------

    async def picture(self, step_id: int) -> bytes | None:
        """Read a step's picture (PNG) as far as it is painted, None before the first object."""
        async with self._sessions() as db:
            return await db.scalar(select(PictureRow.png).where(PictureRow.step_id == step_id))

    async def source(self, session_id: int) -> bytes | None:
        """Read the picture (PNG) that a session's first one is painted over, None where there is none."""
        async with self._sessions() as db:
            return await db.scalar(select(SourceRow.png).where(SourceRow.session_id == session_id))

    async def objects(self, step_id: int) -> tuple[SceneObject, ...]:
        async with self._sessions() as db:
            rows = await db.scalars(
                select(ObjectRow).where(ObjectRow.step_id == step_id).order_by(ObjectRow.number)
            )
            return tuple(_object(row) for row in rows)

    async def save_objects(self, step_id: int, objects: Sequence[SceneObject]) -> None:
        """Write a step's objects, in place of what it had."""
        async with self._transaction() as db:
            await _get_step(db, step_id)
            await db.execute(delete(ObjectRow).where(ObjectRow.step_id == step_id))
            for item in objects:
                box = item.detection.box
                db.add(
                    ObjectRow(
                        step_id=step_id,
                        number=item.number,
                        label=item.detection.label,
                        score=float(item.detection.score),
                        y1=int(box.y1),
                        x1=int(box.x1),
                        y2=int(box.y2),
                        x2=int(box.x2),
                        mask=mask_to_png(item.detection.mask),
                        name=item.name,
                        tags=list(item.tags),
                        seed=item.seed,
                        params=asdict(item.params),
                        repaint=item.repaint,
                        painted=item.painted,
                        locked=item.locked,
                        kept=item.kept,
                    )
                )

    async def wishes(self, step_ids: Sequence[int]) -> tuple[SceneObject, ...]:
        """Return the objects of these steps that were wished to be kept or released, the oldest first."""
        query = (
            select(ObjectRow)
            .where(ObjectRow.step_id.in_(step_ids), ObjectRow.kept.is_not(None))
            .order_by(ObjectRow.step_id, ObjectRow.number)
        )
        async with self._sessions() as db:
            return tuple(_object(row) for row in await db.scalars(query))

    async def set_kept(self, step_id: int, wishes: Mapping[int, bool | None]) -> None:
        """Note, by number, which of a step's objects the steps below it keep (see SceneObject.kept)."""
        async with self._transaction() as db:
            await _get_step(db, step_id)
            for row in await db.scalars(select(ObjectRow).where(ObjectRow.step_id == step_id)):
                if row.number in wishes:
                    row.kept = wishes[row.number]

    async def save_context(self, step_id: int, context: SceneContext, objects: Sequence[SceneObject]) -> None:
        """Write a step's story and the objects that now carry their tags, as one."""
        by_number = {item.number: item for item in objects}
        async with self._transaction() as db:
            row = await _get_step(db, step_id)
            row.story = context.story
            row.source = context.source
            for stored in await db.scalars(select(ObjectRow).where(ObjectRow.step_id == step_id)):
                item = by_number[stored.number]
                stored.name, stored.tags = item.name, list(item.tags)
                stored.seed, stored.params = item.seed, asdict(item.params)
                stored.repaint = item.repaint

    async def save_painted(
        self, step_id: int, number: int, png: bytes, *, model: str, notes: Sequence[str]
    ) -> None:
        """Write the picture with object `number` painted in: the checkpoint after each paid-for picture."""
        async with self._transaction() as db:
            row = await _get_step(db, step_id)
            await _put_picture(db, step_id, png)
            row.model = model
            row.notes = list(notes)
            await db.execute(
                update(ObjectRow)
                .where(ObjectRow.step_id == step_id, ObjectRow.number == number)
                .values(painted=True)
            )

    # -- posts ------------------------------------------------------------------------------------

    async def posts(self, step_id: int) -> list[Post]:
        async with self._sessions() as db:
            rows = await db.scalars(select(PostRow).where(PostRow.step_id == step_id).order_by(PostRow.part))
            return [Post(row.step_id, row.part, row.place, row.message) for row in rows]

    async def begin_post(self, step_id: int, part: str, place: str) -> tuple[Post, bool]:
        """Note that a part is about to be sent; return it, and whether this is the first attempt."""
        async with self._transaction() as db:
            row = await db.get(PostRow, (step_id, part))
            first = row is None
            if row is None:
                await _get_step(db, step_id)
                row = PostRow(step_id=step_id, part=part, place=place, message="")
                db.add(row)
            elif not row.message:
                row.place = place
            return Post(row.step_id, row.part, row.place, row.message), first

    async def set_post(self, step_id: int, part: str, message: str) -> None:
        """Remember the message that shows a part."""
        async with self._transaction() as db:
            await db.execute(
                update(PostRow)
                .where(PostRow.step_id == step_id, PostRow.part == part)
                .values(message=message)
            )

    async def remove_post(self, step_id: int, part: str) -> None:
        """Forget a part that is shown no longer."""
        async with self._transaction() as db:
            await db.execute(delete(PostRow).where(PostRow.step_id == step_id, PostRow.part == part))

    async def post_of_message(self, message: str) -> Post | None:
        """Find the part of a step that a message shows."""
        async with self._sessions() as db:
            row = await db.scalar(select(PostRow).where(PostRow.message == message).limit(1))
            return Post(row.step_id, row.part, row.place, row.message) if row else None

    async def step_of_message(self, message: str) -> Step | None:
        """Find the step that a message shows a part of."""
        async with self._sessions() as db:
            row = await db.scalar(
                select(StepRow)
                .join(PostRow, PostRow.step_id == StepRow.id)
                .where(PostRow.message == message)
                .limit(1)
            )
            return _step(row) if row else None

    async def undelivered(self, client: str) -> list[Step]:
        """List the ended steps whose outcome is not wholly shown yet."""
        async with self._sessions() as db:
            rows = await db.scalars(
                select(StepRow)
                .join(SessionRow, SessionRow.id == StepRow.session_id)
                .where(
                    SessionRow.client == client,
                    StepRow.state.in_((StepState.DONE, StepState.FAILED))
                    | ((StepRow.state == StepState.CANCELLED) & (StepRow.error != "")),
                    StepRow.delivered.is_(False),
                )
                .order_by(StepRow.id)
            )
            return [_step(row) for row in rows]

    async def set_delivered(self, step_id: int, *, attempt: int) -> None:
        """Note that the outcome of an attempt is wholly shown; nothing if it is being tried again by now."""
        async with self._transaction() as db:
            await db.execute(
                update(StepRow)
                .where(StepRow.id == step_id, StepRow.attempt == attempt)
                .values(delivered=True)
            )

    # -- for operators ----------------------------------------------------------------------------

    async def census(self, client: str) -> dict[tuple[StepKind, StepState], int]:
        """Count a client's steps by kind and state."""
        query = (
            select(StepRow.kind, StepRow.state, func.count())
            .join(SessionRow, SessionRow.id == StepRow.session_id)
            .where(SessionRow.client == client)
            .group_by(StepRow.kind, StepRow.state)
        )
        async with self._sessions() as db:
            return {
                (StepKind(kind), StepState(state)): count for kind, state, count in await db.execute(query)
            }

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
            key = int.from_bytes(hashlib.sha256(f"alone:{client}".encode()).digest()[:8], "big", signed=True)
            if not await connection.scalar(select(func.pg_try_advisory_lock(key))):
                raise taken
            await connection.commit()  # the lock is the connection's, not the transaction's
            try:
                yield
            finally:
                # Not given back to the pool with the lock on it, however this ends.
                await connection.invalidate()

    # -- sessions as members look for them --------------------------------------------------------

    async def find_sessions(
        self,
        client: str,
        *,
        owner: str = "",
        guild: str = "",
        place: str = "",
        words: str = "",
        limit: int = 25,
        offset: int = 0,
    ) -> list[Session]:
        """List shown sessions, the latest first: a member's, or a server's, or both together.

        `words` must be in the prompt, or be the session's number; `place` keeps those shown there.
        """
        query = select(SessionRow).where(SessionRow.client == client, SessionRow.place != "")
        theirs, here = SessionRow.owner == owner, SessionRow.meta["guild"].as_string() == guild
        if owner and guild:
            query = query.where(theirs | here)
        elif owner or guild:
            query = query.where(theirs if owner else here)
        if place:
            query = query.where(SessionRow.place == place)
        if words:
            found = SessionRow.prompt.icontains(words, autoescape=True)
            number = words.lstrip("#")
            is_number = number.isascii() and number.isdigit() and len(number) < 10
            query = query.where(found | (SessionRow.id == int(number)) if is_number else found)
        query = query.order_by(SessionRow.id.desc()).limit(limit).offset(offset)
        async with self._sessions() as db:
            return [_session(row) for row in await db.scalars(query)]

    async def count_sessions(self, client: str, *, owner: str) -> int:
        """Count a member's shown sessions."""
        query = select(func.count()).where(
            SessionRow.client == client, SessionRow.owner == owner, SessionRow.place != ""
        )
        async with self._sessions() as db:
            return int(await db.scalar(query) or 0)

    async def count_pictures(self, session_ids: Sequence[int]) -> dict[int, int]:
        """Count the finished pictures of each of these sessions."""
        query = (
            select(StepRow.session_id, func.count())
            .where(StepRow.session_id.in_(session_ids), StepRow.state == StepState.DONE)
            .group_by(StepRow.session_id)
        )
        async with self._sessions() as db:
            return {row[0]: row[1] for row in await db.execute(query)}

    async def changes(self, session_id: int) -> dict[int, tuple[tuple[int, str], ...]]:
        """Read the numbers and labels of the objects that each step of a session repaints, without masks."""
        query = (
            select(ObjectRow.step_id, ObjectRow.number, ObjectRow.label)
            .join(StepRow, StepRow.id == ObjectRow.step_id)
            .where(StepRow.session_id == session_id, ObjectRow.repaint.is_(True))
            .order_by(ObjectRow.step_id, ObjectRow.number)
        )
        found: dict[int, list[tuple[int, str]]] = {}
        async with self._sessions() as db:
            for step_id, number, label in await db.execute(query):
                found.setdefault(step_id, []).append((number, label))
        return {step_id: tuple(items) for step_id, items in found.items()}

    async def posts_of(self, session_id: int) -> list[Post]:
        """List where the parts of a session's steps are shown, in the order of the steps."""
        query = (
            select(PostRow)
            .join(StepRow, StepRow.id == PostRow.step_id)
            .where(StepRow.session_id == session_id)
            .order_by(PostRow.step_id, PostRow.part)
        )
        async with self._sessions() as db:
            return [Post(row.step_id, row.part, row.place, row.message) for row in await db.scalars(query)]

    async def steps_with_picture(self, client: str, sha256: str) -> list[Step]:
        """Find the finished steps of a client that made exactly this file, the first one first."""
        query = (
            select(StepRow)
            .join(PictureRow, PictureRow.step_id == StepRow.id)
            .join(SessionRow, SessionRow.id == StepRow.session_id)
            .where(PictureRow.sha256 == sha256, SessionRow.client == client, StepRow.state == StepState.DONE)
            .order_by(StepRow.id)
            .limit(10)
        )
        async with self._sessions() as db:
            return [_step(row) for row in await db.scalars(query)]

    # -- what is kept of a member -----------------------------------------------------------------

    async def sessions_of(self, client: str, owner: str) -> list[Session]:
        """List all of a member's sessions, shown or not, oldest first."""
        query = (
            select(SessionRow)
            .where(SessionRow.client == client, SessionRow.owner == owner)
            .order_by(SessionRow.id)
        )
        async with self._sessions() as db:
            return [_session(row) for row in await db.scalars(query)]

    async def steps_elsewhere(self, client: str, member: str) -> list[Step]:
        """List the steps that a member asked for in other members' sessions."""
        query = (
            select(StepRow)
            .join(SessionRow, SessionRow.id == StepRow.session_id)
            .where(SessionRow.client == client, SessionRow.owner != member, StepRow.asked_by == member)
            .order_by(StepRow.id)
        )
        async with self._sessions() as db:
            return [_step(row) for row in await db.scalars(query)]

    async def footprint(self, client: str, member: str) -> Footprint:
        """Count what is kept of a member."""
        own = (SessionRow.client == client) & (SessionRow.owner == member)
        sessions = select(func.count(), func.min(SessionRow.created_at)).where(own)
        steps = select(func.count()).select_from(StepRow).join(SessionRow).where(own)
        pictures = (
            select(func.count(), func.sum(func.length(PictureRow.png)))
            .select_from(PictureRow)
            .join(StepRow, StepRow.id == PictureRow.step_id)
            .join(SessionRow, SessionRow.id == StepRow.session_id)
            .where(own)
        )
        sources = (
            select(func.count())
            .select_from(SourceRow)
            .join(SessionRow, SessionRow.id == SourceRow.session_id)
            .where(own)
        )
        async with self._sessions() as db:
            count, since = (await db.execute(sessions)).one()
            painted, size = (await db.execute(pictures)).one()
            attached = await db.scalar(sources)
            others = await db.scalar(steps.where(StepRow.asked_by.not_in(("", member))))
            wishes = 0
            for which, whose in (
                (PreferenceRow, _preferences_of(member)),
                (PriorityRow, PriorityRow.member == member),
            ):
                wishes += await db.scalar(select(func.count()).select_from(which).where(whose)) or 0
        elsewhere = len(await self.steps_elsewhere(client, member))
        return Footprint(count, painted, size or 0, attached or 0, others or 0, elsewhere, wishes, since)

    async def forget_wishes(self, member: str) -> int:
        """Remove a member's own defaults and their places in servers' queues; return how many there were."""
        async with self._transaction() as db:
            gone = [
                await db.execute(delete(PreferenceRow).where(_preferences_of(member))),
                await db.execute(delete(PriorityRow).where(PriorityRow.member == member)),
            ]
            return sum(result.rowcount for result in gone)  # type: ignore[attr-defined]

    async def forget_asker(self, step_id: int, *, png: bytes | None) -> None:
        """Take out of a step who asked for it and in which words; `png` replaces its picture if given."""
        async with self._transaction() as db:
            row = await _get_step(db, step_id)
            row.asked_by, row.request = "", ""
            row.origin = f"forgotten:{row.id}"  # an origin may name the member
            if png is not None:
                await _put_picture(db, step_id, png)

    # -- what a client keeps ----------------------------------------------------------------------

    async def recall(self, key: str) -> str:
        """Read what was kept under a key, "" when nothing was."""
        async with self._sessions() as db:
            row = await db.get(KeptRow, key)
            return row.value if row else ""

    async def keep(self, key: str, value: str) -> None:
        """Keep a short text under a key, in place of what was there."""
        async with self._transaction() as db:
            row = await db.get(KeptRow, key)
            if row is None:
                db.add(KeptRow(key=key, value=value))
            else:
                row.value = value


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

    root = Path(__file__).resolve().parent.parent
    config = Config(toml_file=str(root / "pyproject.toml"))
    config.attributes["url"] = url
    return config


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # autocommit: SQLAlchemy's own BEGIN must be the only one, see Store._transaction.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "busy_timeout=30000", "synchronous=NORMAL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


_LIMIT_REACHED = {
    "member_waiting": (
        "At most {limit} pictures of yours may be waiting here, and this would be more; "
        "wait for one, or cancel some with /cancel."
    ),
    "member_daily": "At most {limit} pictures a day are yours here, and this would be more; go on tomorrow.",
    "server_waiting": (
        "At most {limit} pictures may be waiting in this server, and this would be more; try again later."
    ),
    "server_daily": (
        "At most {limit} pictures a day are painted in this server, and this would be more; go on tomorrow."
    ),
}


def _seconds(moment: datetime) -> float:
    """Return a time as seconds since 1970; SQLite may have dropped its zone, which is UTC."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


async def _get(db: AsyncSession, kind: Callable[..., Row], key: int, what: str) -> Row:
    row = await db.get(kind, key)  # type: ignore[arg-type]
    if row is None:
        raise NotFound(f"There is no {what} {key}; it may have been deleted.")
    return row  # type: ignore[return-value]


async def _get_step(db: AsyncSession, step_id: int, *, lock: bool = False) -> StepRow:
    row = await db.get(StepRow, step_id, with_for_update=lock or None)
    if row is None or row.state == StepState.DELETED:
        raise NotFound(f"There is no picture {step_id}; it may have been deleted.")
    return row


async def _subtree(db: AsyncSession, row: StepRow) -> list[StepRow]:
    """List a step and all that was made from it, parents before children."""
    found = level = [row]
    while level:
        query = select(StepRow).where(
            StepRow.parent_id.in_([one.id for one in level]), StepRow.state != StepState.DELETED
        )
        level = list(await db.scalars(query.order_by(StepRow.id)))
        found = found + level
    return found


async def _put_picture(db: AsyncSession, step_id: int, png: bytes) -> None:
    digest = hashlib.sha256(png).hexdigest()
    row = await db.get(PictureRow, step_id)
    if row is None:
        db.add(PictureRow(step_id=step_id, png=png, sha256=digest))
    else:
        row.png, row.sha256 = png, digest


def _preferences_of(member: str) -> ColumnElement[bool]:
    return (PreferenceRow.level == "member") & (PreferenceRow.place == member)


def _requeue(row: StepRow) -> None:
    row.state = StepState.QUEUED
    row.error = ""
    row.finished_at = None
    row.delivered = False


async def _cancel_below(db: AsyncSession, step_ids: list[int]) -> tuple[int, ...]:
    cancelled: list[int] = []
    while step_ids:
        rows = list(
            await db.scalars(
                select(StepRow).where(StepRow.parent_id.in_(step_ids), StepRow.state == StepState.QUEUED)
            )
        )
        for row in rows:
            row.state = StepState.CANCELLED
            row.finished_at = datetime.now(UTC)
        step_ids = [row.id for row in rows]
        cancelled += step_ids
        await db.flush()
    return tuple(cancelled)


def _session(row: SessionRow) -> Session:
    return Session(
        id=row.id,
        client=row.client,
        owner=row.owner,
        request=row.request,
        place=row.place,
        prompt=row.prompt,
        negative_prompt=row.negative_prompt,
        seed=row.seed,
        width=row.width,
        height=row.height,
        steps=row.steps,
        guidance=row.guidance,
        created_at=row.created_at,
        meta=dict(row.meta),
        head=row.head_id,
        source=Source(row.source_sha256, row.source_strength) if row.source_sha256 else None,
        guild=row.guild,
        mature=row.mature,
        style=row.style,
        style_words=row.style_words,
        model=row.model,
        sampler=row.sampler,
    )


def _step(row: StepRow) -> Step:
    return Step(
        id=row.id,
        session_id=row.session_id,
        parent_id=row.parent_id,
        kind=StepKind(row.kind),
        state=StepState(row.state),
        depth=row.depth,
        seed=row.seed,
        asked_by=row.asked_by,
        request=row.request,
        origin=row.origin,
        attempt=row.attempt,
        story=row.story,
        source=row.source,
        model=row.model,
        notes=tuple(row.notes),
        error=row.error,
        created_at=row.created_at,
        finished_at=row.finished_at,
        delivered=row.delivered,
        started_at=row.started_at,
    )


def _object(row: ObjectRow) -> SceneObject:
    return SceneObject(
        number=row.number,
        detection=Detection(row.label, row.score, Box(row.y1, row.x1, row.y2, row.x2), png_to_mask(row.mask)),
        name=row.name,
        tags=tuple(row.tags),
        seed=row.seed,
        params=PaintParams(**row.params),
        repaint=row.repaint,
        painted=row.painted,
        locked=row.locked,
        kept=row.kept,
    )
