"""What benchmarks run on: a pool and a Prefect server of their own in a temporary folder, ended in any case."""

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_jobs.local.condor_pool import PersonalPool
from prefect_jobs.local.prefect_server import LocalPrefectServer

if TYPE_CHECKING:
    from prefect_jobs import CondorScheduler, JobManager
    from prefect_jobs.runtime.wiring import Runtime

#: Seconds after which nothing is waited for any more.
PATIENCE = 600.0
#: An empty database, such as one on PostgreSQL; empty: SQLite.
DATABASE = os.environ.get("BENCH_DATABASE_URL", "")
#: Cores that the pool offers, whatever the machine has.
CPUS = 8


@dataclass(frozen=True)
class Parts:
    """What a benchmark is given."""

    folder: Path
    manager: "JobManager"
    runtime: "Runtime"
    scheduler: "CondorScheduler"
    pool: PersonalPool
    condor_version: str

    @property
    def bare_url(self) -> str:
        """A database of the same kind, for what is compared; it may be the same one."""
        return DATABASE or f"sqlite:///{self.folder / 'bare.db'}"

    def settle(self) -> None:
        """Waits until Prefect shows everything; a call that finds it away would not wait for it."""
        deadline = time.monotonic() + PATIENCE
        projector = self.runtime.projector
        while not projector.flush(PATIENCE):
            check(time.monotonic() < deadline, "Prefect shows everything")
            time.sleep(0.05)


def check(fine: bool, what: str) -> None:
    """
    Raises:
        RuntimeError: it is not fine.
    """
    if not fine:
        raise RuntimeError(f"Not measured, since this is not so: {what}.")


@contextmanager
def parts() -> Iterator[Parts]:
    """Starts everything; ends everything that it started when the context is left."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="pj-bench-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if os.geteuid() == 0:
            folder.chmod(0o755)  # the daemons of root's pool run as another user, who must reach their folders
        server = LocalPrefectServer(folder / "prefect")
        stack.callback(server.down)
        pool = PersonalPool(folder / "pool", name="bench")
        stack.callback(pool.down, remove=True)
        info = pool.up(cpus=CPUS, identities=("alice",))
        _environment(folder, server.up().api_url)
        # Prefect reads its settings when it is first imported.
        from prefect_jobs import App, create_condor_scheduler
        from prefect_jobs.blocks import register_blocks
        from prefect_jobs.runtime.wiring import get_runtime
        from prefect_jobs.schedulers.connections import connections

        class Bench(App):
            name = "Benchmarks"
            package = "benchmarks"

        register_blocks()
        scheduler = create_condor_scheduler("bench", info.host, port=info.port, token=pool.token("alice"))
        scheduler.save()
        stack.callback(connections.interrupt)
        runtime = get_runtime()
        stack.callback(runtime.close)
        yield Parts(folder, Bench.get_job_manager(), runtime, scheduler, pool, info.version)


def _environment(folder: Path, api_url: str) -> None:
    for name in [name for name in os.environ if name.startswith("PREFECT_") and name != "PREFECT_JOBS_CACHE"]:
        del os.environ[name]
    os.environ.update(
        {
            "PREFECT_HOME": str(folder / "home"),
            "PREFECT_API_URL": api_url,
            "PREFECT_LOGGING_LEVEL": "ERROR",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_JOBS_DATABASE_URL": DATABASE or f"sqlite:///{folder / 'jobs.db'}",
            "PREFECT_JOBS_WORKSPACE": str(folder / "workspace"),
        }
    )
    logging.getLogger("prefect").setLevel(logging.ERROR)
