"""Real services for every test that asks for them, and the clock set right again after each test."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, settings

from prefect_jobs import clock, statuses
from prefect_jobs.errors import LocalPartError
from prefect_jobs.local.condor_pool import PersonalPool
from prefect_jobs.local.prefect_server import LocalPrefectServer, PrefectServerInfo
from prefect_jobs.local.processes import LOOPBACK, free_port
from prefect_jobs.store import Database, Store
from tests.support import PostgresServer, missing, postgres_programs

KINDS = ["sqlite", "postgresql"]

# A busy machine is no reason to fail.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


#: What of Prefect's and our own variables is for the tests themselves.
_FOR_TESTS = ("PREFECT_JOBS_CACHE", "PREFECT_JOBS_SOAK", "PREFECT_JOBS_SOAK_SEED")

_environment = pytest.MonkeyPatch()
_home = tempfile.TemporaryDirectory(prefix="prefect-")


def _choose_prefect() -> None:
    """Prefect's settings for the session, made while this file is imported: Prefect reads them once, when it is
    first imported, which the conftest.py of a folder below may do before any hook is called.

    The address is that of `prefect_server`, where nobody listens before a test asks for it: a test that does not
    finds Prefect away, never the server of whoever runs the tests, nor one that Prefect itself starts unasked.
    """
    for name in os.environ:
        if name.startswith("PREFECT_") and name not in _FOR_TESTS:
            _environment.delenv(name)
    _environment.setenv("PREFECT_HOME", _home.name)
    _environment.setenv("PREFECT_API_URL", f"http://{LOOPBACK}:{free_port()}/api")
    _environment.setenv("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "false")
    _environment.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    _environment.setenv("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
    _environment.setenv("DO_NOT_TRACK", "1")


_choose_prefect()


def pytest_unconfigure() -> None:
    """Leaves the environment as it was."""
    _environment.undo()
    _home.cleanup()


@pytest.fixture(autouse=True)
def _system_clock() -> Iterator[None]:
    yield
    clock.set_clock(None)


@pytest.fixture(autouse=True)
def _official_statuses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Custom statuses that a test registers are forgotten after it."""
    lists = (
        statuses.PRE_RUNNING_STATUSES,
        statuses.RUNNING_STATUSES,
        statuses.ACTIVE_STATUSES,
        statuses.NON_TERMINAL_STATUSES,
        statuses.TERMINAL_STATUSES,
    )
    before = [list(names) for names in lists]
    monkeypatch.setattr(statuses, "_custom", dict(statuses._custom))
    yield
    for names, known in zip(lists, before, strict=True):
        names[:] = known


@pytest.fixture(scope="session")
def _postgres() -> Iterator[PostgresServer]:
    try:
        server = PostgresServer(postgres_programs())
    except LocalPartError as error:
        missing("A PostgreSQL server", str(error))
    try:
        server.start()
        yield server
    except LocalPartError as error:
        missing("A PostgreSQL server", str(error))
    finally:
        server.stop()


@pytest.fixture(scope="session")
def postgres_url(_postgres: PostgresServer) -> str:
    """A real PostgreSQL server, by the URL of its administrator, password and all."""
    return _postgres.url.render_as_string(hide_password=False)


@contextmanager
def _empty_database(kind: str, request: pytest.FixtureRequest) -> Iterator[str]:
    if kind == "sqlite":
        folder: Path = request.getfixturevalue("tmp_path_factory").mktemp("database")
        yield f"sqlite:///{folder / 'jobs.db'}"
        return
    server: PostgresServer = request.getfixturevalue("_postgres")
    with server.database() as url:
        yield url.render_as_string(hide_password=False)


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty database of each kind."""
    with _empty_database(request.param, request) as url:
        yield url


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A store on an empty database of each kind."""
    database = Database(database_url)
    yield Store(database)
    database.dispose()


@pytest.fixture(scope="module", params=KINDS)
def new_store(request: pytest.FixtureRequest) -> Iterator[Callable[[], Store]]:
    """Makes stores, each on an empty database, for a module's tests that only read."""
    with ExitStack() as stack:

        def make() -> Store:
            database = Database(stack.enter_context(_empty_database(request.param, request)))
            stack.callback(database.dispose)
            return Store(database)

        yield make


@pytest.fixture(scope="session")
def condor_pool() -> Iterator[PersonalPool]:
    """A real HTCondor pool that is up, with four cores, and tokens exported for alice and bob."""
    # Not in pytest's folder: the daemons of root's pool run as another user, who may not enter it.
    folder = Path(tempfile.mkdtemp(prefix="pj-"))
    if os.geteuid() == 0:
        folder.chmod(0o755)
    pool = PersonalPool(folder / "pool", name="tests")
    try:
        try:
            pool.up(cpus=4, identities=("alice", "bob"))
        except LocalPartError as error:
            missing("HTCondor", str(error))
        yield pool
    finally:
        pool.down(remove=True)
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[PrefectServerInfo]:
    """A real Prefect server that is up, with a database of its own; Prefect in this process talks to it."""
    port = urlsplit(os.environ["PREFECT_API_URL"]).port
    with tempfile.TemporaryDirectory(prefix="prefect-server-") as folder:
        server = LocalPrefectServer(Path(folder))
        try:
            yield server.up(port=port)
        finally:
            server.down()
