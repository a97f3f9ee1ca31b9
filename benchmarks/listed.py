"""A table of jobs as it is after a year, and each documented kind of filter and order of ``list_jobs``."""

import random
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from sqlalchemy import delete, insert

from benchmarks.results import Row
from prefect_jobs import JobManager, clock, statuses
from prefect_jobs.store import Store
from prefect_jobs.store.filters import FIELDS
from prefect_jobs.store.tables import GROUPS, JOBS

#: The app whose jobs are listed, and another one.
APP, OTHER = "benchmarks_web", "benchmarks_web_other"
USERS = ("alice", "ann", "ben", "cem", "dora", "eva", "finn", "gita", "hugo", "ines")
_SCHEDULERS, _TYPES = ("pool", "cluster", "far"), ("CondorJob", "CondorJob", "CondorWorkflow", "DaskJob")
_STORED = {"CondorJob": "CONDOR", "CondorWorkflow": "CONDORWORKFLOW", "DaskJob": "DASK"}
_NAMES = ("flood", "storm", "dam break", "river", "drought", "coast")
#: Of a thousand jobs that are over.
_OVER = ((statuses.COMPLETE, 900), (statuses.ERROR, 60), (statuses.ABORTED, 35), (statuses.VARIOUS_COMPLETE, 5))
#: Of a thousand that are not.
_ACTIVE = ((statuses.RUNNING, 500), (statuses.SUBMITTED, 400), (statuses.PENDING, 80), (statuses.PAUSED, 20))
#: The part of jobs that are not over.
_AT_WORK = 0.03
_SPEC = {
    "attributes": {"executable": "model.sh", "request_memory": "2GB", "request_disk": "1GB", "arguments": ["a"] * 9},
    "remote_input_files": ["/home/shared/models/flood/model.sh", "/home/shared/models/flood/terrain.tif"],
}
_NATIVE = {
    "procs": [{"proc": 0, "state": "Completed", "exit_code": 0, "usage": {"memory": 812, "cpu": 61.5}}],
    "spool": True,
    "outputs": ["result.csv", "stdout.log", "stderr.log"],
}
_CHUNK = 5_000
#: Milliseconds that a list may take; how often each is asked for, and for how many milliseconds at most.
TARGET, _REPEATS, _LONG = 20, 20, 3_000
_SCAN = "Each row of the app is looked at: 0.1 s for 100,000"
_NO_INDEX = f"{_SCAN}. There is no index, since each makes each new job dearer, and people do not ask for this."
_FEW = "A value of few jobs: rows are read in the order of the list until 50 have it."
_RUNNING = "All jobs of the status are sorted, of a million some 12,000, and rows are read for what the index has not."
#: Why each is slow where it is, by its beginning.
_REASONS = {
    "order -start_time": f"{_SCAN}. An index would be one more to write when a job starts; use -execute_time.",
    "order -last_status_update": f"{_SCAN}. Each poll may change it, and would write its index.",
    "order": _NO_INDEX,
    "status=Running, order": _RUNNING,
    "user, status=Running, order": _RUNNING,
    "status__in": _RUNNING,
    "user without jobs, order": "It looks for the user along the whole index of that order.",
    "status=": _FEW,
    "status_code=OTH": f"{_SCAN}. All custom statuses have this code: filter by the text of the status.",
    "last_status_update": f"{_SCAN}. Each poll may change it, and would write its index.",
    "start_time": f"{_SCAN}. Use execute_time.",
    "name__": f"{_SCAN}. The text may be anywhere; name__startswith has an index.",
    "extended_properties": f"{_SCAN}. Keys are yours, so there is no index of them.",
    "creation_time__lt": "All jobs of that time are sorted, since the order is another one.",
    "": _NO_INDEX,
}


def fill(store: Store, number: int) -> None:
    """Makes the table, in place of what was there of these apps. It is the same each time."""
    clear(store)
    rng = random.Random(number)  # noqa: S311  (no secret)
    first = clock.now() - timedelta(days=365)
    with store.database.writing() as connection:
        if store.database.engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA cache_size=-4000000")  # pages that are written twice take minutes
        for start in range(0, number, _CHUNK):
            some = range(start, min(start + _CHUNK, number))
            connection.execute(insert(JOBS), [_values(rng, one, number, first) for one in some])
        # One in each hundred is shared.
        shared = JOBS.select().with_only_columns(JOBS.c.id).where(JOBS.c.label == APP, JOBS.c.id % 100 == 0)
        ids = connection.execute(shared).scalars().all()
        if ids:
            connection.execute(insert(GROUPS), [{"job_id": one, "name": f"team {one % 7}"} for one in ids])
    vacuum(store)


def vacuum(store: Store) -> None:
    """Does at once what PostgreSQL does by itself some time after many rows have come: until then, it takes the table
    for an empty one, and reads it in the wrong way."""
    if store.database.engine.dialect.name == "postgresql":
        with store.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM (ANALYZE) jobs")


def clear(store: Store) -> None:
    """Removes all jobs of these apps."""
    with store.database.writing() as connection:
        connection.execute(delete(JOBS).where(JOBS.c.label.in_((APP, OTHER))))


