"""the queue's order and limits, preferences, and what a session is painted with"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "preferences",
        sa.Column("level", sa.String(length=16), nullable=False),
        sa.Column("place", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("level", "place", "name", name=op.f("pk_preferences")),
    )
    op.create_table(
        "priorities",
        sa.Column("guild", sa.String(length=64), nullable=False),
        sa.Column("member", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("guild", "member", name=op.f("pk_priorities")),
    )
    with op.batch_alter_table("sessions") as table:
        table.add_column(sa.Column("guild", sa.String(length=64), nullable=False, server_default=""))
        table.add_column(sa.Column("mature", sa.Boolean(), nullable=False, server_default=sa.true()))
        table.add_column(sa.Column("style", sa.String(length=64), nullable=False, server_default=""))
        table.add_column(sa.Column("style_words", sa.Text(), nullable=False, server_default=""))
        table.add_column(sa.Column("model", sa.String(length=256), nullable=False, server_default=""))
        table.add_column(sa.Column("sampler", sa.String(length=128), nullable=False, server_default=""))
        table.create_index(op.f("ix_sessions_guild"), ["guild"])
    with op.batch_alter_table("steps") as table:
        table.add_column(sa.Column("started_at", sa.DateTime(timezone=True), nullable=True))
        table.create_index("ix_steps_asked_by_started_at", ["asked_by", "started_at"])
    # What Discord's sessions knew of their server so far.
    sessions = sa.table(
        "sessions", sa.column("id", sa.Integer), sa.column("guild", sa.String), sa.column("meta", sa.JSON)
    )
    connection = op.get_bind()
    for number, meta in connection.execute(sa.select(sessions.c.id, sessions.c.meta)).all():
        if guild := (meta or {}).get("guild"):
            connection.execute(sessions.update().where(sessions.c.id == number).values(guild=guild))


def downgrade() -> None:
    with op.batch_alter_table("steps") as table:
        table.drop_index("ix_steps_asked_by_started_at")
        table.drop_column("started_at")
    with op.batch_alter_table("sessions") as table:
        table.drop_index(op.f("ix_sessions_guild"))
        for name in ("sampler", "model", "style_words", "style", "mature", "guild"):
            table.drop_column(name)
    op.drop_table("priorities")
    op.drop_table("preferences")
