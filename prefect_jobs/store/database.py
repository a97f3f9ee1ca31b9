"""The connection to the database: one engine for each URL and process, with pragmas and a checked schema."""

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, inspect, make_url, select, text
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    OperationalError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from prefect_jobs import clock
from prefect_jobs.errors import DatabaseError
from prefect_jobs.store.errors import RowConflict
from prefect_jobs.store.tables import SCHEMA_HEAD, VERSION_TABLE
from prefect_jobs.store.values import dump_json, load_json

MIGRATIONS = Path(__file__).parent / "migrations"
#: Any fixed number. It keeps two processes from both creating the schema in an empty PostgreSQL database.
_SCHEMA_LOCK = 0x70726A6F
#: Seconds that a writer waits for another one (SQLite).
BUSY_TIMEOUT = 20.0
#: Seconds in which a server must accept a connection (PostgreSQL); ``?connect_timeout=`` in the URL overrides it.
CONNECT_TIMEOUT = 10
#: For connections to PostgreSQL: if its host is gone, that is noticed after some 20 seconds, and not after hours, by
#: TCP's own rules.
_LIFE_SIGNS = {
    "connect_timeout": CONNECT_TIMEOUT,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 20_000,
}
#: Seconds after which our clock is set by the database's again (PostgreSQL).
CLOCK_TTL = 60.0

#: While a migration runs, Alembic keeps it in module globals: a process migrates one database at a time.
_migrating = threading.Lock()

log = logging.getLogger(__name__)


class Database:
    """An engine for a database whose schema has this version."""

    def __init__(self, url: str) -> None:
        """
        Args:
            url: a SQLAlchemy URL, ``sqlite:///…`` or ``postgresql+psycopg://…``.

        Raises:
            DatabaseError: not such a URL, or the folder of the file cannot be created.
        """
        self.url = _parsed(url)
        self._checked = False
        self._lock = threading.Lock()
        if self.url.get_backend_name() == "sqlite" and self.url.database not in (None, "", ":memory:"):
            folder = Path(str(self.url.database)).parent
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise DatabaseError(f"The folder of the database {self.name} cannot be created: {error}.") from error
        self.engine = _make_engine(self.url)
        self._writer = self.engine.execution_options(write=True)  # the same pool

    @property
    def name(self) -> str:
        """The URL for people: without its password, which may also be in its options."""
        return self.url.set(query={}).render_as_string(hide_password=True)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for statements that change nothing."""
        self.ensure_schema()
        with self.translating(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection in a transaction: all of it is committed, or nothing."""
        self.ensure_schema()
        with self.translating(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def translating(self) -> Iterator[None]:
        """Turns the database's errors into ours.

        Raises:
            RowConflict: a row contradicts another one.
            DatabaseError: the database cannot be reached or used.
            ValueError: a value that it cannot keep.
        """
        try:
            yield
        except IntegrityError as error:
            # The lines after the first one may contain values of the row.
            why = str(error.orig).partition("\n")[0]
            raise RowConflict(f"The database {self.name} refuses a row: {why}") from error
        except DataError as error:
            raise ValueError(f"The database {self.name} cannot store a value: {error.orig}") from error
        except (DBAPIError, PoolTimeoutError) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise DatabaseError(
                f"The database {self.name} cannot be used: {cause}. "
                "Check PREFECT_JOBS_DATABASE_URL and that the server is up."
            ) from error
        except StatementError as error:
            # Raised by a column's type, before the statement is sent.
            if isinstance(error.orig, ValueError):
                raise ValueError(str(error.orig)) from error
            raise

    def ensure_schema(self) -> None:
        """Creates the schema in an empty database; refuses one of another version.

        Raises:
            DatabaseError: the schema is older (run ``prefect-jobs db upgrade``) or newer (upgrade the code).
        """
        if self._checked:
            return
        with self._lock:
            revision = self.revision()
            if revision is None:
                self.upgrade()
            elif revision != SCHEMA_HEAD:
                raise DatabaseError(_version_text(self.name, revision))
            self._checked = True

    def revision(self) -> str | None:
        """The schema's version; ``None`` for an empty database."""
        with self.translating(), self.engine.connect() as connection:
            return _revision_of(connection)

    def upgrade(self) -> tuple[str | None, str]:
        """Migrates the schema to this version.

        Returns:
            The version before and the version now.

        Raises:
            DatabaseError: the schema is of a version that this code does not know.
        """
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        with self.translating(), self._writer.connect() as connection:
            with connection.begin():
                if connection.dialect.name == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK})
                # Read again under the lock: another process may have migrated it.
                before = _revision_of(connection)
                if before == SCHEMA_HEAD:
                    return before, before
                if before is not None and not _known(before):
                    raise DatabaseError(_version_text(self.name, before))
                config.attributes["connection"] = connection
                with _migrating:
                    command.upgrade(config, "head")
            return before, SCHEMA_HEAD

    def now(self, connection: Connection) -> datetime:
        """The time by the database's clock, which all processes share; for SQLite, this machine's."""
        if connection.dialect.name != "postgresql":
            return clock.now()
        found: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
        return found.astimezone(UTC)

    def dispose(self) -> None:
        """Closes every connection."""
        self.engine.dispose()


