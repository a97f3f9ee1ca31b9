"""PREFECT_JOBS_RETENTION: old jobs go with their runs; files and what is at a scheduler stay."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from prefect_jobs import JobManager, clock
from prefect_jobs.local.prefect_server import PrefectServerInfo
from prefect_jobs.monitor import Monitor
from prefect_jobs.monitor.metrics import Metrics
from prefect_jobs.monitor.retention import Retention
from prefect_jobs.records import StatusState
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.settings import get_settings
from tests.acceptance.conftest import PrefectView, ShellJob
from tests.acceptance.test_monitor import known, running
from tests.acceptance.test_prefect_away import frozen
from tests.support import draft, eventually

LIMIT = 60
HOUR = timedelta(hours=1)
OVER = StatusState(
    status_code="COM", status="Complete", status_class="t:COMPLETED", attempt=1, completion_time=clock.now() - 2 * HOUR
)


def removed(metrics: Metrics) -> float | None:
    """What Prometheus reads."""
    return metrics.registry.get_sample_value("prefect_jobs_removed_total")


def test_the_monitor_removes_a_job_with_its_run_and_leaves_its_files(
    manager: JobManager, shell_job: ShellJob, prefect_view: PrefectView, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    monkeypatch.setenv("PREFECT_JOBS_RETENTION", "1s")
    get_settings.cache_clear()
    active = manager.create_job("active", "alice", job_type="BASIC")
    active.save()
    job = shell_job("echo hello", attributes={"output": "out.txt"})
    # when
    job.execute()
    run = job.flow_run_id
    assert run is not None
    with running(Monitor()) as monitor:
        eventually(lambda: known(job) is None, "it is removed", LIMIT)
        # then
        eventually(lambda: not prefect_view.exists(run), "its run is deleted", LIMIT)
        assert removed(monitor.metrics) == 1
    assert (Path(job.initial_dir) / "out.txt").read_text() == "hello\n"
    assert known(active) is not None and prefect_view.exists(str(active.flow_run_id))


def test_while_prefect_is_away_jobs_go_and_their_runs_later(
    manager: JobManager, runtime: Runtime, prefect_server: PrefectServerInfo, prefect_view: PrefectView
) -> None:
    # given
    job = manager.create_job("over", "alice", job_type="BASIC")
    job.save()
    job.update_status("Complete")
    prefect_view.run(job)
    run = str(job.flow_run_id)
    # when
    with frozen(prefect_server):
        Retention(runtime, timedelta(microseconds=1), Metrics()).round()
        # then
        assert known(job) is None and runtime.store.run_deletions() == [run]
    eventually(lambda: not prefect_view.exists(run) and not runtime.store.run_deletions(), "its run is deleted", LIMIT)


@pytest.mark.parametrize(
    ("values", "goes"),
    [
        ({}, True),
        ({"native": {"in_queue": True}}, False),
        ({"native": {"in_queue": True, "released": True}}, True),
        ({"submission_token": "a token"}, False),
        ({"submission_token": "a token", "remote_id": "1"}, True),
        ({"native": {"result": {"where": "prefect", "storage": "folder:/proc", "path": "version"}}}, False),
    ],
)
def test_a_job_that_may_have_left_something_stays(runtime: Runtime, values: dict[str, Any], goes: bool) -> None:
    # given: a scheduler that does not exist: asking it would fail
    stored = runtime.store.insert(draft(state=OVER, type="CONDOR", scheduler="nowhere", **values))
    metrics = Metrics()
    # when
    Retention(runtime, HOUR, metrics).round()
    # then
    assert (runtime.store.get(stored.id) is None) is goes
    assert removed(metrics) == int(goes)


def test_a_result_in_a_folder_is_removed(runtime: Runtime, tmp_path: Path) -> None:
    # given
    (tmp_path / "result").write_bytes(b"large")
    place = {"where": "prefect", "storage": f"folder:{tmp_path}", "path": "result"}
    stored = runtime.store.insert(draft(state=OVER, native={"result": place}))
    # when
    Retention(runtime, HOUR, Metrics()).round()
    # then
    assert runtime.store.get(stored.id) is None
    assert not (tmp_path / "result").exists()
