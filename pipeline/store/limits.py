"""How much a member and a server may ask for."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from pipeline.domain import Limits, StepState
from pipeline.errors import InvalidRequest
from pipeline.models import PreferenceRow, SessionRow, StepRow
from pipeline.store.rows import lock_key

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


async def check_limits(db: AsyncSession, session: SessionRow, member: str, everywhere: Limits) -> None:
    """Raise InvalidRequest where a member's or a server's steps, the new ones included, are too many."""
    if not member:
        return  # the command line's
    narrower = {
        row.name: int(row.value)
        for row in await db.scalars(
            select(PreferenceRow).where(
                PreferenceRow.level == "server",
                PreferenceRow.place == session.guild,
                PreferenceRow.name.in_(asdict(everywhere)),
            )
        )
    }
    limits = {
        name: min(filter(None, (limit, narrower.get(name, 0))), default=0)
        for name, limit in asdict(everywhere).items()
    }
    if not any(limits.values()):
        return
    if db.get_bind().dialect.name == "postgresql":
        # Who asks at the same time counts after this transaction: neither sees yet what the other one adds.
        await db.execute(
            select(func.pg_advisory_xact_lock(lock_key("limits", session.client, session.guild)))
        )
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
