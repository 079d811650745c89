"""Steps as the queue of work: whose turn it is, and what becomes of a turn."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from pipeline.domain import Step, StepKind, StepState
from pipeline.models import PriorityRow, SessionRow, StepRow
from pipeline.queue import Line, Waiting
from pipeline.store.database import Database
from pipeline.store.rows import get_step, put_picture, to_step


class Work(Database):
    """The queue that the unfinished steps are."""

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
            return to_step(row)

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
            row = await get_step(db, step_id)
            if row.state == StepState.QUEUED:
                row.state = StepState.RUNNING
                row.started_at = datetime.now(UTC)
            return to_step(row)

    async def finish(self, step_id: int, *, png: bytes, model: str, notes: Sequence[str]) -> None:
        """Save a step's finished picture and mark it done; nothing if it was cancelled in the meantime."""
        async with self._transaction() as db:
            row = await get_step(db, step_id)
            if row.state == StepState.CANCELLED:
                return
            await put_picture(db, step_id, png)
            row.state = StepState.DONE
            row.model = model
            row.notes = list(notes)
            row.error = ""
            row.finished_at = datetime.now(UTC)

    async def fail(self, step_id: int, message: str) -> tuple[int, ...]:
        """Mark a step failed and cancel the queued steps below it; return those."""
        async with self._transaction() as db:
            row = await get_step(db, step_id)
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
            row = await get_step(db, step_id)
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
            row = await get_step(db, step_id)
            if row.state not in (StepState.QUEUED, StepState.RUNNING):
                return ()
            row.state = StepState.CANCELLED
            row.error = why
            row.finished_at = datetime.now(UTC)
            return (step_id, *await _cancel_below(db, [step_id]))

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
            return [to_step(row) for row in await db.scalars(query)]

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


def _seconds(moment: datetime) -> float:
    """Return a time as seconds since 1970; SQLite may have dropped its zone, which is UTC."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
