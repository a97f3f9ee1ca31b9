"""How cost grows: the monitor with the number of active jobs, lists and pages with that of all, what is to be shown in
Prefect with that of new ones; drawn in curves.png."""

import os
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import httpx
from sqlalchemy import delete

from benchmarks import listed
from benchmarks.monitoring import active, cost_of_watching
from benchmarks.parts import DATABASE, PATIENCE, Parts, check
from benchmarks.results import Row
from benchmarks.submissions import _remove
from benchmarks.web import _OVER, Paged, _records, served
from prefect_jobs import JobManager
from prefect_jobs.store.tables import JOBS

ACTIVE = tuple(map(int, os.environ.get("BENCH_CURVE", "1000,5000,20000,50000").split(",")))
ROWS = tuple(map(int, os.environ.get("BENCH_CURVE_ROWS", "10000,100000,1000000").split(",")))
NEW = (100, 300, 1_000, 3_000)
PICTURE = Path(__file__).with_name("curves_postgresql.png" if DATABASE else "curves.png")
REPEATS, MINUTE = 20, 40.0


def monitors(given: Parts) -> list[Row]:
    """The monitor of few and of many jobs that wait. Their runs in Prefect are not made: that would take hours."""
    rows: list[Row] = []
    points: list[tuple[int, float, float]] = []
    there = 0
    for number in ACTIVE:
        active(given, number - there, runs=False)
        there = number
        cost = cost_of_watching(MINUTE)
        memory = max(cost.memory)
        points.append((number, median(cost.spent), memory))
        what = f"Monitor of {number:,} active jobs without flow runs"
        told = f"mean {cost.mean:.2f} s, worst {max(cost.spent):.2f} s"
        rows += [
            Row(f"{what}: CPU of all its processes for each poll, median", median(cost.spent), target=0.3, detail=told),
            Row(f"{what}: memory", memory, "MiB", target=350 * 1e6 / 2**20, detail=f"{cost.processes} MiB"),
            Row(f"{what}: from its start until each was looked at", cost.start, target=30),
        ]
    _remove(given)
    _draw("active", points)
    return rows


def lists(given: Parts) -> list[Row]:
    """list_jobs() by each kind of filter and order, and the first page, among few and many rows."""
    rows: list[Row] = []
    points: list[tuple[int, float, float]] = []
    for number in ROWS:
        listed.fill(given.runtime.store, number)
        found = list(listed.rows(JobManager(Paged), number))
        rows += found if number == ROWS[-1] else [_summary(found, number)]
        with served() as url, httpx.Client(trust_env=False) as client:
            taken: list[float] = []
            for _ in range(REPEATS):
                began = time.perf_counter()
                client.get(url).raise_for_status()
                taken.append((time.perf_counter() - began) * 1000)
        rows.append(Row(f"The page of 50 jobs among {number:,}", median(taken), "ms"))
        points.append((number, found[0].measured, median(taken)))
    listed.clear(given.runtime.store)
    _draw("rows", points)
    return rows


def _summary(found: list[Row], number: int) -> Row:
    slowest = max(found, key=lambda row: row.measured)
    taken, missed = [row.measured for row in found], sum(row.missed for row in found)
    return Row(
        f"list_jobs(limit=50), {len(found)} kinds of filter and order among {number:,}: median",
        median(taken),
        "ms",
        target=listed.TARGET,
        detail=f"{missed} take longer than the target; slowest {slowest.measured:.3g} ms, "
        f"{slowest.what.removeprefix('list_jobs(limit=50), ').partition(', among')[0]}",
    )


def backlog(given: Parts) -> list[Row]:
    """From the commit of new jobs until Prefect shows each."""
    store = given.runtime.store
    rows: list[Row] = []
    points: list[tuple[int, float, float]] = []
    for number in NEW:
        given.settle()
        records = [replace(one, spec={"attributes": {"executable": "/bin/true"}}) for one in _records(number, _OVER)]
        began = time.perf_counter()
        given.runtime.jobs.insert_all(records)
        while store.backlog():
            check(time.perf_counter() - began < PATIENCE, "Prefect shows all jobs")
            time.sleep(0.05)
        taken = time.perf_counter() - began
        points.append((number, taken, 1000 * taken / number))
        rows.append(
            Row(f"{number:,} new jobs: until Prefect shows all", taken, detail=f"{1000 * taken / number:.1f} ms each")
        )
        with store.database.writing() as connection:
            connection.execute(delete(JOBS).where(JOBS.c.label == Paged.package))
    _draw("new", points)
    return rows


BENCHMARKS = [lists, monitors, backlog]
#: What was measured so far, by the benchmark.
_points: dict[str, list[tuple[int, float, float]]] = {}


def _draw(kind: str, points: list[tuple[int, float, float]]) -> None:
    """Draws what is known by now."""
    try:
        import matplotlib as mpl
    except ModuleNotFoundError:
        print("No picture: pip install matplotlib")
        return
    mpl.use("svg")
    from matplotlib import pyplot as plt

    _points[kind] = points
    names = {
        "active": ("active jobs", "CPU for each poll, s", "memory, MiB"),
        "rows": ("jobs in the table", "list_jobs(limit=50), newest, ms", "page of 50, ms"),
        "new": ("new jobs", "until Prefect shows all, s", "for each, ms"),
    }
    figure, axes = plt.subplots(len(_points), 2, figsize=(9, 3.2 * len(_points)), squeeze=False)
    for row, (name, found) in zip(axes, _points.items(), strict=True):
        for column, axis in enumerate(row):
            axis.plot([one[0] for one in found], [one[column + 1] for one in found], marker="o")
            axis.set_xlabel(names[name][0])
            axis.set_ylabel(names[name][column + 1])
            axis.set_ylim(bottom=0)
            axis.grid(alpha=0.3)
            if name == "rows":
                axis.set_xscale("log")
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=80)
    plt.close(figure)
