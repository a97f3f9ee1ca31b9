"""A real Dask cluster for the tests: scheduler and workers as processes, which tests may kill and start again."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from prefect_jobs.local.processes import LOOPBACK, free_port
from tests.support import eventually


class DaskCluster:
    """A scheduler at a port of its own, and workers."""

    def __init__(self, folder: Path, memory: str = "300MiB") -> None:
        self._memory = memory
        self.port = free_port()
        self.address = f"tcp://{LOOPBACK}:{self.port}"
        self._folder = folder
        self._scheduler: subprocess.Popen[bytes] | None = None
        self._workers: list[subprocess.Popen[bytes]] = []

    def start(self, workers: int = 1) -> None:
        """Starts the scheduler, if it is not up, and workers besides those that are."""
        if self._scheduler is None:
            self._scheduler = self._run("scheduler", "--host", LOOPBACK, "--port", str(self.port), "--no-dashboard")
            eventually(lambda: _listens(self.port), "the Dask scheduler listens")
        for _ in range(workers):
            self._workers.append(
                self._run("worker", self.address, "--nthreads", "2", "--no-dashboard", "--memory-limit", self._memory)
            )

    def kill_scheduler(self) -> None:
        """Kills it: everything that it knew is gone."""
        assert self._scheduler is not None
        self._scheduler.kill()
        self._scheduler.wait()
        self._scheduler = None

    def kill_workers(self) -> None:
        """Kills the workers, and the nannies that would start them again."""
        import psutil

        for worker in self._workers:
            children = psutil.Process(worker.pid).children(recursive=True) if worker.poll() is None else []
            worker.kill()
            for child in children:
                if child.is_running():
                    child.kill()
            worker.wait()
        self._workers.clear()

    def stop(self) -> None:
        """Ends everything."""
        self.kill_workers()
        if self._scheduler is not None:
            self.kill_scheduler()

    def _run(self, what: str, *more: str) -> "subprocess.Popen[bytes]":
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=f".{what}", delete=False) as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", what, *more],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )


def _listens(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0
