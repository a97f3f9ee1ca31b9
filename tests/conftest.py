"""Real services for every test that asks for them, and the clock set right again after each test."""

import gc
import hashlib
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, settings

from prefect_jobs import clock, statuses
from prefect_jobs.errors import LocalPartError
from prefect_jobs.local import processes
from prefect_jobs.local.condor_pool import PersonalPool
from prefect_jobs.local.files import locked
from prefect_jobs.local.prefect_server import LocalPrefectServer, PrefectServerInfo
from prefect_jobs.local.processes import LOOPBACK, free_port
from prefect_jobs.projection import loading
from prefect_jobs.store import Database, Store
from tests.forks import start_daemon
from tests.support import PostgresServer, memory, missing, postgres_programs, prefect_http

KINDS = ["sqlite", "postgresql"]

# A busy machine is no reason to fail.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


#: What of Prefect's and our own variables is for the tests themselves.
_FOR_TESTS = ("PREFECT_JOBS_CACHE", "PREFECT_JOBS_SOAK", "PREFECT_JOBS_SOAK_SEED")

#: Which of several processes that run the tests this one is; ``None``: it runs them alone.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER") or ("gw0" if "TEST_FIRST_WORKER" in os.environ else None)
#: The number of the first of them, where others run other tests.
_FIRST = int(os.environ.get("TEST_FIRST_WORKER", "0"))
#: Files whose tests take longest, the longest first: one that began last would keep a single worker busy at the end.
#: Files that mostly wait alternate with files that compute.
_LONGEST = (
    "test_away_and_back.py",
    "test_soak.py",
    "test_dask_faults.py",
    "test_monitor.py",
    "test_pickup_limits.py",
    "test_condor_job.py",
    "test_adoption.py",
    "test_web_browser.py",
    "test_dag_file.py",
    "test_events.py",
    "test_submit_file_runs.py",
    "test_flows.py",
    "test_dask_processes.py",
    "test_dask_job.py",
    "test_workflow_steering.py",
    "test_dask_flow.py",
    "test_dask_many.py",
    "test_submit_file.py",
    "test_retries.py",
    "test_pickup_killed.py",
    "test_workflow_recovery.py",
    "test_execute_jobs.py",
    "test_cli.py",
    "test_monitor_workflows.py",
    "test_condor_faults.py",
    "test_monitor_process.py",
    "test_schedule_rules.py",
    "test_callbacks.py",
    "test_pickup.py",
    "test_retention.py",
    "test_workflow_features.py",
    "test_workflow_prefect.py",
    "test_worker.py",
    "test_live_output.py",
    "test_serve.py",
    "test_any_name.py",
    "test_prefect_away.py",
    "test_watch.py",
    "test_late_materialization.py",
)

_environment = pytest.MonkeyPatch()
_home = tempfile.TemporaryDirectory(prefix="prefect-")


