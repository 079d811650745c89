"""SQLAlchemy rows: sessions, their tree of steps, pictures, objects, and where each is shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time; SQLite drops the zone, so it is put back when read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is not None and value.tzinfo is None:
            return value.replace(tzinfo=UTC)
        return value


def _now() -> datetime:
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """Rows of ours; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dict[str, Any]: JSON, list[str]: JSON, dict[str, str]: JSON}  # noqa: RUF012


class SessionRow(Base):
    __tablename__ = "sessions"
    __table_args__ = (
        UniqueConstraint("client", "request", name="uq_sessions_client_request"),
        # A deleted session's number is never given again: messages that still show it would mean another one.
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    client: Mapped[str] = mapped_column(String(32))
    owner: Mapped[str] = mapped_column(String(64), index=True)
    request: Mapped[str] = mapped_column(String(128))
    place: Mapped[str] = mapped_column(String(64), default="", index=True)
    prompt: Mapped[str] = mapped_column(Text)
    negative_prompt: Mapped[str] = mapped_column(Text)
    seed: Mapped[int] = mapped_column(BigInteger)
    width: Mapped[int]
    height: Mapped[int]
    steps: Mapped[int]
    guidance: Mapped[float]
    guild: Mapped[str] = mapped_column(String(64), default="", index=True)
    mature: Mapped[bool] = mapped_column(default=True)
    style: Mapped[str] = mapped_column(String(64), default="")
    style_words: Mapped[str] = mapped_column(Text, default="")
    model: Mapped[str] = mapped_column(String(256), default="")
    sampler: Mapped[str] = mapped_column(String(128), default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=_now)
    meta: Mapped[dict[str, str]] = mapped_column(default=dict)
    head_id: Mapped[int | None]  # no foreign key: steps already refer to sessions
    source_sha256: Mapped[str] = mapped_column(String(64), default="", server_default="")
    source_strength: Mapped[float] = mapped_column(default=0.0, server_default="0")


class SourceRow(Base):
    """The picture that a session began with, cut to the session's size."""

    __tablename__ = "sources"

    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True)
    png: Mapped[bytes] = mapped_column(LargeBinary)


class StepRow(Base):
    __tablename__ = "steps"
    __table_args__ = (
        Index("ix_steps_state_delivered", "state", "delivered"),
        Index("ix_steps_asked_by_started_at", "asked_by", "started_at"),
        {"sqlite_autoincrement": True},  # as for sessions
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    session_id: Mapped[int] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), index=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("steps.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    depth: Mapped[int]
    seed: Mapped[int] = mapped_column(BigInteger)
    asked_by: Mapped[str] = mapped_column(String(64), default="")
    request: Mapped[str] = mapped_column(Text, default="")
    origin: Mapped[str] = mapped_column(String(128), unique=True)
    attempt: Mapped[int] = mapped_column(default=1)
    story: Mapped[str] = mapped_column(Text, default="")
    source: Mapped[str] = mapped_column(String(128), default="")
    model: Mapped[str] = mapped_column(String(256), default="")
    notes: Mapped[list[str]] = mapped_column(default=list)
    error: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=_now)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    delivered: Mapped[bool] = mapped_column(default=False)


class PictureRow(Base):
    """A step's picture as far as it is painted: rewritten after every object, complete when the step is."""

    __tablename__ = "pictures"

    step_id: Mapped[int] = mapped_column(ForeignKey("steps.id", ondelete="CASCADE"), primary_key=True)
    png: Mapped[bytes] = mapped_column(LargeBinary)
    sha256: Mapped[str] = mapped_column(String(64), index=True)


class ObjectRow(Base):
    __tablename__ = "objects"

    step_id: Mapped[int] = mapped_column(ForeignKey("steps.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    label: Mapped[str] = mapped_column(String(128))
    score: Mapped[float]
    y1: Mapped[int]
    x1: Mapped[int]
    y2: Mapped[int]
    x2: Mapped[int]
    mask: Mapped[bytes] = mapped_column(LargeBinary)  # 1-bit PNG of the picture's size, white = repaint
    name: Mapped[str] = mapped_column(String(128))
    tags: Mapped[list[str]] = mapped_column(default=list)
    seed: Mapped[int] = mapped_column(BigInteger, default=0)
    params: Mapped[dict[str, Any]] = mapped_column(default=dict)
    repaint: Mapped[bool] = mapped_column(default=True)
    painted: Mapped[bool] = mapped_column(default=False)
    locked: Mapped[bool] = mapped_column(default=False)
    kept: Mapped[bool | None]


class PostRow(Base):
    """Where a part of a step is shown. Written before it is sent, with the message's id after."""

    __tablename__ = "posts"

    step_id: Mapped[int] = mapped_column(ForeignKey("steps.id", ondelete="CASCADE"), primary_key=True)
    part: Mapped[str] = mapped_column(String(32), primary_key=True)
    place: Mapped[str] = mapped_column(String(64))
    message: Mapped[str] = mapped_column(String(64), default="", index=True)


class KeptRow(Base):
    """A short text that a client keeps for its next start, such as what it last registered elsewhere."""

    __tablename__ = "kept"

    key: Mapped[str] = mapped_column(String(128), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class PreferenceRow(Base):
    """What a server, a channel or a member wants: `level` says which, `place` is its id."""

    __tablename__ = "preferences"

    level: Mapped[str] = mapped_column(String(16), primary_key=True)
    place: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class PriorityRow(Base):
    """A member whose steps go before others' in a server; who has none has no row."""

    __tablename__ = "priorities"

    guild: Mapped[str] = mapped_column(String(64), primary_key=True)
    member: Mapped[str] = mapped_column(String(64), primary_key=True)
