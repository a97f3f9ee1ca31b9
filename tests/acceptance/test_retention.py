"""PREFECT_JOBS_RETENTION: old jobs go with their runs; files and what is at a scheduler stay."""

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import cloudpickle
import pytest
from dask.delayed import delayed

from prefect_jobs import Job, JobManager, clock
from prefect_jobs.blocks import CondorScheduler, DaskScheduler
from prefect_jobs.local.prefect_server import PrefectServerInfo
from prefect_jobs.monitor import Monitor, cleaning
from prefect_jobs.monitor.metrics import Metrics
from prefect_jobs.monitor.retention import Retention
from prefect_jobs.records import StatusState
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.settings import get_settings
from tests.acceptance.conftest import DaskJobs, PrefectView, ShellJob, dask_block
from tests.acceptance.test_dask_faults import submitted
from tests.acceptance.test_monitor import known, running
from tests.acceptance.test_prefect_away import frozen
from tests.dask_cluster import DaskCluster
from tests.support import draft, eventually, log_lines

#: Of connections that were being made when a scheduler was frozen, Dask leaves sockets to the collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
# The workers need not have this module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
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
        ({"native": {"in_queue": True}, "remote_id": "1"}, False),
        ({"native": {"in_queue": True, "foreign": True}, "remote_id": "1"}, False),
        ({"native": {"in_queue": True, "host": "elsewhere"}, "remote_id": "1", "scheduler": None}, False),
        ({"native": {"in_queue": True, "released": True}}, True),
        ({"submission_token": "a token"}, False),
        ({"submission_token": "a token", "remote_id": "1"}, True),
        ({"native": {"result": {"where": "prefect", "storage": "folder:/proc", "path": "version"}}}, False),
    ],
)
def test_a_job_that_may_have_left_something_stays(runtime: Runtime, values: dict[str, Any], goes: bool) -> None:
    # given: a scheduler that does not exist: what is left there cannot be removed
    stored = runtime.store.insert(draft(**{"state": OVER, "type": "CONDOR", "scheduler": "nowhere", **values}))
    metrics = Metrics()
    # when
    Retention(runtime, HOUR, metrics).round()
    # then
    assert (runtime.store.get(stored.id) is None) is goes
    assert removed(metrics) == int(goes)


@pytest.mark.parametrize(
    ("native", "observed", "why"),
    [
        ({"foreign": True}, "Complete", "its work was submitted without us, and a part of it is at the scheduler"),
        ({"host": "elsewhere"}, "Complete", "a part of its work is at the local scheduler of elsewhere. Delete it"),
        ({}, "Running", "its status was set by hand, and its work may still run. Delete it"),
        ({}, "Results-Ready", "its outputs were not processed, and may be at its scheduler alone. Delete it"),
        ({"retrieved": True}, "Results-Ready", "stays until what it has left can be removed"),
    ],
)  # fmt: skip
def test_the_log_says_once_why_a_job_stays(runtime: Runtime, native: dict[str, Any], observed: str, why: str) -> None:
    # given: a scheduler that does not exist
    state, left = replace(OVER, observed_status=observed), {"in_queue": True, **native}
    stored = runtime.store.insert(
        draft(state=state, type="CONDOR", scheduler="nowhere", remote_id="1", native=left, name="old")
    )
    retention = Retention(runtime, HOUR, Metrics())
    # when
    with log_lines("prefect_jobs") as lines:
        retention.round()
        retention.round()
    # then
    told = [line for line in lines if f"Job {stored.id} ('old')" in line]
    assert len(told) == 1 and why in told[0] and runtime.store.get(stored.id) is not None


def test_work_whose_end_a_person_has_said_is_not_ended(
    runtime: Runtime, shell_job: ShellJob, alice: CondorScheduler
) -> None:
    # given
    job = shell_job("sleep 300")
    job.execute()
    job.status = "Complete"
    # when
    Retention(runtime, timedelta(microseconds=1), Metrics()).round()
    # then
    assert known(job) is not None
    assert alice.get_client().query(f"ClusterId == {job.remote_id} && JobStatus =!= 3", ("ProcId",))
    # when the person deletes it
    job.delete()
    assert not alice.get_client().query(f"ClusterId == {job.remote_id} && JobStatus =!= 3", ("ProcId",))


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


def bad() -> None:
    raise ValueError("no water")


