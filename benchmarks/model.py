"""What a number of jobs a day needs: a model of a few constants, checked against a measurement of a small number.

``python -m benchmarks.model 1000000`` says what it predicts by the constants in RESULTS.md.
"""

import os
import re
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from sqlalchemy import Engine, event, func, select

from benchmarks.meters import requests
from benchmarks.parts import PATIENCE, Parts, check
from benchmarks.results import ON_POSTGRESQL, Row
from prefect_jobs import CondorJob
from prefect_jobs.monitor import Monitor
from prefect_jobs.store.tables import METADATA

RESULTS = Path(__file__).with_name("RESULTS.md")
#: The constants are taken from a few jobs, and checked against more.
FEW, MORE = int(os.environ.get("BENCH_FEW", "24")), int(os.environ.get("BENCH_MORE", "96"))
#: Seconds that each job runs, and for which nothing happens.
RUNS, IDLE = 4, float(os.environ.get("BENCH_IDLE", "30"))
DAY = 86400
SIZES = (10_000, 100_000, 1_000_000)
#: Jobs at work in a day of so many jobs that take an hour each.
_HOUR = 1 / 24
#: Seconds between two polls.
_POLL = 2.0


@dataclass(frozen=True)
class Load:
    """What jobs need, or a second without jobs."""

    requests: float
    commits: float
    rows: float
    #: Bytes of our database, and of Prefect's.
    ours: float
    prefect: float
    #: Seconds of CPU of our processes, and of Prefect's server.
    cpu: float
    server: float

    def __add__(self, other: "Load") -> "Load":
        return Load(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))

    def times(self, number: float) -> "Load":
        """So many of it."""
        return Load(*(number * mine for mine in astuple(self)))


#: What the rows of the table call the parts of a load, and their units.
_CALLED = {
    "requests": ("requests to Prefect", ""),
    "commits": ("commits to our database", ""),
    "rows": ("rows in our database", ""),
    "ours": ("bytes of our database", ""),
    "prefect": ("bytes of Prefect's database", ""),
    "cpu": ("CPU of ours: submission, monitor, helpers", "s"),
    "server": ("CPU of Prefect's server", "s"),
}
_OF_JOB, _OF_SECOND = "Each job", "Each second without jobs"
#: Rows of other benchmarks.
#: The beginning of the row: what is bare has changed.
_MANY = "1000 Condor jobs by execute_jobs(); bare: "
_FEW_ACTIVE, _MANY_ACTIVE = 5_000, 50_000
_WATCHED = "Monitor of {:,} active jobs without flow runs: CPU of all its processes for each poll, median"


@dataclass(frozen=True)
class Model:
    """The constants."""

    job: Load
    second: Load
    #: Submissions in a second, one process and one schedd.
    submissions: float
    #: Seconds of CPU for each poll, and for an active job in each poll. Runs in Prefect are not in it.
    poll: float
    active: float

    @classmethod
    def read(cls, known: Mapping[str, float]) -> "Model":
        """
        Args:
            known: numbers by what they are, as in RESULTS.md.

        Raises:
            KeyError: one is missing.
        """
        job, second = (
            Load(*(known[f"{what}: {_CALLED[part.name][0]}"] for part in fields(Load)))
            for what in (_OF_JOB, _OF_SECOND)
        )
        many = next((number for what, number in known.items() if what.startswith(_MANY)), None)
        if many is None:
            raise KeyError(_MANY)
        few, most = (known[_WATCHED.format(number)] for number in (_FEW_ACTIVE, _MANY_ACTIVE))
        slope = (most - few) / (_MANY_ACTIVE - _FEW_ACTIVE)
        return cls(job, second, 1000 / many, few - slope * _FEW_ACTIVE, slope)

    def predict(self, jobs: float, seconds: float) -> Load:
        """What so many jobs need that are submitted and end in so many seconds."""
        return self.job.times(jobs) + self.second.times(seconds)

    def a_day(self, jobs: int) -> list[Row]:
        """What so many jobs a day need, of one hour each."""
        day, what = self.predict(jobs, DAY), f"Predicted for {jobs:,} jobs a day"
        polls = (self.poll + self.active * jobs * _HOUR) / _POLL
        return [
            Row(f"{what}: requests to Prefect, each second", day.requests / DAY, ""),
            Row(f"{what}: cores of Prefect's server", day.server / DAY, ""),
            Row(f"{what}: Prefect's database grows, each day", day.prefect / 1e9, "GB"),
            Row(f"{what}: commits to our database, each second", day.commits / DAY, ""),
            Row(
                f"{what}: our database grows, each day",
                day.ours / 1e9,
                "GB",
                detail=f"{day.rows / 1e6:.3g} million rows",
            ),
            Row(
                f"{what}: cores of ours",
                # A little is counted twice: the seconds without jobs have polls, too.
                day.cpu / DAY + polls,
                "",
                detail=f"{polls:.2g} of it for polls of active jobs",
            ),
            Row(f"{what}: share of the day that one process submits", 100 * jobs / self.submissions / DAY, "%"),
        ]


