"""Retry in Prefect: one submission for each press, with workers and monitors there, and whoever is killed."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from prefect.states import Pending

from prefect_jobs import CondorWorkflow, JobManager, create_condor_scheduler, statuses
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.flows.basic_job import basic_job
from prefect_jobs.jobs.base import Job
from prefect_jobs.monitor import Monitor
from prefect_jobs.monitor.retries import Retries
from prefect_jobs.monitor.thread_apis import ThreadApis
from prefect_jobs.projection.prefect_api import PrefectApi, RunSeen
from prefect_jobs.records import Change, StatusState
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.settings import get_settings
from tests.acceptance.conftest import PrefectView
from tests.acceptance.test_monitor import becomes, known, running
from tests.acceptance.workflows import node, workflow_of
from tests.forks import Program
from tests.support import eventually

pytestmark = pytest.mark.prefect

LIMIT = 180
QUICK = {"executable": "/bin/true", "transfer_executable": False, "request_memory": "32MB"}


@contextmanager
def a_worker(folder: Path) -> Iterator[None]:
    """A process worker that looks for runs every second."""
    command = [
        sys.executable,
        "-m",
        "prefect",
        "worker",
        "start",
        "--pool",
        "processes",
        "--type",
        "process",
        "--limit",
        "2",
    ]
    log = folder / "worker.log"
    with log.open("wb") as out:
        process = Program(
            command, cwd=folder, env={**os.environ, "PREFECT_WORKER_QUERY_SECONDS": "1"}, stdout=out, stderr=out
        )
        try:
            eventually(lambda: b"started" in log.read_bytes(), "the worker has started", LIMIT)
            yield
        finally:
            _end(process)


@pytest.fixture
def apis() -> Iterator[ThreadApis]:
    """The client of this thread, as the monitor has one."""
    found = ThreadApis()
    yield found
    found.close()


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends a worker, which has nothing left to do, and whatever it has started."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in family:
        with suppress(psutil.NoSuchProcess):
            child.kill()


def press_retry(view: PrefectView, job: Job) -> None:
    """What the button of Prefect's UI does."""
    state = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"}
    answer = view.post(f"/flow_runs/{job.flow_run_id}/set_state", {"state": state, "force": True})
    assert answer["status"] == "ACCEPT"


def state_of(view: PrefectView, job: Job) -> dict[str, Any]:
    found: dict[str, Any] = view.get(f"/flow_runs/{job.flow_run_id}")["state"]
    return found


