"""An app on real parts: a pool, a Prefect server, a database of its own for each test."""

import gc
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from prefect_jobs import App, CondorJob, DaskJob, JobManager, create_condor_scheduler, create_dask_scheduler
from prefect_jobs.blocks import CondorScheduler, DaskScheduler
from prefect_jobs.errors import LocalPartError, SchedulerConnectionError
from prefect_jobs.local.condor_pool import PersonalPool
from prefect_jobs.local.prefect_server import PrefectServerInfo
from prefect_jobs.runtime.wiring import Runtime, get_runtime
from prefect_jobs.settings import get_settings
from tests.dask_cluster import DaskCluster
from tests.support import PostgresServer, eventually, missing, postgres_programs, prefect_http


class TestApp(App):
    """The app whose jobs the tests make."""

    __test__ = False
    name = "Tests"
    package = "test_app"


@pytest.fixture
def runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: PrefectServerInfo, sqlite_template: Path
) -> Iterator[Runtime]:
    """The product's wiring, on a database of no jobs."""
    shutil.copy(sqlite_template, tmp_path / "jobs.db")
    monkeypatch.setenv("PREFECT_JOBS_DATABASE_URL", f"sqlite:///{tmp_path / 'jobs.db'}")
    monkeypatch.setenv("PREFECT_JOBS_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("PREFECT_JOBS_POLL_INTERVAL", "2")
    get_settings.cache_clear()
    made = get_runtime()
    yield made
    made.close()
    get_settings.cache_clear()


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server that a test may crash or freeze."""
    try:
        made = PostgresServer(postgres_programs())
    except LocalPartError as error:
        missing("A PostgreSQL server", str(error))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def on_postgres(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Runtime
) -> Iterator[Runtime]:
    """The product's wiring on a database there."""
    with server.database() as url:
        monkeypatch.setenv("PREFECT_JOBS_DATABASE_URL", url.render_as_string(hide_password=False))
        get_settings.cache_clear()
        made = get_runtime()
        yield made
        made.close()


@pytest.fixture
def manager(runtime: Runtime) -> JobManager:
    """The jobs of an app."""
    return TestApp.get_job_manager()


@pytest.fixture(scope="session")
def alice(condor_pool: PersonalPool, prefect_server: PrefectServerInfo) -> CondorScheduler:
    """The pool, as a saved block with alice's token."""
    return _block(condor_pool, "alice")


@pytest.fixture(scope="session")
def bob(condor_pool: PersonalPool, prefect_server: PrefectServerInfo) -> CondorScheduler:
    """The pool, as a saved block with bob's token."""
    return _block(condor_pool, "bob")


def _block(pool: PersonalPool, who: str) -> CondorScheduler:
    info = pool.status().info
    assert info is not None
    block = create_condor_scheduler(f"pool_of_{who}", info.host, port=info.port, token=pool.token(who))
    block.save(overwrite=True)
    return block


def read(block: CondorScheduler | DaskScheduler | str | None) -> None:
    """Reads a block as jobs do, so that it is known. On a busy machine one read may take longer than the 3 seconds
    for which a call waits; tests that are not about that try again."""
    name = str(block.name) if isinstance(block, CondorScheduler | DaskScheduler) else block
    runtime = get_runtime()
    for _ in range(5):
        if name is None or runtime.projector.away is not None:
            return
        with suppress(SchedulerConnectionError):
            runtime.prefect.lookup.get(name)
            return


ShellJob = Callable[..., CondorJob]


@pytest.fixture
def shell_job(manager: JobManager, alice: CondorScheduler) -> ShellJob:
    """Makes a job that runs a line of shell at the pool."""

    def make(line: str, **more: Any) -> CondorJob:
        read(alice)
        attributes = {
            "executable": "/bin/sh",
            "transfer_executable": False,
            "arguments": ["-c", line, "$(Process)"],
            "request_memory": "32MB",
            **more.pop("attributes", {}),
        }
        job = manager.create_job(
            more.pop("name", "a job"), "alice", job_type="CONDOR", scheduler=alice, attributes=attributes, **more
        )
        assert isinstance(job, CondorJob)
        return job

    return make


@pytest.fixture(scope="session")
def dask_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """A cluster with two workers, which no test may kill."""
    cluster = DaskCluster(tmp_path_factory.mktemp("dask"))
    try:
        cluster.start(2)
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[DaskCluster]:
    """A cluster for one test, which starts and kills what is in it."""
    cluster = DaskCluster(tmp_path)
    yield cluster
    cluster.stop()
    with warnings.catch_warnings():
        # Dask leaves sockets of connections that were being made when their scheduler was killed; not to the next test.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def dask_block(cluster: DaskCluster, name: str, timeout: float = 10) -> DaskScheduler:
    """A saved block of a cluster."""
    block = create_dask_scheduler(name, cluster.address, timeout=timeout)
    block.save(overwrite=True)
    return block


@pytest.fixture(scope="session")
def dask(dask_cluster: DaskCluster, prefect_server: PrefectServerInfo) -> Iterator[DaskScheduler]:
    """The cluster that no test may kill, as a saved block."""
    block = dask_block(dask_cluster, "dask-of-all", 30)  # a busy machine is no reason to fail
    yield block
    block.close()


DaskJobs = Callable[..., DaskJob]


@pytest.fixture
def dask_job(manager: JobManager, dask: DaskScheduler) -> DaskJobs:
    """Makes a job for the cluster."""

    def make(name: str = "a job", scheduler: DaskScheduler = dask, **more: Any) -> DaskJob:
        read(scheduler)
        job = manager.create_job(name, "alice", job_type="DASK", scheduler=scheduler, **more)
        assert isinstance(job, DaskJob)
        return job

    return make


class PrefectView:
    """What people see in Prefect, read through its API as its UI does."""

    def __init__(self, api_url: str) -> None:
        self._api = prefect_http(api_url)

    def run(self, job: Any) -> dict[str, Any]:
        """The flow run of a job, once it shows the job as it is: a busy machine may take more than the 3 seconds
        for which calls wait, and the claim of a process that was killed while it showed the job holds for 60."""

        def shown() -> bool:
            job.handle.backend.jobs.shown(job.id)
            return not job.handle.backend.jobs.get(job.id).behind

        eventually(shown, "Prefect shows the job as it is", 90)
        found: dict[str, Any] = self._api.get(f"/flow_runs/{job.flow_run_id}").raise_for_status().json()
        return found

    def state(self, job: Any) -> tuple[str, str, str]:
        """Type, name and message of its present state."""
        state = self.run(job)["state"]
        return state["type"], state["name"], state["message"] or ""

    def states(self, job: Any) -> list[str]:
        """The names of all its states so far."""
        self.run(job)
        found = self._api.get("/flow_run_states/", params={"flow_run_id": job.flow_run_id}).raise_for_status().json()
        return [state["name"] for state in sorted(found, key=lambda state: state["timestamp"])]

    def logs(self, job: Any) -> list[str]:
        """The lines of its Logs tab."""
        run = eventually(lambda: job.flow_run_id, "Prefect has its run")
        wanted = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"}
        found = self._api.post("/logs/filter", json=wanted).raise_for_status().json()
        return [line["message"] for line in found]

    def get(self, path: str) -> Any:
        """An answer of its API."""
        return self._api.get(path).raise_for_status().json()

    def post(self, path: str, wanted: Any) -> Any:
        """An answer of its API to a question."""
        return self._api.post(path, json=wanted).raise_for_status().json()

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """An answer of its API to a change."""
        answer = self._api.request(method, path, json=body).raise_for_status()
        return answer.json() if answer.content else None

    def status(self, path: str) -> int:
        """The code of an answer of its API."""
        return self._api.get(path).status_code

    def exists(self, flow_run_id: str) -> bool:
        """Whether there is such a run."""
        return self._api.get(f"/flow_runs/{flow_run_id}").status_code == 200

    def close(self) -> None:
        """Closes the connection."""
        self._api.close()


@pytest.fixture
def prefect_view(prefect_server: PrefectServerInfo) -> Iterator[PrefectView]:
    """Prefect, as people see it."""
    view = PrefectView(prefect_server.api_url)
    yield view
    view.close()


@pytest.fixture
def flag() -> Iterator[Path]:
    """A file that is not there yet, and that jobs, which run as another user, can see."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "go on"


@pytest.fixture
def process_pool(prefect_view: PrefectView) -> Iterator[Callable[[str], None]]:
    """Gives a deployment a work pool for process workers, as people do in its form."""
    changed: list[str] = []
    if prefect_view.status("/work_pools/processes") == 404:
        prefect_view.post("/work_pools/", {"name": "processes", "type": "process"})

    def give(deployment: str) -> None:
        changed.append(deployment)
        prefect_view.request("PATCH", f"/deployments/{deployment}", {"work_pool_name": "processes"})

    yield give
    for deployment in changed:
        prefect_view.request("PATCH", f"/deployments/{deployment}", {"work_pool_name": None})
