"""Many jobs at once: few calls, and one job's trouble is no other's."""

import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import httpx
import psutil
import pytest

from prefect_jobs import (
    CondorWorkflow,
    CondorWorkflowJobNode,
    JobManager,
    JobStateError,
    SubmissionError,
    Submitted,
    create_condor_scheduler,
    records,
)
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.condor.engine import CondorEngine
from prefect_jobs.local.processes import LOOPBACK, free_port
from prefect_jobs.monitor import Monitor
from prefect_jobs.projection import work_queue
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.schedulers.condor.client import CondorClient
from tests.acceptance.conftest import PrefectView, ShellJob
from tests.acceptance.test_monitor import running
from tests.forks import Program
from tests.support import eventually

LIMIT = 90


class Told:
    """What the callback was told."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.errors: dict[str, Exception] = {}

    def __call__(self, job: Job, error: Exception | None) -> None:
        self.names.append(job.name)
        if error is not None:
            self.errors[job.name] = error


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The requests of this process to Prefect, by path."""
    found: Counter[str] = Counter()
    send = httpx.HTTPTransport.handle_request

    def handle(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        found[f"{request.method} {request.url.path.rpartition('/')[2]}"] += 1
        return send(self, request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", handle)
    return found


def in_the_queue(client: CondorClient, job: Job) -> int:
    return len(client.query(f'PrefectJobsToken == "{job.handle.record.submission_token}"', ("ClusterId",)))


def test_many_jobs_need_few_calls(
    shell_job: ShellJob,
    manager: JobManager,
    prefect_view: PrefectView,
    runtime: Runtime,
    requests: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # given the deployment is known, and no sweep shows jobs before they are submitted, as on a busy machine
    monkeypatch.setattr(work_queue, "SWEEP", 600.0)
    first = shell_job("true")
    first.save()
    prefect_view.run(first)
    eventually(lambda: runtime.projector.sweep(LIMIT), "the first sweep is over")
    requests.clear()
    lines = ["true", "test $0 = 1", *["sleep 600"] * 53]
    jobs = [shell_job(line, name=f"job {number}", num_jobs=1 + number % 2) for number, line in enumerate(lines)]
    told = Told()
    try:
        # when
        assert manager.execute_jobs(jobs, progress=told) == jobs
        # then each is submitted, is told of in its turn, and has a run that says so
        assert told.names == [job.name for job in jobs] and not told.errors
        assert {job.cached_status for job in jobs} == {"Submitted"}
        assert all(job.remote_id for job in jobs)
        eventually(lambda: runtime.store.backlog() == 0, "Prefect shows them", LIMIT)
        # (where its database is locked, Prefect is asked once more)
        assert requests["POST bulk"] <= 10 and requests["POST create_flow_run"] == 0, requests
        assert requests["POST set_state"] + requests["POST bulk_set_state"] + requests["PATCH labels"] == 0, requests
        assert prefect_view.state(jobs[-1])[:2] == ("PENDING", "Submitted")
        assert prefect_view.run(jobs[-1])["labels"]["prefect-jobs.cluster-id"] == jobs[-1].cluster_id
        # and ends as any other
        with running(Monitor()):
            eventually(
                lambda: [_status(job) for job in jobs[:2]] == ["Complete", "Various-Complete"], "they end", LIMIT
            )
    finally:  # those that sleep would keep the slots from other tests
        for job in jobs[2:]:
            job.engine.clean_up()


def test_each_bad_job_is_told_of_and_keeps_no_other(
    shell_job: ShellJob, manager: JobManager, alice: CondorScheduler
) -> None:
    # given one that HTCondor refuses, one that cannot be described, one that runs, one deleted, one twice, one unsaved
    # that SQL cannot keep, one of another type, and good ones, new and saved
    refused = shell_job("true", name="refused", attributes={"requirements": "(((", "request_memory": "32MB"})
    lacking = shell_job("true", name="lacking", attributes={"executable": "no-such-file", "transfer_executable": True})
    active = shell_job("sleep 300", name="active")
    active.execute()
    deleted = shell_job("true", name="deleted")
    deleted.save()
    manager.get_job(deleted.id or 0).delete()  # type: ignore[union-attr]
    twice = shell_job("true", name="twice")
    odd = shell_job("true", name="odd")
    odd.extended_properties = {"key": object()}
    by_hand = manager.create_job("by hand", "alice", job_type="BASIC")
    workflow = manager.create_job("workflow", "alice", job_type="CONDORWORKFLOW", scheduler=alice)
    assert isinstance(workflow, CondorWorkflow)
    CondorWorkflowJobNode("only", workflow, attributes={"executable": "/bin/true", "transfer_executable": False}).save()
    saved = shell_job("true", name="saved")
    saved.save()
    saved.description = "changed since"
    good = shell_job("true", name="good")
    jobs = [refused, lacking, active, deleted, twice, twice, odd, by_hand, workflow, saved, good]
    told = Told()
    # when
    manager.execute_jobs(jobs, progress=told)
    # then
    assert told.names == [job.name for job in jobs]
    kinds = {name: type(error) for name, error in told.errors.items()}
    assert kinds == {
        "refused": SubmissionError,
        "lacking": SubmissionError,
        "active": JobStateError,
        "deleted": JobStateError,
        "twice": JobStateError,
        "odd": ValueError,
    }
    assert refused.cached_status == lacking.cached_status == "Error" and "no-such-file" in lacking.status_message
    assert odd.id is None
    assert [job.cached_status for job in (by_hand, workflow, saved, good)] == ["Submitted"] * 4
    assert manager.get_job(saved.id or 0).description == "changed since"  # type: ignore[union-attr]
    for job in (active, twice, saved, good):
        assert in_the_queue(alice.get_client(), job) == 1
    active.stop()
    assert [job.wait(LIMIT) for job in (twice, saved, good, workflow)] == ["Complete"] * 4


def test_jobs_of_a_pool_that_is_away_wait_for_another_try(
    manager: JobManager, shell_job: ShellJob, alice: CondorScheduler
) -> None:
    away = create_condor_scheduler("away", LOOPBACK, port=free_port(), token="x.y.z")
    away.save(overwrite=True)
    lost = [shell_job("true", name=f"lost {number}") for number in range(3)]
    for job in lost:
        job.handle.record = replace(job.handle.record, scheduler="away")
    good = shell_job("true", name="good")
    told = Told()
    manager.execute_jobs([*lost, good], progress=told)
    assert told.errors.keys() == {job.name for job in lost}
    assert all("Not submitted" in job.status_message and job.cached_status == "Pending" for job in lost)
    assert good.wait(LIMIT) == "Complete"


def test_killed_in_the_middle_nothing_is_submitted_twice(
    shell_job: ShellJob, runtime: Runtime, manager: JobManager, alice: CondorScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a process that submits many jobs, and is killed when the first ones are in the queue
    jobs = [shell_job("true", name=f"job {number}") for number in range(30)]
    for job in jobs:
        job.save()
    script = """
import os
from prefect_jobs import App
class A(App):
    name = package = "test_app"
manager = A.get_job_manager()
jobs = manager.list_jobs()
print("ready", flush=True)
manager.execute_jobs(jobs)
"""
    process = Program(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    client = alice.get_client()
    ids = [job.id or 0 for job in jobs]
    try:
        eventually(lambda: _queued(client, runtime, ids) > 3, "some are in the queue", LIMIT, 0.02)
    finally:
        helpers = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGKILL)
        process.communicate()
    # Its helpers end by themselves and take back what they have not sent whole: long before GRACE, which is 0 below.
    eventually(lambda: not any(helper.is_running() for helper in helpers), "its helpers have ended", LIMIT)
    assert _queued(client, runtime, ids) < len(jobs), "it was killed in the middle"
    # when somebody looks for them, and executes again what was not submitted
    monkeypatch.setattr(records, "GRACE", timedelta(0))
    mine = [one for one in manager.list_jobs() if one.id in ids]
    again = [one for one in mine if one.status == "Pending"]
    told = Told()
    manager.execute_jobs(again, progress=told)
    # then
    assert not told.errors
    assert {one.wait(LIMIT) for one in mine} == {"Complete"}
    assert [in_the_history(client, one) for one in mine] == [1] * len(mine)


def test_ctrl_c_leaves_what_can_be_found_again(
    shell_job: ShellJob, manager: JobManager, alice: CondorScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [shell_job("true", name=f"job {number}") for number in range(3)]

    def press(cls: type[CondorEngine], engines: list[CondorEngine]) -> None:
        engines[0].submit()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(CondorEngine, "submit_many", classmethod(press))
        manager.execute_jobs(jobs)
    fresh = [one for one in manager.list_jobs() if one.id in {job.id for job in jobs}]
    assert [one.handle.record.submitting_since for one in fresh] == [None] * 3
    manager.execute_jobs(fresh)
    assert [one.wait(LIMIT) for one in fresh] == ["Complete"] * 3
    client = alice.get_client()
    assert [in_the_history(client, one) for one in fresh] == [1] * 3


class Plugged(Job):
    """A type that knows no way to submit many at once, and none to find what was submitted."""

    def _execute(self) -> Submitted:
        if self.name == "third":
            raise KeyboardInterrupt
        return Submitted(self.name)


def test_types_that_submit_one_by_one_are_noted_one_by_one(manager: JobManager) -> None:
    jobs = [manager.create_job(name, "alice", job_type=Plugged) for name in ("first", "second", "third", "fourth")]
    told = Told()
    with pytest.raises(KeyboardInterrupt):
        manager.execute_jobs(jobs, progress=told)
    assert told.names == ["first", "second"]
    assert [(job.name, job.remote_id) for job in manager.list_jobs()] == [
        ("first", "first"),
        ("second", "second"),
        ("third", None),
    ]


def test_an_error_of_this_machine_is_told_of_each(
    shell_job: ShellJob, manager: JobManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [shell_job("true", name=f"job {number}") for number in range(2)]

    def full(cls: type[CondorEngine], engines: list[CondorEngine]) -> None:
        raise OSError("No space left on device")

    told = Told()
    with monkeypatch.context() as patched:
        patched.setattr(CondorEngine, "submit_many", classmethod(full))
        manager.execute_jobs(jobs, progress=told)
    assert told.errors.keys() == {"job 0", "job 1"}
    assert all("No space left" in job.status_message and job.cached_status == "Error" for job in jobs)


def in_the_history(client: CondorClient, job: Job) -> int:
    return len(client.history(f'PrefectJobsToken == "{job.handle.record.submission_token}"', ("ClusterId",)))


def _queued(client: CondorClient, runtime: Runtime, ids: list[int]) -> int:
    tokens = [str(record.submission_token) for record in runtime.store.records(ids) if record.submission_token]
    which = f'stringListMember(PrefectJobsToken, "{",".join(tokens)}")'
    return len(client.query(which, ("ClusterId",))) if tokens else 0


def _status(job: Job) -> str:
    record = job.handle.backend.jobs.get(job.handle.record.id)
    assert record is not None
    return record.state.status