def test_a_press_is_one_submission_with_a_monitor_and_a_worker(
    manager: JobManager,
    alice: CondorScheduler,
    prefect_view: PrefectView,
    process_pool: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # given ten jobs that are over, a monitor and a worker
    monkeypatch.setenv("PREFECT_JOBS_POLL_INTERVAL", "1")
    get_settings.cache_clear()
    workflow: CondorWorkflow = workflow_of(manager, alice, "a workflow")
    node(workflow, "only", "true")
    jobs: list[Job] = [workflow]
    for number in range(9):
        jobs.append(manager.create_job(f"job {number}", "alice", job_type="CONDOR", scheduler=alice, attributes=QUICK))
    manager.execute_jobs(jobs)
    for deployment in {prefect_view.run(job)["deployment_id"] for job in jobs}:
        process_pool(deployment)
    with running(Monitor()), a_worker(tmp_path):
        _press_all(prefect_view, jobs, 2)
        _press_all(prefect_view, jobs, 3)
        _all_shown_complete(prefect_view, jobs)
        # (what a worker was offered too late would be executed now)
        eventually(lambda: not _at_work(prefect_view, jobs), "the worker has nothing left to do", LIMIT)
    assert [known(job).state.attempt for job in jobs] == [3] * len(jobs)
    bad = {f"{job.id} {state}" for job in jobs for state in prefect_view.states(job) if state in ("Failed", "Crashed")}
    assert not bad


def _press_all(view: PrefectView, jobs: list[Job], attempt: int) -> None:
    _all_shown_complete(view, jobs)
    for job in jobs:
        press_retry(view, job)
    for job in jobs:
        eventually(partial(_attempts, job, attempt), f"{job} is submitted again", LIMIT)


def _all_shown_complete(view: PrefectView, jobs: list[Job]) -> None:
    for job in jobs:
        becomes(job, "Complete")
        eventually(partial(_completed, view, job), f"Prefect shows {job} so", LIMIT)


def _attempts(job: Job, attempt: int) -> bool:
    return bool(known(job).state.attempt >= attempt)


def _completed(view: PrefectView, job: Job) -> bool:
    return bool(state_of(view, job)["type"] == "COMPLETED")


def _at_work(view: PrefectView, jobs: list[Job]) -> list[Any]:
    states = {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING"]}}
    runs = {"id": {"any_": [job.flow_run_id for job in jobs]}}
    found: list[Any] = view.post("/flow_runs/filter", {"flow_runs": {"state": states, **runs}})
    return found


@pytest.fixture
def over(manager: JobManager, prefect_view: PrefectView) -> Job:
    """A job that is over, and that Prefect shows so."""
    job = manager.create_job("over", "alice", job_type="BASIC")
    job.execute()
    job.status = "Complete"
    assert prefect_view.state(job)[0] == "COMPLETED"
    return job


def seen(view: PrefectView, job: Job) -> RunSeen:
    """The job's run as the monitor's look finds it."""
    return RunSeen.of(view.get(f"/flow_runs/{job.flow_run_id}"))


def test_a_retry_that_a_worker_has_claimed_is_left_to_it(
    over: Job, runtime: Runtime, prefect_view: PrefectView, apis: ThreadApis
) -> None:
    # given a press that the monitor has seen, and that a worker claims before it acts
    press_retry(prefect_view, over)
    run = seen(prefect_view, over)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(over.flow_run_id or ""), Pending())
    claimed = state_of(prefect_view, over)
    # then
    assert Retries(runtime, apis).act(over, run)
    assert known(over).state.attempt == 1 and not known(over).behind
    assert state_of(prefect_view, over)["id"] == claimed["id"]
    assert not runtime.store.ended_leases("prefect-retry:")


@pytest.mark.parametrize("claimed", [True, False])
def test_a_monitor_that_is_killed_after_its_claim(
    over: Job, runtime: Runtime, prefect_view: PrefectView, claimed: bool
) -> None:
    # given what a monitor leaves that is killed before the job is submitted
    press_retry(prefect_view, over)
    owner = uuid.uuid4().hex
    assert runtime.store.claim_lease(f"prefect-retry:{over.id}:1", owner, -1)
    if claimed:
        api = PrefectApi()
        assert api.claim_retry(over.flow_run_id or "", owner)
        api.close()
    # when the next one comes
    with running(Monitor()):
        # then
        eventually(lambda: known(over).state.attempt == 2, "it is submitted again", LIMIT)
        eventually(lambda: state_of(prefect_view, over)["name"] == "Submitted", "Prefect shows it", LIMIT)
    assert known(over).state.attempt == 2
    assert not runtime.store.ended_leases("")


def test_a_monitor_that_is_killed_before_anything_is_submitted(over: Job, runtime: Runtime) -> None:
    # given a job whose second attempt was intended, and that was found not to be submitted
    runtime.store.claim_lease(f"prefect-retry:{over.id}:1", uuid.uuid4().hex, -1)
    over.handle.backend.jobs.update(
        over.handle.record.id, lambda fresh: Change({"state": StatusState(attempt=2), "submission_token": None})
    )
    # then
    with running(Monitor()):
        eventually(lambda: known(over).state.status == "Submitted", "it is submitted", LIMIT)
    assert known(over).state.attempt == 3


def test_a_run_that_a_worker_gets_too_late_submits_nothing(over: Job, prefect_view: PrefectView) -> None:
    # given a worker that was offered the run before the monitor acted, and claims it after the job is over again
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(over.flow_run_id or ""), Pending())
        run = client.read_flow_run(UUID(over.flow_run_id or ""))
    # when it is executed
    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}):
        result: Any = run_flow(basic_job, flow_run=run, parameters={"name": "over", "app": "test_app"})
    # then
    assert result["status"] == "Complete" and known(over).state.attempt == 1
    assert state_of(prefect_view, over)["type"] == "COMPLETED"
    # when Retry is pressed, it is submitted
    press_retry(prefect_view, over)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(over.flow_run_id or ""), Pending())
        run = client.read_flow_run(UUID(over.flow_run_id or ""))
    with temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}), pytest.raises(TimeoutError):
        run_flow(basic_job, flow_run=run, parameters={"name": "over", "app": "test_app", "timeout": 1})
    assert known(over).state.attempt == 2 and known(over).engine_run
    # when it is pressed again, and the worker is gone
    press_retry(prefect_view, over)
    with running(Monitor()):
        # then the monitor acts on it
        eventually(lambda: known(over).state.attempt == 3, "it is submitted again", LIMIT)
        eventually(lambda: state_of(prefect_view, over)["name"] == "Submitted", "Prefect shows it", LIMIT)
    assert not known(over).engine_run


def test_a_retry_whose_flow_run_is_deleted_leaves_nothing_behind(over: Job, runtime: Runtime, apis: ThreadApis) -> None:
    # given a retry whose monitor was killed, and its run deleted
    name, owner = f"prefect-retry:{over.id}:1", uuid.uuid4().hex
    runtime.store.claim_lease(name, owner, -1)
    with get_client(sync_client=True) as client:
        client.delete_flow_run(UUID(over.flow_run_id or ""))
    # when
    Retries(runtime, apis).go_on(over.id or 0, name, owner)
    # then
    assert known(over).state.attempt == 1
    assert runtime.store.claim_lease(name, uuid.uuid4().hex, 1)


def test_the_scheduler_of_a_retry_is_gone(
    manager: JobManager, runtime: Runtime, prefect_view: PrefectView, apis: ThreadApis
) -> None:
    # given a job that is over, and whose scheduler was deleted
    create_condor_scheduler("going", "127.0.0.1").save(overwrite=True)
    job = manager.create_job("x", "alice", job_type="CONDOR", scheduler="going", attributes=QUICK)
    job.save()
    state = StatusState("COM", "Complete", statuses.BY_CODE["COM"].kind.encode(), attempt=1)
    job.handle.backend.jobs.update(job.handle.record.id, lambda fresh: Change({"state": state}))
    CondorScheduler.delete("going")
    runtime.prefect.lookup._blocks.clear()  # as it is in a process of its own
    # when
    press_retry(prefect_view, job)
    assert Retries(runtime, apis).act(job, seen(prefect_view, job))
    # then the answer says so
    assert any("no scheduler 'going'" in message.text for message in runtime.jobs.messages(job.handle.record.id))
    assert not runtime.store.ended_leases("prefect-retry:")