def kinds() -> dict[str, dict[str, Any]]:
    """Each kind of question, as arguments of ``list_jobs``."""
    now = clock.now()
    day = now - timedelta(days=1)
    lists: dict[str, dict[str, Any]] = {"newest": {"order_by": "-id"}, "of a user": {"user": "alice"}}
    lists |= {
        f"order -{name}": {"order_by": f"-{name}"} for name in FIELDS if name not in ("id", "label", "cached_status")
    }
    lists |= {f"order {name}": {"order_by": name} for name in ("execute_time", "completion_time", "name")}
    for user, told in (("alice", "user"), ("nobody", "user without jobs")):
        for order in ("-creation_time", "-execute_time", "-completion_time", "name"):
            lists[f"{told}, order {order}"] = {"user": user, "order_by": order}
    lists["groups"] = {"groups": ["team 3"], "order_by": "-creation_time"}
    for order in ("-id", "-creation_time", "-last_status_update"):
        running = {"order_by": order, "filters": {"status": statuses.RUNNING}}
        lists[f"status=Running, order {order}"] = running
        lists[f"user, status=Running, order {order}"] = {**running, "user": "ines"}
        lists[f"status__in all active, order {order}"] = {
            "order_by": order, "filters": {"status__in": statuses.NON_TERMINAL_STATUSES},
        }  # fmt: skip
    for status in (statuses.COMPLETE, statuses.ERROR, statuses.VARIOUS_COMPLETE, statuses.HELD):
        lists[f"status={status}, order -creation_time"] = {"order_by": "-creation_time", "filters": {"status": status}}
    filters = {
        "status_code": "RUN", "remote_id": "105000", "remote_id__in": ["105000", "105001"], "flow_run_id": "none",
        "scheduler": "pool", "type": "DaskJob", "job_type": "DASK", "schedule": "nightly 7", "name": "flood",
        "name__startswith": "flood 1999", "name__contains": "1999", "name__icontains": "FLOOD 1999",
        "creation_time__gte": day, "creation_time__lt": now - timedelta(days=300), "execute_time__gte": day,
        "completion_time__gte": day, "completion_time__isnull": True, "start_time__gte": day,
        "last_status_update__gte": now - timedelta(hours=1), "id__in": [1, 2], "extended_properties__region": "river",
        "extended_properties__model__year": 1999, "description__contains": "gauge", "workspace__contains": "alice",
        "status_message": "waits", "process_results_function__isnull": True,
    }  # fmt: skip
    lists |= {f"{key}": {"order_by": "-id", "filters": {key: value}} for key, value in filters.items()}
    # Where nothing matches, all is read that could.
    nothing = {
        "status_code=OTH": "OTH", "scheduler": "none", "type": "none", "schedule": "none", "name__contains": "none",
        "extended_properties__region": "none", "extended_properties__contains": "none", "description": "none",
    }  # fmt: skip
    found = {f"{key}, no job": {"filters": {key.partition("=")[0]: value}} for key, value in nothing.items()}
    return {**lists, **found}


def rows(manager: JobManager, number: int) -> Iterator[Row]:
    """One for each kind of question."""
    for name, asked in kinds().items():
        taken: list[float] = []
        while len(taken) < _REPEATS and sum(taken) < _LONG:
            began = time.perf_counter()
            manager.list_jobs(limit=50, **asked)
            taken.append((time.perf_counter() - began) * 1000)
        reason = next(reason for start, reason in _REASONS.items() if name.startswith(start))
        yield Row(f"list_jobs(limit=50), {name}, among {number:,}", median(taken), "ms", target=TARGET, reason=reason)


def _values(rng: random.Random, one: int, number: int, first: datetime) -> dict[str, Any]:
    created = first + timedelta(days=365) * (one / number)
    # Most jobs at work are new; a few have waited for long.
    active = rng.random() < (0.9 if one > number * (1 - _AT_WORK) else _AT_WORK / 10)
    status = _one_of(rng, _ACTIVE if active else _OVER)
    started = None if status in (statuses.PENDING, statuses.SUBMITTED) else created + timedelta(hours=rng.random())
    ended = None if active or started is None else started + timedelta(hours=rng.random() * 5)
    official, cls = statuses.BY_NAME[status], rng.choice(_TYPES)
    return {
        "version": 6, "label": APP if rng.random() < 0.8 else OTHER, "type": _STORED[cls], "class_name": cls,
        "name": f"{rng.choice(_NAMES)} {rng.randrange(1900, 2030)} run {one}",
        # The first one has a third of all jobs.
        "user": USERS[min(int(rng.expovariate(0.4)), len(USERS) - 1)],
        "description": "Levels at each gauge, by the hour", "workspace": f"/home/shared/workspaces/{APP}/alice/{one}",
        "creation_time": created, "status_code": official.code, "status": status,
        "status_class": official.kind.encode(), "status_message": "" if ended else "waits",
        "observed_status": status, "attempt": 1, "has_run": True,
        "execute_time": created + timedelta(seconds=rng.random() * 60), "start_time": started, "completion_time": ended,
        "last_status_update": ended or clock.now() - timedelta(seconds=rng.random() * 30),
        "extended_properties": {"region": rng.choice(_NAMES), "model": {"year": rng.randrange(1900, 2030)}},
        "spec": _SPEC, "native": _NATIVE, "scheduler": rng.choice(_SCHEDULERS), "remote_id": str(100_000 + one),
        "submission_token": f"{APP}-{number}-{one}", "flow_run_id": f"{number:08}-0000-4000-8000-{one:012}",
        "face_seq": 6, "face_done": 6, "watched": active,
        "schedule": f"nightly {one % 50}" if one % 100 == 7 else None,
    }  # fmt: skip


def _one_of(rng: random.Random, choices: tuple[tuple[str, int], ...]) -> str:
    return rng.choices([name for name, _ in choices], [weight for _, weight in choices])[0]
