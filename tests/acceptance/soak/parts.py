"""What a soak runs on, and how each part is killed and started again."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from prefect_jobs import create_condor_scheduler
from prefect_jobs.local.condor_pool import PersonalPool
from prefect_jobs.local.files import tail
from prefect_jobs.local.prefect_server import LocalPrefectServer
from prefect_jobs.local.processes import ProcessRecord, is_running, read_record
from tests.acceptance.conftest import dask_block
from tests.acceptance.soak.work import CONDOR_BLOCK, DASK_BLOCK
from tests.dask_cluster import DaskCluster
from tests.forks import Program

#: In the environment of every process of a soak; its value is the soak's folder.
MARK = "PREFECT_JOBS_SOAK_FOLDER"
#: A file in this folder notes the processes that are forked, whose environment is another one.
FORKED = "forked"
#: Seconds within which a monitor ends: 5 are promised, the rest is for a busy machine.
_PATIENCE = 15
#: Appended to the pool's configuration: its master starts a daemon again soon, however often that was killed.
_QUICK = "MASTER_BACKOFF_CONSTANT = 1\nMASTER_BACKOFF_CEILING = 3\n"


class Parts:
    """The parts of one soak, in one folder."""

    def __init__(self, folder: Path, prefect_port: int, say: Callable[[str], None]) -> None:
        self.pool = PersonalPool(folder / "pool", name="soak")
        self.prefect = LocalPrefectServer(folder / "prefect")
        self.dask = DaskCluster(_made(folder / "dask"), memory="1GiB")
        self.monitors = [Monitor(folder / f"monitor-{number}.log") for number in (1, 2)]
        self._prefect_port = prefect_port
        self._say = say

    @contextlib.contextmanager
    def up(self) -> Iterator[None]:
        """Everything is started, and ended again.

        Raises:
            LocalPartError: something cannot be had on this machine.
        """
        try:
            info = self.pool.up(cpus=4)
            with self.pool.layout.config.open("a") as config:
                config.write(_QUICK)
            master = read_record(self.pool.layout.pid)
            assert master is not None
            os.kill(master.pid, signal.SIGHUP)  # has all daemons read their configuration again
            self.prefect.up(port=self._prefect_port)
            self.dask.start(2, nanny=True)
            token = self.pool.token("alice")
            create_condor_scheduler(CONDOR_BLOCK, info.host, port=info.port, token=token).save(overwrite=True)
            dask_block(self.dask, DASK_BLOCK)
            self.monitors[0].start()
            yield
        finally:
            for monitor in self.monitors:
                monitor.end(signal.SIGTERM)
            self.dask.stop()
            self.prefect.down()
            self.pool.down(remove=True)

    def strike(self, kind: str, draw: random.Random, pause: Callable[[float], object]) -> None:
        """Kills a part and starts it again."""
        getattr(self, f"_strike_{kind}")(draw, pause)

    def _strike_monitor(self, draw: random.Random, pause: Callable[[float], object]) -> None:
        monitor = draw.choice(self.monitors)
        away = draw.uniform(0, 5)
        if monitor.running:
            self._say(f"monitor: killed, {away:.1f} s")
            monitor.end(signal.SIGKILL)
            pause(away)
        else:
            self._say("monitor: one more")
        monitor.start()

    def _strike_schedd(self, draw: random.Random, pause: Callable[[float], object]) -> None:
        master = read_record(self.pool.layout.pid)
        assert master is not None
        found = [child for child in psutil.Process(master.pid).children() if child.name() == "condor_schedd"]
        self._say(f"schedd: killed {[child.pid for child in found]}")
        for child in found:
            child.kill()

    def _strike_prefect(self, draw: random.Random, pause: Callable[[float], object]) -> None:
        away = draw.uniform(0, 15)
        self._say(f"Prefect: killed, {away:.1f} s")
        self.prefect.down(timeout=0)
        pause(away)
        began = time.monotonic()
        self.prefect.up(port=self._prefect_port)
        self._say(f"Prefect: up again after {time.monotonic() - began:.1f} s")

    def _strike_dask(self, draw: random.Random, pause: Callable[[float], object]) -> None:
        away = draw.uniform(0, 5)
        if draw.random() < 0.4:
            self._say("Dask: a worker killed, its nanny left")
            self.dask.kill_worker(draw, nanny=False)
        elif draw.random() < 0.5:
            self._say(f"Dask: a worker killed, {away:.1f} s")
            self.dask.kill_worker(draw, nanny=True)
            pause(away)
            self.dask.start(1, nanny=True)
        else:
            self._say(f"Dask: all workers killed, {away:.1f} s")
            self.dask.kill_workers()
            pause(away)
            self.dask.start(2, nanny=True)


class Monitor:
    """``prefect-jobs monitor`` as a process, and the log of all that were started in its place."""

    def __init__(self, log: Path) -> None:
        self._log = log
        #: What it did that no monitor may do.
        self.wrong: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started, and not ended since."""
        return self._process is not None

    def start(self) -> None:
        """Starts it, unless it runs."""
        if self._process is None:
            with self._log.open("ab") as log:
                self._process = Program(
                    [sys.executable, "-m", "prefect_jobs", "monitor"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                )

    def end(self, number: int) -> None:
        """Ends it by a signal."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is not None:
            self.wrong.append(f"a monitor ended by itself, with exit status {process.returncode}: {self.last(5)}")
            return
        process.send_signal(number)
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            self.wrong.append(f"a monitor did not end within {_PATIENCE} s of signal {number}")
            return
        if number == signal.SIGTERM and process.returncode:
            self.wrong.append(f"a monitor ended on SIGTERM with exit status {process.returncode}: {self.last(5)}")

    def last(self, lines: int = 60) -> str:
        """The end of its log."""
        return tail(self._log, lines) if self._log.exists() else ""


def left_behind(folder: Path) -> list[psutil.Process]:
    """Processes that a soak has started and not ended."""
    found = []
    noted = folder / FORKED
    for line in noted.read_text().splitlines() if noted.exists() else ():
        pid, created = line.split()
        if is_running(ProcessRecord(int(pid), float(created))):
            found.append(psutil.Process(int(pid)))
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == str(folder):
                found.append(process)
    return found


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
