"""What a step has painted: its picture, and the objects in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from sqlalchemy import delete, select, update

from pipeline.domain import SceneContext, SceneObject, Step, StepState
from pipeline.models import ObjectRow, PictureRow, SessionRow, StepRow
from pipeline.store.database import Database
from pipeline.store.rows import get_step, mask_to_png, put_picture, to_object, to_step


class Pictures(Database):
    """Pictures and the objects in them."""

    async def picture(self, step_id: int) -> bytes | None:
        """Read a step's picture (PNG) as far as it is painted, None before the first object."""
        async with self._sessions() as db:
            return await db.scalar(select(PictureRow.png).where(PictureRow.step_id == step_id))

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
            return [to_step(row) for row in await db.scalars(query)]

    async def objects(self, step_id: int) -> tuple[SceneObject, ...]:
        async with self._sessions() as db:
            rows = await db.scalars(
                select(ObjectRow).where(ObjectRow.step_id == step_id).order_by(ObjectRow.number)
            )
            return tuple(to_object(row) for row in rows)

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

    async def save_objects(self, step_id: int, objects: Sequence[SceneObject]) -> None:
        """Write a step's objects, in place of what it had."""
        async with self._transaction() as db:
            await get_step(db, step_id)
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
            return tuple(to_object(row) for row in await db.scalars(query))

    async def set_kept(self, step_id: int, wishes: Mapping[int, bool | None]) -> None:
        """Note, by number, which of a step's objects the steps below it keep (see SceneObject.kept)."""
        async with self._transaction() as db:
            await get_step(db, step_id)
            for row in await db.scalars(select(ObjectRow).where(ObjectRow.step_id == step_id)):
                if row.number in wishes:
                    row.kept = wishes[row.number]

    async def save_context(self, step_id: int, context: SceneContext, objects: Sequence[SceneObject]) -> None:
        """Write a step's story and the objects that now carry their tags, as one."""
        by_number = {item.number: item for item in objects}
        async with self._transaction() as db:
            row = await get_step(db, step_id)
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
            row = await get_step(db, step_id)
            await put_picture(db, step_id, png)
            row.model = model
            row.notes = list(notes)
            await db.execute(
                update(ObjectRow)
                .where(ObjectRow.step_id == step_id, ObjectRow.number == number)
                .values(painted=True)
            )
