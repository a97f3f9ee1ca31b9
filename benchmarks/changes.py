"""A monitor of many Condor jobs of which a hundred change in each second."""

import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

import httpx
import psutil
from sqlalchemy import func, select

from benchmarks.monitoring import active
from benchmarks.parts import PATIENCE, Parts, check
from benchmarks.results import Row
from benchmarks.submissions import _remove, monitor
from prefect_jobs import statuses
from prefect_jobs.local.processes import LOOPBACK, free_port
from prefect_jobs.store.tables import JOBS

#: Active jobs, how many of them change in each second, and polls that are measured.
NUMBER, CHANGES, POLLS = 5_000, 100, int(os.environ.get("BENCH_POLLS", "100"))
_POLL = "prefect_jobs_poll_seconds"


def polls(given: Parts) -> list[Row]:
    """Polls while jobs are held and released."""
    jobs = active(given, NUMBER, runs=False)
    clusters = sorted(int(str(job.remote_id)) for job in jobs)
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    taken: list[float] = []
    with monitor(environment, "--metrics-port", str(port)) as process, httpx.Client(trust_env=False) as client:
        whole, deadline = psutil.Process(process.pid), time.monotonic() + PATIENCE

        def told() -> dict[str, float]:
            lines = client.get(f"http://{LOOPBACK}:{port}/metrics", timeout=30).text.splitlines()
            return {line.split("{")[0]: float(line.rsplit(" ", 1)[1]) for line in lines if 'heduler="htcondor' in line}

        while told().get("prefect_jobs_scheduler_catching_up", 1.0):
            check(time.monotonic() < deadline, "the monitor has looked at all jobs")
            time.sleep(0.5)
        with _changing(given, clusters) as held:
            values, began = told(), _cpu(whole)
            while len(taken) < POLLS:
                check(time.monotonic() < deadline and process.poll() is None, "the monitor polls")
                time.sleep(0.05)
                before, values = values, told()
                number, seconds = (values[name] - before[name] for name in (f"{_POLL}_count", f"{_POLL}_sum"))
                if number:
                    taken.append(seconds / number)
            used = (_cpu(whole) - began) / POLLS
        while _held(given) != len(held):  # nothing of it is lost
            check(time.monotonic() < deadline, "SQL has all changes")
            time.sleep(0.05)
    _remove(given)
    what = f"Monitor of {NUMBER:,} active jobs, {CHANGES} of which change in each second"
    return [
        Row(f"{what}: a poll, median of {POLLS}", median(taken), detail=f"CPU of all its processes {used:.2f} s"),
        Row(
            f"{what}: the longest poll of {POLLS}",
            max(taken),
            target=1.0,
            reason="Prefect's server, which is asked to show all of it, and the schedd share the cores.",
        ),
    ]


BENCHMARKS: list[Callable[[Parts], list[Row]]] = [polls]


@contextmanager
def _changing(given: Parts, clusters: list[int]) -> Iterator[set[int]]:
    """Holds and releases a part of the jobs in each second while the context lasts; gives those that are held."""
    held: set[int] = set()
    stop = threading.Event()

    def change() -> None:
        client = given.scheduler.get_client()
        for number in itertools.count():
            start = number * CHANGES % len(clusters)
            some = clusters[start : start + CHANGES]
            hold = some[0] not in held
            which = f"ClusterId >= {some[0]} && ClusterId <= {some[-1]}"
            client.act("Hold" if hold else "Release", which, "measured")
            (held.update if hold else held.difference_update)(some)
            if stop.wait(1.0):
                return

    thread = threading.Thread(target=change, daemon=True)
    thread.start()
    try:
        yield held
    finally:
        stop.set()
        thread.join()


def _held(given: Parts) -> int:
    with given.runtime.store.database.reading() as connection:
        wanted = select(func.count()).select_from(JOBS).where(JOBS.c.status == statuses.PAUSED)
        return int(connection.execute(wanted).scalar_one())


def _cpu(process: psutil.Process) -> float:
    times = [one.cpu_times() for one in [process, *process.children(recursive=True)]]
    return float(sum(one.user + one.system for one in times))