def _choose_ports() -> None:
    """Gives each of several workers ports of its own."""
    if _WORKER is not None:
        number, width = _FIRST + int(_WORKER.removeprefix("gw")), 500
        first = processes.PORTS.start + number % (len(processes.PORTS) // width) * width
        processes.PORTS = range(first, first + width)


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
    _environment.setenv("PREFECT_CLIENT_CSRF_SUPPORT_ENABLED", "false")  # one more request of each client
    _environment.setenv("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
    _environment.setenv("DO_NOT_TRACK", "1")
    if "prefect.context" in sys.modules:  # in the process from which this one was forked
        sys.modules["prefect.context"].refresh_global_settings_context()


_choose_ports()
_choose_prefect()
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in the background so; services would stay when the tests are interrupted.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes share the tests, puts the longest files of acceptance tests first, and others in between:
    the longest wait for most of their time, which others use. Of the rest, what needs a Prefect server is last: until
    then there is none."""
    if _WORKER is None:
        return
    names = dict.fromkeys(item.path.name for item in items if _tier(item) == "acceptance")
    longest = [name for name in _LONGEST if name in names]
    others = [name for name in names if name not in _LONGEST]
    # The last are short, so that all workers end at the same time.
    turns = {name: turn * len(others) * 0.7 for turn, name in enumerate(longest)}
    turns |= {name: turn * len(longest) + 1 for turn, name in enumerate(others)}
    late = {item.path.name for item in items if "prefect_server" in getattr(item, "fixturenames", ())}

    items.sort(key=lambda item: turns.get(item.path.name, -1 if item.path.name in late else -2))


def _tier(item: pytest.Item) -> str:
    """The folder of a test: ``unit``, ``integration`` or ``acceptance``."""
    return item.path.relative_to(Path(__file__).parent).parts[0]


def pytest_collection_finish() -> None:
    """What is imported by now stays: the garbage collector need not go through it again and again."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Leaves the environment as it was."""
    _environment.undo()
    _home.cleanup()


@pytest.fixture(scope="session", autouse=True)
def _forked_servers() -> Iterator[None]:
    """Servers of Prefect are forked: to import it takes half of the time of a start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "start_daemon", start_daemon)
        yield


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


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database with the schema and nothing in it: to copy it is faster than to run the migrations."""
    path = tmp_path_factory.mktemp("template") / "jobs.db"
    _make_schema(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def _postgres_template(_postgres: PostgresServer) -> Iterator[str]:
    with _postgres.database() as url:
        _make_schema(url.render_as_string(hide_password=False))
        yield str(url.database)


def _make_schema(url: str) -> None:
    database = Database(url)
    database.ensure_schema()
    database.dispose()


@contextmanager
def _new_database(kind: str, request: pytest.FixtureRequest, *, schema: bool) -> Iterator[str]:
    if kind == "sqlite":
        path: Path = request.getfixturevalue("tmp_path_factory").mktemp("database") / "jobs.db"
        if schema:
            shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    server: PostgresServer = request.getfixturevalue("_postgres")
    like = {"template": request.getfixturevalue("_postgres_template")} if schema else {}
    with server.database(**like) as url:
        yield url.render_as_string(hide_password=False)


@pytest.fixture(params=KINDS)
def empty_database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty database of each kind."""
    with _new_database(request.param, request, schema=False) as url:
        yield url


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of each kind, with the schema and no jobs."""
    with _new_database(request.param, request, schema=True) as url:
        yield url


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A store of no jobs, on each kind of database."""
    database = Database(database_url)
    yield Store(database)
    database.dispose()


@pytest.fixture(scope="module", params=KINDS)
def new_store(request: pytest.FixtureRequest) -> Iterator[Callable[[], Store]]:
    """Makes stores, each on a database of its own, for a module's tests that only read."""
    with ExitStack() as stack:

        def make() -> Store:
            database = Database(stack.enter_context(_new_database(request.param, request, schema=True)))
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


#: Settings of the servers: what no test is about costs none of the time that the tests share.
_PROFILE = """active = "tests"
[profiles.tests]
PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED = "false"
PREFECT_API_BLOCKS_REGISTER_ON_START = "false"
PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS = "60"
PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS = "60"
PREFECT_SERVER_SERVICES_FOREMAN_LOOP_SECONDS = "60"
PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS = "60"
"""


@pytest.fixture(scope="session")
def prefect_template(pytestconfig: pytest.Config) -> Path:
    """The folder of a Prefect server that has seen nothing: with a copy a start takes a quarter of the time.

    One of the processes that share the tests makes it, and the next passes find it.
    """
    name = f"{version('prefect')}-{hashlib.sha256(_PROFILE.encode()).hexdigest()[:8]}"
    folder = Path(pytestconfig.cache.mkdir("prefect")) / name
    with locked(folder.with_name(f"{folder.name}.lock")):
        if not folder.exists():
            # One that starts as every other does: it registers Prefect's types of blocks, too.
            server = LocalPrefectServer(folder.with_name(f"{folder.name}-{os.getpid()}"))
            try:
                server.up()
            finally:
                server.down(timeout=30)
            made = folder.with_name(f"{folder.name}-{os.getpid()}-made")
            made.mkdir()
            with closing(sqlite3.connect(server.directory / "prefect.db")) as connection:
                connection.execute("VACUUM INTO ?", (str(made / "prefect.db"),))  # with what its log has
            (made / "profiles.toml").write_text(_PROFILE)
            made.rename(folder)
            shutil.rmtree(server.directory)
    return folder


@pytest.fixture(scope="session")
def prefect_server(prefect_template: Path) -> Iterator[PrefectServerInfo]:
    """A real Prefect server that is up, with a database of its own; Prefect in this process talks to it."""
    port = urlsplit(os.environ["PREFECT_API_URL"]).port
    with tempfile.TemporaryDirectory(prefix="prefect-server-", dir=memory()) as folder:
        # Its lock is beside its folder, and must not stay.
        server = LocalPrefectServer(Path(folder) / "server")
        shutil.copytree(prefect_template, server.directory)
        try:
            info = server.up(port=port)
            _warm_up(info)
            yield info
        finally:
            server.down()


def _warm_up(server: PrefectServerInfo) -> None:
    """Makes the first calls, which take seconds while other servers start beside this one: the product waits for three,
    and the tests are about a server that is at work."""
    loading.load()
    with prefect_http(server.api_url) as api:
        for path in ("block_documents", "deployments", "flow_runs"):
            api.post(f"/{path}/filter", json={"limit": 1}).raise_for_status()
