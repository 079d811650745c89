"""numbers of sessions and steps are given once; an index fewer"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # ix_steps_asked_by_started_at begins with the same column. Gone first: a batch would make it anew.
    op.drop_index("ix_steps_asked_by", table_name="steps")
    _make_anew(sqlite_autoincrement=True)


def downgrade() -> None:
    _make_anew(sqlite_autoincrement=False)
    op.create_index("ix_steps_asked_by", "steps", ["asked_by"], unique=False)


def _make_anew(*, sqlite_autoincrement: bool) -> None:
    """Copy the two tables: SQLite says only when a table is made that a deleted row's number stays unused.

    PostgreSQL's sequences never give a number again. Pictures and masks are in tables of their own and not
    copied.
    """
    if op.get_bind().dialect.name != "sqlite":
        return
    for name in ("sessions", "steps"):
        options = {"sqlite_autoincrement": sqlite_autoincrement}
        with op.batch_alter_table(name, recreate="always", table_kwargs=options):
            pass
