"""Sessions: made, copied, shown, deleted, and as members look for them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError

from pipeline.domain import Session, StepKind, StepState
from pipeline.models import ObjectRow, SessionRow, SourceRow, StepRow
from pipeline.store.database import Database
from pipeline.store.limits import check_limits
from pipeline.store.rows import derive_seed, get, to_session


class Sessions(Database):
    """Sessions, whole."""

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
                await check_limits(db, row, owner, self._limits)
                return to_session(row)
        except IntegrityError:
            async with self._sessions() as db:
                found = await db.scalar(
                    select(SessionRow).where(SessionRow.client == client, SessionRow.request == request)
                )
                if found is None:
                    raise
                return to_session(found)

    async def copy_session(self, session_id: int, *, client: str, request: str) -> Session:
        """Copy a session's done steps, with their objects and words, queued to be painted again.

        The copy of a step has its `request` beside the number of the step it was made from, in `origin`.
        """
        async with self._transaction() as db:
            source = await get(db, SessionRow, session_id, "session")
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
            return to_session(copy)

    async def session(self, session_id: int) -> Session:
        async with self._sessions() as db:
            return to_session(await get(db, SessionRow, session_id, "session"))

    async def sessions(self, *, client: str | None = None, unplaced: bool = False) -> list[Session]:
        """List sessions, newest last; `unplaced` keeps those that are not shown anywhere yet."""
        query = select(SessionRow).order_by(SessionRow.id)
        if client is not None:
            query = query.where(SessionRow.client == client)
        if unplaced:
            query = query.where(SessionRow.place == "")
        async with self._sessions() as db:
            return [to_session(row) for row in await db.scalars(query)]

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
            return [to_session(row) for row in await db.scalars(query)]

    async def place_session(
        self, session_id: int, *, place: str | None = None, meta: Mapping[str, str] | None = None
    ) -> Session:
        """Remember where a session is shown, or more of what its client must know."""
        async with self._transaction() as db:
            row = await get(db, SessionRow, session_id, "session")
            if place is not None:
                row.place = place
            if meta:
                row.meta = {**row.meta, **meta}
            return to_session(row)

    async def delete_session(self, session_id: int) -> None:
        """Remove a session with all its steps, pictures, objects and posts."""
        async with self._transaction() as db:
            await db.execute(delete(SessionRow).where(SessionRow.id == session_id))

    async def source(self, session_id: int) -> bytes | None:
        """Read the picture (PNG) that a session's first one is painted over, None where there is none."""
        async with self._sessions() as db:
            return await db.scalar(select(SourceRow.png).where(SourceRow.session_id == session_id))

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
            return [to_session(row) for row in await db.scalars(query)]

    async def count_sessions(self, client: str, *, owner: str) -> int:
        """Count a member's shown sessions."""
        query = select(func.count()).where(
            SessionRow.client == client, SessionRow.owner == owner, SessionRow.place != ""
        )
        async with self._sessions() as db:
            return int(await db.scalar(query) or 0)
