"""pictures that sessions begin with; pictures found by what is in them; steps found by who asked"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sources",
        sa.Column("session_id", sa.Integer(), nullable=False),
        sa.Column("png", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name=op.f("fk_sources_session_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_sources")),
    )
    # Without a batch, which would make the whole table anew: SQLite adds such columns in place.
    op.add_column(
        "sessions", sa.Column("source_sha256", sa.String(length=64), server_default="", nullable=False)
    )
    op.add_column("sessions", sa.Column("source_strength", sa.Double(), server_default="0", nullable=False))
    op.create_index(op.f("ix_pictures_sha256"), "pictures", ["sha256"], unique=False)
    op.create_index(op.f("ix_steps_asked_by"), "steps", ["asked_by"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_steps_asked_by"), table_name="steps")
    op.drop_index(op.f("ix_pictures_sha256"), table_name="pictures")
    op.drop_column("sessions", "source_strength")
    op.drop_column("sessions", "source_sha256")
    op.drop_table("sources")