def _revision_of(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608  (a constant)
    return None if found is None else str(found)


def _known(revision: str) -> bool:
    return any(path.name.startswith(f"{revision}_") for path in (MIGRATIONS / "versions").glob("*.py"))


def _version_text(name: str, revision: str) -> str:
    if _known(revision):
        return (
            f"The database {name} has schema version {revision}; this version of prefect-jobs needs "
            f"{SCHEMA_HEAD}. Run: prefect-jobs db upgrade"
        )
    return (
        f"The database {name} has schema version {revision}, which is newer than this version of "
        f"prefect-jobs knows ({SCHEMA_HEAD}). Nothing was changed. Upgrade prefect-jobs on this machine."
    )


def _parsed(url: str) -> URL:
    try:
        found = make_url(url)
    except (ArgumentError, ValueError):
        found = None
    if found is None or found.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        # Not chained, and not repeated: a URL that cannot be read may contain a password anywhere.
        raise DatabaseError(
            "The database's URL cannot be read. Write sqlite:///path or postgresql+psycopg://user:password@host/name, "
            "special characters in the password as %XX (PREFECT_JOBS_DATABASE_URL)."
        )
    return found


def _make_engine(url: URL) -> Engine:
    # Parameters are not shown in errors: one of them is the database's signing key.
    common: dict[str, Any] = {"hide_parameters": True, "json_serializer": dump_json, "json_deserializer": load_json}
    if url.get_backend_name() != "sqlite":
        options = {name: value for name, value in _LIFE_SIGNS.items() if name not in url.query}
        # pre-ping: after a restart of the server, a new connection is made, without an error.
        shared = create_engine(
            url, connect_args=options, pool_pre_ping=True, pool_size=5, max_overflow=10, pool_recycle=1800, **common
        )
        event.listen(shared, "checkout", _AgreeOnTime())
        return shared
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT}, **common)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin below, not in the driver
        cursor = connection.cursor()
        _switch_to_wal(cursor)
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA busy_timeout={int(BUSY_TIMEOUT * 1000)}")
        cursor.close()
        # SQLite's own lower() knows only ASCII.
        connection.create_function("lower", 1, _lower, deterministic=True)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that will write takes the lock at once. One that reads first and then writes fails without
        # waiting if another one has written in between.
        write = connection.get_execution_options().get("write", False)
        statement = "BEGIN IMMEDIATE" if write else "BEGIN"
        try:
            # By the driver: each call begins with this, and SQLAlchemy takes longer over it than SQLite.
            connection.connection.driver_connection.execute(statement)  # type: ignore[union-attr]
        except sqlite3.Error as error:
            raise OperationalError(statement, None, error) from error

    return engine


class _AgreeOnTime:
    """Sets our clock by the database's, now and then: the hosts that share it need not agree otherwise."""

    def __init__(self) -> None:
        self._next = 0.0
        self._said = timedelta(0)

    def __call__(self, connection: Any, _record: Any, _proxy: Any) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + CLOCK_TTL
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT clock_timestamp()")
                ahead = clock.agree(cursor.fetchone()[0])
            connection.rollback()
        except Exception as error:  # the statement on this connection will fail, too, with an error
            log.debug("The database's clock cannot be read: %s", error)
            return
        if abs(ahead - self._said) > clock.TOLERANCE:
            self._said = ahead
            log.warning("The database's clock is %.0f s ahead of this host's; it is used", ahead.total_seconds())


def _switch_to_wal(cursor: Any) -> None:
    """With a write-ahead log, readers and a writer do not block each other.

    Only for this switch, SQLite does not wait for other users of the file.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value
