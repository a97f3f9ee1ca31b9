"""The schema and the connection, on both databases: made on first use, never touched when it is not ours to touch,
and a password that shows nowhere."""

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from traceback import format_exception
from typing import Any
from urllib.parse import quote

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import URL, inspect, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.records import Change, NodeRecord
from prefect_jobs.store import Database, DatabaseError, Store
from prefect_jobs.store import database as database_module
from prefect_jobs.store.filters import JobQuery
from prefect_jobs.store.tables import AS_ON_SQLITE, JOBS, METADATA, SCHEMA_HEAD, VERSION_TABLE
from tests.support import draft


@contextmanager
def opened(url: str | URL) -> Iterator[Database]:
    database = Database(url if isinstance(url, str) else url.render_as_string(hide_password=False))
    try:
        yield database
    finally:
        database.dispose()


def set_version(url: str, version: str) -> None:
    with opened(url) as database, database.writing() as connection:
        connection.execute(text("UPDATE prefect_jobs_version SET version_num = :version"), {"version": version})


def make_schema(url: str, version: str) -> None:
    """Makes the schema of an older version in an empty database."""
    config = Config()
    config.set_main_option("script_location", str(database_module.MIGRATIONS))
    config.set_main_option("path_separator", "os")
    with (
        opened(url) as database,
        database.engine.connect().execution_options(write=True) as connection,
        connection.begin(),
    ):
        config.attributes["connection"] = connection
        command.upgrade(config, version)


def contents(url: str) -> dict[str, Any]:
    """Tables, their columns and their rows."""
    with opened(url) as database, database.engine.connect() as connection:
        found = inspect(connection)
        return {
            table: (
                [(column["name"], str(column["type"])) for column in found.get_columns(table)],
                [tuple(row) for row in connection.execute(text(f"SELECT * FROM {table}"))],  # noqa: S608
            )
            for table in sorted(found.get_table_names())
        }


def alter(database: Database, change: str, table: str = "jobs") -> None:
    """Changes a table."""
    with database.engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {table} {change}"))


@pytest.fixture
def no_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT", 0.2)


# -- versions ----------------------------------------------------------------------------------------------


def test_an_empty_database_gets_its_schema_on_first_use(empty_database_url: str) -> None:
    with opened(empty_database_url) as database:
        assert database.revision() is None

        assert Store(database).count(JobQuery()) == 0

        assert database.revision() == SCHEMA_HEAD


def test_a_writer_may_be_the_first(empty_database_url: str) -> None:
    with opened(empty_database_url) as database:
        assert Store(database).insert(draft()).id == 1


def test_migrations_make_exactly_the_schema_of_the_models(empty_database_url: str) -> None:
    with opened(empty_database_url) as database:
        database.ensure_schema()

        with database.engine.connect() as connection:
            options: dict[str, Any] = {
                "compare_type": True,
                "compare_server_default": True,
                "version_table": VERSION_TABLE,
            }
            if connection.dialect.name == "postgresql":
                other = {index.name for index in JOBS.indexes if index.info == AS_ON_SQLITE}
                options["include_name"] = lambda name, kind, _: kind != "index" or name not in other
                options["include_object"] = lambda item, name, kind, *_: kind != "index" or name not in other
            context = MigrationContext.configure(connection, opts=options)
            assert compare_metadata(context, METADATA) == []


def test_an_upgrade_tells_from_where_to_where_and_a_second_one_does_nothing(empty_database_url: str) -> None:
    with opened(empty_database_url) as database:
        assert database.upgrade() == (None, SCHEMA_HEAD)
        stored = Store(database).insert(draft())

        assert database.upgrade() == (SCHEMA_HEAD, SCHEMA_HEAD)

        assert Store(database).get(stored.id) == stored


@pytest.mark.parametrize("use", [Database.ensure_schema, Database.upgrade, lambda database: Store(database).identity])
def test_a_newer_schema_is_refused_and_nothing_is_changed(
    empty_database_url: str, use: Callable[[Database], object]
) -> None:
    with opened(empty_database_url) as database:
        Store(database).insert(draft("of a newer version"))
    set_version(empty_database_url, "9999")
    before = contents(empty_database_url)

    with opened(empty_database_url) as database, pytest.raises(DatabaseError, match="9999, which is newer") as caught:
        use(database)

    assert "Upgrade prefect-jobs" in str(caught.value)
    assert contents(empty_database_url) == before


