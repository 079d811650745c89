"""What members want, what is kept of them, and what a client keeps for itself."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import ColumnElement, delete, func, or_, select

from pipeline.domain import Footprint, Session, Step
from pipeline.models import KeptRow, PictureRow, PreferenceRow, PriorityRow, SessionRow, SourceRow, StepRow
from pipeline.store.database import Database
from pipeline.store.rows import get_step, put_picture, to_session, to_step


class Members(Database):
    """Preferences, priority, and a member's footprint."""

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

    async def sessions_of(self, client: str, owner: str) -> list[Session]:
        """List all of a member's sessions, shown or not, oldest first."""
        query = (
            select(SessionRow)
            .where(SessionRow.client == client, SessionRow.owner == owner)
            .order_by(SessionRow.id)
        )
        async with self._sessions() as db:
            return [to_session(row) for row in await db.scalars(query)]

    async def steps_elsewhere(self, client: str, member: str) -> list[Step]:
        """List the steps that a member asked for in other members' sessions."""
        query = (
            select(StepRow)
            .join(SessionRow, SessionRow.id == StepRow.session_id)
            .where(SessionRow.client == client, SessionRow.owner != member, StepRow.asked_by == member)
            .order_by(StepRow.id)
        )
        async with self._sessions() as db:
            return [to_step(row) for row in await db.scalars(query)]

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
            row = await get_step(db, step_id)
            row.asked_by, row.request = "", ""
            row.origin = f"forgotten:{row.id}"  # an origin may name the member
            if png is not None:
                await put_picture(db, step_id, png)

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


def _preferences_of(member: str) -> ColumnElement[bool]:
    return (PreferenceRow.level == "member") & (PreferenceRow.place == member)
