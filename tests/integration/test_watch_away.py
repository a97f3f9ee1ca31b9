"""Hundreds of jobs whose scheduler does not answer: what a watch writes of that, and how soon it polls again."""

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sqlalchemy import event

from prefect_jobs import statuses
from prefect_jobs.errors import SchedulerConnectionError
from prefect_jobs.jobs import polling, registry
from prefect_jobs.jobs.condor.group import CondorGroup
from prefect_jobs.jobs.observation import Observation
from prefect_jobs.jobs.type_hooks import AnyJob
from prefect_jobs.monitor.metrics import Metrics
from prefect_jobs.monitor.watch import Watch
from prefect_jobs.records import JobRecord, StatusState
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.settings import Settings
from tests.support import draft, eventually

#: More than are marked in one turn.
_JOBS = 600


class Silent(CondorGroup):
    """A scheduler that does not answer for a while, and then has no news."""

    away = True
    asked = 0
    #: By the number of a poll: what happens during it.
    meanwhile: ClassVar[Mapping[int, Callable[[], object]]] = {}

    def poll_followed(
        self, load: Callable[[Sequence[int]], Sequence[AnyJob]], stop: Callable[[], bool] = bool
    ) -> list[tuple[AnyJob, Observation]]:
        Silent.asked += 1
        Silent.meanwhile.get(Silent.asked, list)()
        if Silent.away:
            raise SchedulerConnectionError("It does not answer.")
        return []


@pytest.fixture
def runtime(tmp_path: Path, sqlite_template: Path) -> Iterator[Runtime]:
    """The product's wiring; Prefect is away."""
    shutil.copy(sqlite_template, tmp_path / "jobs.db")
    made = Runtime(Settings(database_url=f"sqlite:///{tmp_path / 'jobs.db'}", poll_interval=0.5))
    yield made
    made.close()


@pytest.fixture
def watch(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """A watch of a scheduler that does not answer."""
    monkeypatch.setattr(registry, "group_type", lambda _: Silent)
    Silent.away, Silent.asked = True, 0
    made = Watch(runtime, "htcondor", "a-pool", lambda *_: None, Metrics())
    yield made
    made.stop()
    assert made.join(20)


def marked(records: Sequence[JobRecord]) -> int:
    """How many say that their scheduler does not answer."""
    return sum(record.noted.unreachable_since is not None for record in records)


def test_a_short_silence_changes_some_jobs_and_keeps_no_poll_waiting(
    runtime: Runtime, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = StatusState(status=statuses.RUNNING)
    job = draft(
        spec={"attributes": {}}, type="CONDOR", class_name="CondorJob", scheduler="a-pool", remote_id="7", state=running
    )
    jobs = runtime.store.insert_all([job] * _JOBS)
    ids = [record.id for record in jobs]
    commits: list[str] = []

    def note(_connection: Any) -> None:
        if (name := threading.current_thread().name).startswith("prefect-jobs-watch"):
            commits.append(name)

    event.listen(runtime.store.database.engine, "commit", note)
    # Another process notes it of one of them while this one asks.
    note_it = polling.silence(SchedulerConnectionError("It does not answer."))
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(
        Silent,
        "meanwhile",
        {
            1: lambda: runtime.store.update(ids[0], note_it),
            2: lambda: seen.append((len(commits), marked(runtime.store.records(ids)))),
        },
    )
    watch.give({record.id: record.version for record in jobs}, ())
    watch.start()

    # when it is silent, some are marked after each poll, fifty in one transaction
    eventually(lambda: seen, "it is asked again", 60)
    written, first = seen[0]
    assert 0 < first <= 501 and written <= 15

    # when it answers again, they say so no longer; a monitor tells of what the other process has written
    other = runtime.store.get(ids[0])
    assert other is not None
    watch.give({other.id: other.version}, ())
    Silent.away = False
    eventually(lambda: marked(runtime.store.records(ids)) == 0, "none says so", 60, interval=1)
    found = runtime.store.records(ids)
    assert {record.state.status for record in found} == {statuses.RUNNING}
    assert not any("No answer" in record.state.status_message for record in found)
