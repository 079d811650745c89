"""A session's tree of steps: grown, walked, undone, pruned."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from pipeline.domain import Step, StepKind, StepState
from pipeline.errors import InvalidRequest
from pipeline.models import ObjectRow, PictureRow, PostRow, SessionRow, StepRow
from pipeline.store.database import Database
from pipeline.store.limits import check_limits
from pipeline.store.rows import derive_seed, get, get_step, subtree, to_step


class Steps(Database):
    """The tree of steps that a session is."""

    async def add_step(
        self, *, parent_id: int, kind: StepKind, asked_by: str, origin: str, request: str = ""
    ) -> Step:
        """Queue a step below `parent_id`; the same `origin` is one step however often it is asked for.

        Raises InvalidRequest when the parent has no picture and never will, or the limits are reached.
        """
        try:
            async with self._transaction() as db:
                # Locked: its siblings are counted, and it must not fail meanwhile.
                parent = await get_step(db, parent_id, lock=True)
                return await self._add_below(
                    db, parent, kind, asked_by=asked_by, origin=origin, request=request
                )
        except IntegrityError as err:
            return await self._of_origin(origin, err)

    async def add_sibling(self, step_id: int, *, asked_by: str, origin: str) -> Step:
        """Queue a step like another one, with another seed; the same `origin` is one step."""
        try:
            async with self._transaction() as db:
                row = await get_step(db, step_id)
                if row.parent_id is not None:
                    parent = await get_step(db, row.parent_id, lock=True)
                    return await self._add_below(
                        db,
                        parent,
                        StepKind(row.kind),
                        asked_by=asked_by,
                        origin=origin,
                        request=row.request,
                    )
                session = await get(db, SessionRow, row.session_id, "session")
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
        except IntegrityError as err:
            return await self._of_origin(origin, err)

    async def _of_origin(self, origin: str, err: IntegrityError) -> Step:
        """Give the step that was asked for before; raises `err` if it was refused for something else."""
        async with self._sessions() as db:
            found = await db.scalar(select(StepRow).where(StepRow.origin == origin))
            if found is None:
                raise err
            return to_step(found)

    async def step(self, step_id: int) -> Step:
        async with self._sessions() as db:
            return to_step(await get_step(db, step_id))

    async def steps(self, session_id: int) -> list[Step]:
        """List a session's steps, parents before children."""
        async with self._sessions() as db:
            rows = await db.scalars(
                select(StepRow)
                .where(StepRow.session_id == session_id, StepRow.state != StepState.DELETED)
                .order_by(StepRow.id)
            )
            return [to_step(row) for row in rows]

    async def path(self, step_id: int) -> list[Step]:
        """List the steps from a session's first picture down to this one."""
        async with self._sessions() as db:
            row = await get_step(db, step_id)
            rows = [row]
            while row.parent_id is not None:
                row = await get_step(db, row.parent_id)
                rows.append(row)
            return [to_step(row) for row in reversed(rows)]

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

    async def count_origins(self, prefix: str) -> int:
        """Count the steps whose `origin` begins with `prefix`."""
        query = select(func.count()).where(StepRow.origin.startswith(prefix, autoescape=True))
        async with self._sessions() as db:
            return int(await db.scalar(query) or 0)

    async def current(self, session_id: int) -> Step | None:
        """Return the step whose picture a session stands at: that of its head, or the nearest above it."""
        async with self._sessions() as db:
            head = (await get(db, SessionRow, session_id, "session")).head_id
            if head is None:  # a session from before there were heads, or a replay
                done = StepRow.session_id == session_id, StepRow.state == StepState.DONE
                head = await db.scalar(select(func.max(StepRow.id)).where(*done))
            while head is not None:
                row = await db.get(StepRow, head)
                if row is None or row.state == StepState.DONE:
                    return to_step(row) if row else None
                head = row.parent_id
            return None

    async def undo(self, step_id: int) -> tuple[bool, tuple[int, ...]]:
        """Go back to a step's parent and cancel what is queued below the step; nothing is deleted.

        Return whether the session stood at the step or below it and so moved, and what was cancelled.
        Raises InvalidRequest for a first picture.
        """
        async with self._transaction() as db:
            row = await get_step(db, step_id)
            if row.parent_id is None:
                raise InvalidRequest("This is a first picture: there is nothing before it to go back to.")
            session = await get(db, SessionRow, row.session_id, "session")
            below = await subtree(db, row)
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
            row = await get_step(db, step_id)
            session = await get(db, SessionRow, row.session_id, "session")
            moved = session.head_id != step_id
            session.head_id = step_id
            return moved

    async def delete_step(self, step_id: int) -> tuple[int, ...]:
        """Delete a step with all that was made from it: pictures, objects, posts and words.

        The emptied rows stay. Their origins tell, after a restart, that a reaction or a reply which still
        stands was answered, and their number keeps a later sibling from getting the same seed.
        """
        async with self._transaction() as db:
            row = await get_step(db, step_id)
            session = await get(db, SessionRow, row.session_id, "session")
            deleted = await subtree(db, row)
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

    async def count_pictures(self, session_ids: Sequence[int]) -> dict[int, int]:
        """Count the finished pictures of each of these sessions."""
        query = (
            select(StepRow.session_id, func.count())
            .where(StepRow.session_id.in_(session_ids), StepRow.state == StepState.DONE)
            .group_by(StepRow.session_id)
        )
        async with self._sessions() as db:
            return {row[0]: row[1] for row in await db.execute(query)}

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
        session = await get(db, SessionRow, row.session_id, "session")
        session.head_id = row.id
        await check_limits(db, session, row.asked_by, self._limits)
        return to_step(row)
