"""Three commits as an app would make them, by the driver alone: what remains if a job is to survive its program."""

import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.engine import make_url

#: Bytes of a row of ours.
_ROW = "x" * 1500
_TABLE = "CREATE TABLE IF NOT EXISTS bare_jobs (name VARCHAR(255) PRIMARY KEY, status VARCHAR(255), data TEXT)"


@contextmanager
def commits(url: str) -> Iterator[Callable[[str, str], None]]:
    """Writes a row of the size of ours, by its name, with a status, and commits it.

    Args:
        url: a database, as SQLAlchemy has it.
    """
    parts = make_url(url)
    if parts.get_backend_name() == "sqlite":
        with _sqlite(str(parts.database)) as write:
            yield write
    else:
        with _postgresql(url) as write:
            yield write


@contextmanager
def _sqlite(path: str) -> Iterator[Callable[[str, str], None]]:
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    database.execute(_TABLE)

    def write(name: str, status: str) -> None:
        database.execute("BEGIN IMMEDIATE")
        database.execute("INSERT OR REPLACE INTO bare_jobs VALUES (?, ?, ?)", (name, status, _ROW))
        database.execute("COMMIT")

    try:
        yield write
    finally:
        database.close()


@contextmanager
def _postgresql(url: str) -> Iterator[Callable[[str, str], None]]:
    import psycopg

    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    statement = (
        "INSERT INTO bare_jobs VALUES (%s, %s, %s) "
        "ON CONFLICT (name) DO UPDATE SET status = excluded.status, data = excluded.data"
    )
    with psycopg.connect(plain, autocommit=True) as database:
        database.execute(_TABLE)

        def write(name: str, status: str) -> None:
            database.execute(statement, (name, status, _ROW))

        yield write


def new_name() -> str:
    """A name that no row has."""
    return uuid.uuid4().hex
