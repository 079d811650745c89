"""Every query. The only package that talks to the database."""

from pipeline.store.database import uninterrupted
from pipeline.store.members import Members
from pipeline.store.pictures import Pictures
from pipeline.store.posts import Posts
from pipeline.store.rows import derive_seed, mask_to_png, png_to_mask
from pipeline.store.schema import migrate, revisions, sqlite_file
from pipeline.store.sessions import Sessions
from pipeline.store.steps import Steps
from pipeline.store.work import Work

__all__ = ["Store", "derive_seed", "mask_to_png", "migrate", "png_to_mask", "revisions", "sqlite_file"]


@uninterrupted
class Store(Sessions, Steps, Work, Pictures, Posts, Members):
    """Sessions, steps, pictures, objects and posts in a database; every method is one transaction.

    `url` is SQLAlchemy's, with an async driver: `sqlite+aiosqlite:///file` or `postgresql+asyncpg://…`.
    The tables must exist: see `migrate`. Each part knows the connections only, and none of the others.
    """
