"""Prefect is the picture, not the truth: with it away nothing blocks and nothing is lost."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from prefect_jobs import JobManager
from prefect_jobs.local.prefect_server import PrefectServerInfo
from prefect_jobs.projection.loading import PATIENCE
from prefect_jobs.runtime import lookup
from prefect_jobs.runtime.lookup import Lookup
from prefect_jobs.runtime.wiring import Runtime
from tests.acceptance.conftest import PrefectView, ShellJob
from tests.support import draft, eventually

pytestmark = pytest.mark.prefect

LIMIT = 60
#: Seconds for a call that does not wait for Prefect.
SOON = 1.5


@contextmanager
def frozen(server: PrefectServerInfo) -> Iterator[None]:
    """A server that takes connections and answers nothing, the worst way of being away."""
    listeners = [
        psutil.Process(connection.pid)
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == server.port and connection.pid
    ]
    processes = [child for one in listeners for child in (one, *one.children(recursive=True))]
    assert processes
    try:
        for process in processes:
            os.kill(process.pid, signal.SIGSTOP)
        yield
    finally:
        for process in processes:
            os.kill(process.pid, signal.SIGCONT)


@pytest.mark.alone
def test_no_call_waits_for_prefect_and_the_picture_catches_up(
    manager: JobManager, prefect_server: PrefectServerInfo, prefect_view: PrefectView, runtime: Runtime
) -> None:
    # given one job that Prefect shows already, and a server that stops answering
    known = manager.create_job("known", "alice", job_type="BASIC")
    known.save()
    assert known.flow_run_id
    with frozen(prefect_server):
        # when jobs are made, executed, steered and deleted
        late = manager.create_job("late", "alice", job_type="BASIC")
        for call in (late.save, late.execute, lambda: late.update_status("Running"), late.pause, known.execute):
            began = time.monotonic()
            call()
            assert time.monotonic() - began < SOON
        known.status = "Complete"
        began = time.monotonic()
        gone = manager.create_job("gone", "alice", job_type="BASIC")
        gone.save()
        gone.delete()
        assert manager.list_jobs() and manager.get_job(late.id or 0)
        assert time.monotonic() - began < SOON
        assert late.flow_run_id is None and runtime.store.backlog() == 2
    # then, once it answers, Prefect shows the latest of each, once
    eventually(lambda: runtime.store.backlog() == 0, "nothing is behind", LIMIT)
    late.update_status("Running")
    assert prefect_view.state(late)[0] == "RUNNING"
    assert prefect_view.state(known)[0] == "COMPLETED"
    eventually(lambda: any("Complete" in line for line in prefect_view.logs(known)), "log lines arrive", LIMIT)


def test_a_scheduler_that_was_read_before_is_used_as_it_was_then(
    shell_job: ShellJob, prefect_server: PrefectServerInfo, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell_job("true").execute()
    eventually(lambda: runtime.projector.flush(1) and runtime.projector.away is None, "Prefect shows it", LIMIT)
    monkeypatch.setattr(lookup, "BLOCK_TTL", 0.0)
    monkeypatch.setattr(lookup, "UNASKED", 100.0)
    waited: list[float] = []
    find = Lookup.find

    def noted(self: Lookup, name: str, patience: float = PATIENCE, *, strict: bool = False) -> Any:
        waited.append(patience)
        return find(self, name, patience, strict=strict)

    monkeypatch.setattr(Lookup, "find", noted)
    with frozen(prefect_server):
        for _ in range(3):
            began = time.monotonic()
            shell_job("true").execute()
            assert time.monotonic() - began < 20  # on a busy machine, too
    # A second for an answer, and then none is waited for.
    assert waited == [1.0]


def test_what_a_process_left_behind_is_shown_by_another(
    manager: JobManager, prefect_server: PrefectServerInfo, prefect_view: PrefectView, runtime: Runtime
) -> None:
    # given a job whose process ended while Prefect was away
    with frozen(prefect_server):
        job = manager.create_job("orphan", "alice", job_type="BASIC")
        job.save()
        runtime.projector.close()
    assert runtime.store.backlog() == 1
    # when any other call is made in another process (here: with another projector)
    runtime.projector.sweep()
    # then its face is made
    eventually(lambda: job.flow_run_id, "the run is made", LIMIT)
    assert prefect_view.run(job)["name"] == "orphan"


def test_a_condor_job_runs_to_its_end_while_prefect_is_away(
    shell_job: ShellJob, prefect_server: PrefectServerInfo, prefect_view: PrefectView, runtime: Runtime
) -> None:
    job = shell_job("echo done > out.txt")
    job.execute()
    with frozen(prefect_server):
        assert job.wait(LIMIT) == "Complete"
    eventually(lambda: runtime.store.backlog() == 0, "nothing is behind", LIMIT)
    assert prefect_view.state(job)[0] == "COMPLETED"


def test_two_databases_share_a_server_without_sharing_runs(
    manager: JobManager, runtime: Runtime, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Runtime(
        runtime.settings.model_copy(
            update={"database_url": f"sqlite:///{tmp_path_factory.mktemp('other') / 'jobs.db'}"}
        )
    )
    mine = manager.create_job("same", "alice", job_type="BASIC")
    mine.save()
    theirs = type(mine)(other, draft("same"))
    theirs.save()
    assert theirs.id == mine.id
    assert theirs.flow_run_id and theirs.flow_run_id != mine.flow_run_id
    other.close()
