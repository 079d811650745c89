"""Rows as the values of the domain, and what several kinds of query do with them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from PIL import Image
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from pipeline.domain import (
    Box,
    Detection,
    Mask,
    PaintParams,
    SceneObject,
    Session,
    Source,
    Step,
    StepKind,
    StepState,
)
from pipeline.errors import NotFound
from pipeline.models import ObjectRow, PictureRow, SessionRow, StepRow

Row = TypeVar("Row")


def derive_seed(*parts: object) -> int:
    """Make a seed 0..2**32-1 from anything that prints the same each time."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big")


def lock_key(*parts: str) -> int:
    """Make the number of one of PostgreSQL's advisory locks, 64 bits with a sign."""
    return int.from_bytes(hashlib.sha256(":".join(parts).encode()).digest()[:8], "big", signed=True)


def mask_to_png(mask: Mask) -> bytes:
    """Pack a bool mask [H, W] as a 1-bit PNG, white = True."""
    buffer = io.BytesIO()
    Image.fromarray(mask).convert("1").save(buffer, "PNG")
    return buffer.getvalue()


def png_to_mask(data: bytes) -> Mask:
    """Unpack a mask PNG to bool [H, W]."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("1"), dtype=np.bool_).copy()


def to_session(row: SessionRow) -> Session:
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


def to_step(row: StepRow) -> Step:
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


def to_object(row: ObjectRow) -> SceneObject:
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


async def get(db: AsyncSession, kind: Callable[..., Row], key: int, what: str) -> Row:
    row = await db.get(kind, key)  # type: ignore[arg-type]
    if row is None:
        raise NotFound(f"There is no {what} {key}; it may have been deleted.")
    return row  # type: ignore[return-value]


async def get_step(db: AsyncSession, step_id: int, *, lock: bool = False) -> StepRow:
    row = await db.get(StepRow, step_id, with_for_update=lock or None)
    if row is None or row.state == StepState.DELETED:
        raise NotFound(f"There is no picture {step_id}; it may have been deleted.")
    return row


async def subtree(db: AsyncSession, row: StepRow) -> list[StepRow]:
    """List a step and all that was made from it, parents before children."""
    found = level = [row]
    while level:
        query = select(StepRow).where(
            StepRow.parent_id.in_([one.id for one in level]), StepRow.state != StepState.DELETED
        )
        level = list(await db.scalars(query.order_by(StepRow.id)))
        found = found + level
    return found


async def put_picture(db: AsyncSession, step_id: int, png: bytes) -> None:
    digest = hashlib.sha256(png).hexdigest()
    row = await db.get(PictureRow, step_id)
    if row is None:
        db.add(PictureRow(step_id=step_id, png=png, sha256=digest))
    else:
        row.png, row.sha256 = png, digest