def test_an_older_schema_says_what_to_run_and_nothing_is_changed(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given: a database that this version made, and a next version.
    with opened(empty_database_url) as database:
        Store(database).insert(draft())
    before = contents(empty_database_url)
    monkeypatch.setattr(database_module, "SCHEMA_HEAD", "9999")

    # When: the next version uses it.
    with (
        opened(empty_database_url) as database,
        pytest.raises(DatabaseError, match="prefect-jobs db upgrade") as caught,
    ):
        Store(database).find(JobQuery())

    assert f"has schema version {SCHEMA_HEAD}" in str(caught.value)
    assert contents(empty_database_url) == before


#: Columns of jobs that later schemas have.
LATER = {
    "schedule": "TEXT", "deployment_id": "VARCHAR(36)", "timeout": "FLOAT", "concurrency_lease": "VARCHAR(36)",
    "worker": "TEXT", "retries": "INTEGER", "retry_delay": "FLOAT",
}  # fmt: skip
#: And of messages.
OF_MESSAGES = ("status", "who")


def test_an_upgrade_from_the_first_schema_keeps_its_jobs(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given: a database of the first schema, and in it a job with all that belongs to one.
    make_schema(empty_database_url, "0001")
    with monkeypatch.context() as older, opened(empty_database_url) as database:
        older.setattr(database_module, "SCHEMA_HEAD", "0001")
        store = Store(database)
        for name, kind in LATER.items():  # which this version writes
            alter(database, f"ADD COLUMN {name} {kind}")
        for name in OF_MESSAGES:
            alter(database, f"ADD COLUMN {name} VARCHAR(255)", "job_messages")
        job = store.insert(draft("kept", groups=("a", "b"), spec={"deep": [1]}))
        job = store.update(job.id, lambda _: Change({"description": "old"}, ((20, "said"),))).after
        identity = store.identity
        for name in LATER:
            alter(database, f"DROP COLUMN {name}")
        for name in OF_MESSAGES:
            alter(database, f"DROP COLUMN {name}", "job_messages")
    before = contents(empty_database_url)
    assert "job_nodes" not in before

    # When: it is upgraded.
    with opened(empty_database_url) as database:
        with pytest.raises(DatabaseError, match="prefect-jobs db upgrade"):
            Store(database).find(JobQuery())
        assert database.upgrade() == ("0001", SCHEMA_HEAD)

    # Then: everything is there, and the job can be given nodes.
    after = contents(empty_database_url)
    assert after.pop("job_nodes")[1] == []
    for table in ("job_blobs", "job_checks", "leases", "schedules", "deployments"):
        assert after.pop(table)[1] == []
    columns, rows = after["jobs"]
    assert [name for name, _ in columns[-len(LATER) :]] == list(LATER)
    after["jobs"] = (columns[: -len(LATER)], [row[: -len(LATER)] for row in rows])
    columns, rows = after["job_messages"]
    assert [name for name, _ in columns[-len(OF_MESSAGES) :]] == list(OF_MESSAGES)
    after["job_messages"] = (columns[: -len(OF_MESSAGES)], [row[: -len(OF_MESSAGES)] for row in rows])
    assert after.pop(VERSION_TABLE)[1] == [(SCHEMA_HEAD,)]
    before.pop(VERSION_TABLE)
    assert after == before
    with opened(empty_database_url) as database:
        store = Store(database)
        assert store.get(job.id) == job
        assert store.identity == identity
        store.save_nodes(job.id, [NodeRecord("a")])
        assert store.nodes(job.id) == [NodeRecord("a")]


def test_a_migration_that_fails_leaves_the_database_empty(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(empty_database_url) as database:
        with database.engine.begin() as connection:
            # The last of the tables that the migrations make.
            connection.execute(text("CREATE TABLE schedules (mine INTEGER)"))
        before = contents(empty_database_url)

        with pytest.raises(DatabaseError, match="schedules"):
            database.ensure_schema()

    assert contents(empty_database_url) == before == {"schedules": ([("mine", "INTEGER")], [])}


# -- files -------------------------------------------------------------------------------------------------


def test_the_folder_of_an_sqlite_file_is_made(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path}/new folder/deeper/jobs.db") as database:
        database.ensure_schema()

    assert (tmp_path / "new folder/deeper/jobs.db").exists()


def test_a_folder_that_cannot_be_made_is_a_database_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(DatabaseError, match=r"sqlite:///.*file/jobs\.db"):
        Database(f"sqlite:///{tmp_path}/file/jobs.db")


def test_a_file_that_is_no_database_is_a_database_error_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, " * 100)

    with opened(f"sqlite:///{path}") as database, pytest.raises(DatabaseError, match="not a database"):
        database.ensure_schema()

    assert path.read_text() == "not a database, " * 100


def test_a_locked_file_is_a_database_error(tmp_path: Path, no_retry: None) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    with opened(url) as holder, opened(url) as other, holder.writing():
        with pytest.raises(DatabaseError, match="locked"):
            other.upgrade()
        with pytest.raises(DatabaseError, match="locked"):
            Store(other).insert(draft())


# -- servers -----------------------------------------------------------------------------------------------


def assert_hides(error: BaseException, *secrets: str | None) -> None:
    """Neither the text of an error, nor that of any error it comes from, has a secret in it."""
    told = f"{error!r}\n{''.join(format_exception(error))}"
    for secret in secrets:
        assert secret
        for form in (secret, quote(secret, safe=""), quote(secret)):
            assert form not in told


def test_the_name_of_a_database_has_no_password(postgres_url: str) -> None:
    url = make_url(postgres_url)
    with opened(url) as database, opened(url.update_query_dict({"password": "s3cr3t", "sslkey": "k3y"})) as other:
        assert database.name.startswith("postgresql+psycopg://postgres:***@127.0.0.1:")
        assert str(url.password) not in database.name
        assert other.name == database.name


def test_a_wrong_password_is_a_database_error_that_does_not_repeat_it(postgres_url: str) -> None:
    wrong = "wr0ng/p@ss:%#"
    with opened(make_url(postgres_url).set(password=wrong)) as database:
        for use in (database.ensure_schema, lambda: Store(database).find(JobQuery()), database.upgrade):
            with pytest.raises(DatabaseError, match="password authentication failed") as caught:
                use()
            assert_hides(caught.value, wrong)


def test_a_database_that_does_not_exist_is_a_database_error(postgres_url: str) -> None:
    url = make_url(postgres_url)
    with (
        opened(url.set(database="nowhere")) as database,
        pytest.raises(DatabaseError, match="does not exist") as caught,
    ):
        Store(database).insert(draft())

    assert_hides(caught.value, url.password)


def test_a_server_that_is_away_is_a_database_error(postgres_url: str) -> None:
    url = make_url(postgres_url)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        away = url.set(port=free.getsockname()[1])

        with opened(away) as database, pytest.raises(DatabaseError, match="cannot be used") as caught:
            Store(database).get(1)

    assert "PREFECT_JOBS_DATABASE_URL" in str(caught.value)
    assert isinstance(caught.value, PrefectJobsError)
    assert isinstance(caught.value.__cause__, SQLAlchemyError)
    assert_hides(caught.value, url.password)


def test_a_server_that_never_answers_is_a_database_error_in_time(postgres_url: str) -> None:
    url = make_url(postgres_url)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        mute = url.set(port=silent.getsockname()[1]).update_query_dict({"connect_timeout": "2"})
        began = time.monotonic()

        with opened(mute) as database, pytest.raises(DatabaseError, match="timeout"):
            Store(database).get(1)

    assert time.monotonic() - began < 10


def test_a_server_is_given_ten_seconds_if_the_url_does_not_say_otherwise(postgres_url: str) -> None:
    with opened(postgres_url) as database, database.engine.connect() as connection:
        driver = connection.connection.dbapi_connection
        assert driver is not None
        assert driver.info.get_parameters()["connect_timeout"] == "10"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_server_that_was_restarted_costs_a_connection_and_no_error(store: Store) -> None:
    stored = store.insert(draft())
    with opened(store.database.url) as other, other.writing() as connection:
        mine = "datname = current_database() AND pid <> pg_backend_pid()"
        ended = connection.execute(
            text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}")  # noqa: S608
        ).all()

    assert ended == [(True,)]
    assert store.get(stored.id) == stored


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://alice:se/cret@127.0.0.1:notaport/jobs",
        "alice:se/cret",
        "nonsense://alice:se/cret@127.0.0.1/jobs",
        "postgresql://alice:se/cret@127.0.0.1/jobs",
        "postgresql+psycopg://alice:%se/cret@[::1/jobs",
    ],
)
def test_a_url_that_cannot_be_read_is_a_database_error_that_does_not_repeat_it(url: str) -> None:
    with pytest.raises(DatabaseError) as caught, opened(url) as database:
        database.ensure_schema()

    assert "postgresql+psycopg://user:password@host/name" in str(caught.value)
    assert_hides(caught.value, "se/cret", "cret@")


def test_a_process_makes_the_schemas_of_several_databases_at_once(tmp_path: Path) -> None:
    databases = [Database(f"sqlite:///{tmp_path / str(number)}.db") for number in range(6)]
    with ThreadPoolExecutor(len(databases)) as threads:
        list(threads.map(Database.ensure_schema, databases))
    for database in databases:
        assert database.revision() == SCHEMA_HEAD
        database.dispose()
