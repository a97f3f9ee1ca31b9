"""A real Dask cluster for the tests: scheduler and workers as processes, which tests may kill and start again."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from prefect_jobs.local.processes import LOOPBACK, free_port
from tests.forks import Imports, Program
from tests.support import eventually

#: Dask's configuration for a cluster that has little to do: no profiles, and a look at itself now and then.
_AT_REST = {
    "DASK_DISTRIBUTED__WORKER__MEMORY__MONITOR_INTERVAL": "500ms",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "500ms",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "5s",
}


class DaskCluster:
    """A scheduler at a port of its own, and workers."""

    def __init__(self, folder: Path, memory: str = "300MiB") -> None:
        """
        Args:
            folder: for logs.
            memory: of each worker with a nanny. Others have 2 GiB, most of it shared with the process that forks them.
        """
        self._memory = memory
        self.port = free_port()
        self.address = f"tcp://{LOOPBACK}:{self.port}"
        self._folder = folder
        self._scheduler: subprocess.Popen[bytes] | None = None
        self._workers: list[subprocess.Popen[bytes]] = []

    def start(self, workers: int = 1, *, nanny: bool = False) -> None:
        """Starts the scheduler, if it is not up, and workers besides those that are.

        Args:
            workers: how many.
            nanny: whether each has a process that ends it when it uses too much memory, and starts it again.
        """
        if self._scheduler is None:
            self._scheduler = self._run("scheduler", "--host", LOOPBACK, "--port", str(self.port), "--no-dashboard")
            eventually(lambda: _listens(self.port), "the Dask scheduler listens")
        for _ in range(workers):
            self._workers.append(
                self._run(
                    "worker",
                    self.address,
                    "--nthreads",
                    "2",
                    "--no-dashboard",
                    "--memory-limit",
                    self._memory if nanny else "2GiB",
                    *(() if nanny else ("--no-nanny",)),
                )
            )

    def kill_scheduler(self) -> None:
        """Kills it: everything that it knew is gone."""
        assert self._scheduler is not None
        self._scheduler.kill()
        self._scheduler.wait()
        self._scheduler = None

    @contextlib.contextmanager
    def frozen_scheduler(self) -> Iterator[None]:
        """It takes connections and answers nothing, and then goes on."""
        assert self._scheduler is not None
        self._scheduler.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._scheduler.send_signal(signal.SIGCONT)

    def kill_workers(self) -> None:
        """Kills the workers, and the nannies that would start them again."""
        for worker in self._workers:
            children = _workers_of(worker) if worker.poll() is None else []
            worker.kill()
            for child in children:
                if child.is_running():
                    child.kill()
            worker.wait()
        self._workers.clear()

    def kill_worker(self, draw: random.Random, *, nanny: bool) -> None:
        """Kills one worker, drawn from those that are up; its nanny, too, or the nanny starts another."""
        worker = draw.choice(self._workers)
        children = _workers_of(worker)
        if nanny:
            worker.kill()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        if nanny:
            worker.wait()
            self._workers.remove(worker)

    def stop(self) -> None:
        """Ends everything."""
        self.kill_workers()
        if self._scheduler is not None:
            self.kill_scheduler()

    def _run(self, what: str, *more: str) -> "subprocess.Popen[bytes]":
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=f".{what}", delete=False) as log:
            return Program(
                [sys.executable, "-m", "dask", what, *more],
                imports=Imports.DASK,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env={**os.environ, **_AT_REST, "PYTHONPATH": os.pathsep.join(sys.path)},
            )


def _workers_of(nanny: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """The processes of a nanny, without the one that removes its semaphores when all of them are gone."""
    found = psutil.Process(nanny.pid).children(recursive=True)
    return [child for child in found if "resource_tracker" not in " ".join(child.cmdline())]


def _listens(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0
