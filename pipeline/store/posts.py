"""Where the parts of a step are shown, and what is not shown yet."""

from __future__ import annotations

from sqlalchemy import delete, select, update

from pipeline.domain import Post, Step, StepState
from pipeline.models import PostRow, SessionRow, StepRow
from pipeline.store.database import Database
from pipeline.store.rows import get_step, to_step


class Posts(Database):
    """What a client has sent, or is about to."""

    async def posts(self, step_id: int) -> list[Post]:
        async with self._sessions() as db:
            rows = await db.scalars(select(PostRow).where(PostRow.step_id == step_id).order_by(PostRow.part))
            return [_post(row) for row in rows]

    async def posts_of(self, session_id: int) -> list[Post]:
        """List where the parts of a session's steps are shown, in the order of the steps."""
        query = (
            select(PostRow)
            .join(StepRow, StepRow.id == PostRow.step_id)
            .where(StepRow.session_id == session_id)
            .order_by(PostRow.step_id, PostRow.part)
        )
        async with self._sessions() as db:
            return [_post(row) for row in await db.scalars(query)]

    async def begin_post(self, step_id: int, part: str, place: str) -> tuple[Post, bool]:
        """Note that a part is about to be sent; return it, and whether this is the first attempt."""
        async with self._transaction() as db:
            row = await db.get(PostRow, (step_id, part))
            first = row is None
            if row is None:
                await get_step(db, step_id)
                row = PostRow(step_id=step_id, part=part, place=place, message="")
                db.add(row)
            elif not row.message:
                row.place = place
            return _post(row), first

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
            return _post(row) if row else None

    async def step_of_message(self, message: str) -> Step | None:
        """Find the step that a message shows a part of."""
        async with self._sessions() as db:
            row = await db.scalar(
                select(StepRow)
                .join(PostRow, PostRow.step_id == StepRow.id)
                .where(PostRow.message == message)
                .limit(1)
            )
            return to_step(row) if row else None

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
            return [to_step(row) for row in rows]

    async def set_delivered(self, step_id: int, *, attempt: int) -> None:
        """Note that the outcome of an attempt is wholly shown; nothing if it is being tried again by now."""
        async with self._transaction() as db:
            await db.execute(
                update(StepRow)
                .where(StepRow.id == step_id, StepRow.attempt == attempt)
                .values(delivered=True)
            )


def _post(row: PostRow) -> Post:
    return Post(row.step_id, row.part, row.place, row.message)