def test_what_a_dask_job_has_left_is_removed_before_it(
    dask_job: DaskJobs, dask: DaskScheduler, runtime: Runtime
) -> None:
    # given
    failed, stopped = dask_job(), dask_job()
    failed.execute(delayed(bad)())
    stopped.execute(delayed(time.sleep)(5))
    stopped.stop()
    assert failed.wait(LIMIT) == "Error"
    token = failed.handle.token
    assert any(token in name for name in dask.client.list_datasets())
    # when
    Retention(runtime, timedelta(microseconds=1), Metrics()).round()
    # then
    assert known(failed) is None and known(stopped) is None
    assert not any(token in name for name in dask.client.list_datasets())


def test_a_scheduler_that_is_away_delays_its_own_jobs_alone(
    dask_job: DaskJobs, own_cluster: DaskCluster, runtime: Runtime
) -> None:
    # given
    own_cluster.start(1)
    block = dask_block(own_cluster, "often-away", 5)
    waits, other = dask_job("left", scheduler=block), dask_job()
    for job in (waits, other):
        submitted(job, delayed(bad)())
        assert job.wait(LIMIT) == "Error"
    retention = Retention(runtime, timedelta(microseconds=1), Metrics())
    # when
    with own_cluster.frozen_scheduler(), log_lines("prefect_jobs") as lines:
        retention.round()
        retention.round()
        # then
        assert known(waits) is not None and known(other) is None
    (line,) = [line for line in lines if "is old" in line]
    assert f"job {waits.id} ('left')" in line.lower()
    # and when it answers again
    eventually(lambda: gone_after_a_round(retention, waits), "it is removed", LIMIT)
    block.close()


def gone_after_a_round(retention: Retention, job: Job) -> bool:
    retention.round()
    return known(job) is None


class Remote(Job):
    """A type whose work leaves a folder at its service."""

    spec_defaults: ClassVar[Mapping[str, Any]] = {"folder": ""}

    def _clean_up(self) -> None:
        Path(self.spec["folder"]).rmdir()


def test_the_clean_up_of_a_type_comes_before_the_job_goes(
    manager: JobManager, runtime: Runtime, tmp_path: Path
) -> None:
    # given
    jobs = [manager.create_job(name, "alice", job_type=Remote, folder=str(tmp_path / name)) for name in ("bad", "good")]
    for job in jobs:
        (tmp_path / job.name).mkdir()
        job.save()
        job.update_status("Error")
    (tmp_path / "bad" / "file").touch()
    bad, good = jobs
    retention = Retention(runtime, timedelta(microseconds=1), Metrics())
    # when
    with log_lines("prefect_jobs") as lines:
        retention.round()
        retention.round()
    # then
    assert known(good) is None and not (tmp_path / "good").exists()
    assert known(bad) is not None and (tmp_path / "bad").exists()
    (line,) = [line for line in lines if "_clean_up" in line]
    assert f"Job {bad.id} ('bad')" in line
    # and when nothing is in its way
    (tmp_path / "bad" / "file").unlink()
    retention.round()
    # then
    assert known(bad) is None and not (tmp_path / "bad").exists()


def test_jobs_that_wait_for_one_whose_clean_up_fails_slowly_have_their_turn(
    manager: JobManager, runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given two jobs, of which the first one uses up the time of each round
    monkeypatch.setattr(cleaning, "PATIENCE", 0.0)
    bad, good = (manager.create_job(name, "alice", job_type=Remote, folder=str(tmp_path / name)) for name in "ab")
    (tmp_path / "b").mkdir()
    for job in (bad, good):
        job.save()
        job.update_status("Error")
    retention = Retention(runtime, timedelta(microseconds=1), Metrics())
    # when
    retention.round()
    assert known(good) is not None
    retention.round()
    # then
    assert known(good) is None and known(bad) is not None
    # and when the first one can be cleaned up, too
    (tmp_path / "a").mkdir()
    retention.round()
    assert known(bad) is None


def test_jobs_of_a_type_that_is_not_known_here_stay(runtime: Runtime) -> None:
    # given
    unknown = [runtime.store.insert(draft(state=OVER, type="TEA")) for _ in range(2)]
    other = runtime.store.insert(draft(state=OVER))
    retention = Retention(runtime, HOUR, Metrics())
    # when
    with log_lines("prefect_jobs") as lines:
        retention.round()
        retention.round()
    # then
    assert all(runtime.store.get(job.id) for job in unknown) and runtime.store.get(other.id) is None
    assert len([line for line in lines if "'TEA'" in line]) == 1