def small(given: Parts) -> list[Row]:
    """The constants from a few jobs, what they predict for more of them, and what these need."""
    with _monitored(given):
        _run(given, FEW)  # deployments are made, modules are imported
        idle = _measured(given, lambda: time.sleep(IDLE))
        second = idle[0].times(1 / idle[1])
        few = _measured(given, lambda: _run(given, FEW))
        job = (few[0] + second.times(-few[1])).times(1 / FEW)
        more, seconds = _measured(given, lambda: _run(given, MORE))
    rows = [
        Row(f"{what}: {called}", getattr(load, name), unit, detail=detail)
        for what, load, detail in (
            (_OF_JOB, job, f"{FEW} jobs of {RUNS} s, by execute_jobs()"),
            (_OF_SECOND, second, ""),
        )
        for name, (called, unit) in _CALLED.items()
    ]
    model = Model.read({**known(), **{row.what: row.measured for row in rows}})
    predicted = model.predict(MORE, seconds)
    for name, (called, _) in _CALLED.items():
        mine, its = getattr(predicted, name), getattr(more, name)
        off = max(mine / its, its / mine) if mine > 0 and its > 0 else float("inf")
        detail = f"predicted {mine:.3g}, measured {its:.3g}"
        rows.append(Row(f"{MORE} jobs, the prediction is wrong by a factor of: {called}", off, "", 1.5, detail=detail))
    return rows + [row for size in SIZES for row in model.a_day(size)]


BENCHMARKS: list[Callable[[Parts], list[Row]]] = [small]


def known() -> dict[str, float]:
    """The numbers in RESULTS.md that were measured on SQLite, by what they are."""
    sections = re.split(r"^## ", RESULTS.read_text(), flags=re.MULTILINE)
    text = "".join(one for one in sections if ON_POSTGRESQL not in one.partition("\n")[0])
    found = re.findall(r"^\| (.+?) \| [^|]*\| (-?[0-9][0-9.e+-]*)", text, re.MULTILINE)
    return {what: float(number) for what, number in found}


@contextmanager
def _monitored(given: Parts) -> Iterator[None]:
    """A monitor in this process, so that all of its commits and requests are counted."""
    monitor = Monitor(given.runtime)
    thread = threading.Thread(target=monitor.run)
    thread.start()
    try:
        yield
    finally:
        monitor.stop()
        thread.join()


def _run(given: Parts, number: int) -> None:
    """Submits jobs, and waits until Prefect shows the end of all."""
    jobs = [
        given.manager.create_job("modelled", "alice", job_type="CONDOR", scheduler=given.scheduler,
            attributes={"executable": "/bin/sleep", "transfer_executable": False, "arguments": [str(RUNS)],
                        "request_memory": "16MB", "request_disk": "1MB"})
        for _ in range(number)
    ]  # fmt: skip
    check(all(isinstance(job, CondorJob) for job in jobs), "they are Condor jobs")
    given.manager.execute_jobs(jobs)
    deadline, ids = time.monotonic() + PATIENCE, [job.handle.record.id for job in jobs]
    while any(not record.final or record.behind for record in given.runtime.store.records(ids)):
        check(time.monotonic() < deadline, "all jobs are over, and shown")
        time.sleep(1)
    given.settle()


def _measured(given: Parts, work: Callable[[], None]) -> tuple[Load, float]:
    """What some work needed, and its seconds."""
    commits = 0

    def committed(_connection: object) -> None:
        nonlocal commits
        commits += 1

    event.listen(Engine, "commit", committed)
    try:
        with requests() as asked:
            before, began = _state(given), time.monotonic()
            work()
            after, seconds = _state(given), time.monotonic() - began
            number = asked.total()
    finally:
        event.remove(Engine, "commit", committed)
    return after + before.times(-1) + Load(number, commits, 0, 0, 0, 0, 0), seconds


def _state(given: Parts) -> Load:
    """What there is now, and the CPU time until now."""
    with given.runtime.store.database.reading() as connection:
        tables = METADATA.sorted_tables
        rows = sum(connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables)
    ours, theirs = (_size(next(given.folder.glob(name))) for name in ("jobs.db", "prefect/**/prefect.db"))
    server = _server()
    mine = [each for each in (psutil.Process(), *psutil.Process().children()) if each != server]
    return Load(0, 0, rows, ours, theirs, cpu=sum(map(_cpu, mine)), server=_cpu(server))


def _size(file: Path) -> int:
    """Bytes of an SQLite file that are in use, its log included."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
    return int((pages - free) * size)


def _server() -> psutil.Process:
    """The process of Prefect's server."""
    port = urlsplit(os.environ["PREFECT_API_URL"]).port
    for one in psutil.net_connections("tcp"):
        if one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.pid:
            return psutil.Process(one.pid)
    raise RuntimeError("Prefect's server is not on this machine.")


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    for size in map(int, sys.argv[1:]):
        for row in Model.read(known()).a_day(size):
            print(f"{row.what}: {row.cells()[2]}")
