"""Every query. The only module that talks to the database."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import inspect
import io
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from sqlalchemy import delete, event, func, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import aliased

from pipeline.domain import (
    Box,
    Detection,
    Mask,
    PaintParams,
    Post,
    SceneContext,
    SceneObject,
    Session,
    Step,
    StepKind,
    StepState,
)
from pipeline.errors import InvalidRequest, NotFound
from pipeline.models import KeptRow, ObjectRow, PictureRow, PostRow, SessionRow, StepRow

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

    def __init__(self, url: str) -> None:
        self._engine = create_async_engine(url)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine.sync_engine, "connect", _prepare_sqlite)
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)

    async def aclose(self) -> None:
        await self._engine.dispose()

    @asynccontextmanager
    async def _transaction(self):
        async with self._sessions.begin() as db:
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
    ) -> Session:
        """Save a session, its first picture and `depth` recursions queued; a `request` makes one session."""
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
                    meta=dict(meta or {}),
                )
                db.add(row)
                await db.flush()
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

        Raises InvalidRequest when the parent has no picture and never will.
        """
        try:
            async with self._transaction() as db:
                parent = await _get_step(db, parent_id)
                return await _add_below(db, parent, kind, asked_by=asked_by, origin=origin, request=request)
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
                    parent = await _get_step(db, row.parent_id)
                    return await _add_below(
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
                return await _add(db, sibling)
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
        """Take the oldest queued step of a client whose parent is done, and mark it running."""
        parent = aliased(StepRow)
        query = (
            select(StepRow)
            .join(SessionRow, SessionRow.id == StepRow.session_id)
            .outerjoin(parent, parent.id == StepRow.parent_id)
            .where(
                SessionRow.client == client,
                StepRow.state == StepState.QUEUED,
                (StepRow.parent_id.is_(None)) | (parent.state == StepState.DONE),
            )
            .order_by(StepRow.id)
            .limit(1)
            .with_for_update(of=StepRow, skip_locked=True)  # SQLite leaves this out: it has one writer
        )
        async with self._transaction() as db:
            row = await db.scalar(query)
            if row is None:
                return None
            row.state = StepState.RUNNING
            return _step(row)

    async def recover(self, client: str) -> int:
        """Queue again what a killed process left running; return how many steps."""
        async with self._transaction() as db:
            of_client = select(SessionRow.id).where(SessionRow.client == client)
            result = await db.execute(
                update(StepRow)
                .where(StepRow.state == StepState.RUNNING, StepRow.session_id.in_(of_client))
                .values(state=StepState.QUEUED)
            )
            return result.rowcount  # type: ignore[attr-defined]

    async def begin(self, step_id: int) -> Step:
        """Mark a queued step running, out of turn."""
        async with self._transaction() as db:
            row = await _get_step(db, step_id)
            if row.state == StepState.QUEUED:
                row.state = StepState.RUNNING
            return _step(row)

    async def finish(self, step_id: int, *, png: bytes, model: str, notes: Sequence[str]) -> None:
        """Save a step's finished picture and mark it done."""
        async with self._transaction() as db:
            row = await _get_step(db, step_id)
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
            row.state = StepState.FAILED
            row.error = message
            row.finished_at = datetime.now(UTC)
            return await _cancel_below(db, [step_id])

    async def retry(self, step_id: int) -> bool:
        """Queue a failed step again, with what was cancelled below it; False when it is not a failed one."""
        async with self._transaction() as db:
            row = await _get_step(db, step_id)
            if row.state != StepState.FAILED:
                return False
            row.attempt += 1
            _requeue(row)
            below = [step_id]
            while below:
                query = select(StepRow).where(
                    StepRow.parent_id.in_(below), StepRow.state == StepState.CANCELLED
                )
                rows = list(await db.scalars(query))
                for child in rows:
                    _requeue(child)
                below = [child.id for child in rows]
            return True

    async def cancel(self, step_id: int) -> tuple[int, ...]:
        """Cancel a step that is not done, and the queued steps below it; return all that were cancelled."""
        async with self._transaction() as db:
            row = await _get_step(db, step_id)
            if row.state not in (StepState.QUEUED, StepState.RUNNING):
                return ()
            row.state = StepState.CANCELLED
            row.finished_at = datetime.now(UTC)
            return (step_id, *await _cancel_below(db, [step_id]))

    # -- pictures and objects ---------------------------------------------------------------------

    async def picture(self, step_id: int) -> bytes | None:
        """Read a step's picture (PNG) as far as it is painted, None before the first object."""
        async with self._sessions() as db:
            return await db.scalar(select(PictureRow.png).where(PictureRow.step_id == step_id))

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
                    StepRow.state.in_((StepState.DONE, StepState.FAILED)),
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
    """Bring a database to today's tables, making the file and its folder where there are none."""
    from alembic import command
    from alembic.config import Config

    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
        Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
    root = Path(__file__).resolve().parent.parent
    config = Config(toml_file=str(root / "pyproject.toml"))
    config.attributes["url"] = url
    command.upgrade(config, "head")


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # autocommit: SQLAlchemy's own BEGIN must be the only one, see Store._transaction.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "busy_timeout=30000", "synchronous=NORMAL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


async def _get(db: AsyncSession, kind: Callable[..., Row], key: int, what: str) -> Row:
    row = await db.get(kind, key)  # type: ignore[arg-type]
    if row is None:
        raise NotFound(f"There is no {what} {key}; it may have been deleted.")
    return row  # type: ignore[return-value]


async def _get_step(db: AsyncSession, step_id: int) -> StepRow:
    row = await db.get(StepRow, step_id)
    if row is None or row.state == StepState.DELETED:
        raise NotFound(f"There is no picture {step_id}; it may have been deleted.")
    return row


async def _add_below(
    db: AsyncSession, parent: StepRow, kind: StepKind, *, asked_by: str, origin: str, request: str
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
    return await _add(db, row)


async def _add(db: AsyncSession, row: StepRow) -> Step:
    db.add(row)
    await db.flush()
    (await _get(db, SessionRow, row.session_id, "session")).head_id = row.id
    return _step(row)


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
