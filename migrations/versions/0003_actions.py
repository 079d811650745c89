"""where a session stands, and objects that are kept as they are"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("sessions") as table:
        table.add_column(sa.Column("head_id", sa.Integer(), nullable=True))
    with op.batch_alter_table("objects") as table:
        table.add_column(sa.Column("locked", sa.Boolean(), nullable=False, server_default=sa.false()))
        table.add_column(sa.Column("kept", sa.Boolean(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("objects") as table:
        table.drop_column("kept")
        table.drop_column("locked")
    with op.batch_alter_table("sessions") as table:
        table.drop_column("head_id")
