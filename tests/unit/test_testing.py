"""Fake schedulers, for the tests of apps: jobs that end as told."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dask.delayed import delayed

from prefect_jobs import (
    App,
    CondorJob,
    CondorWorkflow,
    CondorWorkflowJobNode,
    DaskJob,
    Job,
    JobManager,
    SchedulerConnectionError,
    SchedulerSetting,
    SubmissionError,
)
from prefect_jobs.testing import FakeSchedulers, fake_schedulers


class Hydrology(App):
    """An app."""

    name = "Hydrology"
    package = "hydrology"

    def scheduler_settings(self) -> list[SchedulerSetting]:
        """A pool and a cluster."""
        return [SchedulerSetting("pool", required=True), SchedulerSetting("cluster", SchedulerSetting.DASK)]


@pytest.fixture
def schedulers() -> Iterator[FakeSchedulers]:
    """What the tests tell."""
    with fake_schedulers() as made:
        yield made


@pytest.fixture
def manager(schedulers: FakeSchedulers) -> JobManager:
    """The jobs of the app."""
    return Hydrology.get_job_manager()


def flood(manager: JobManager, **more: Any) -> CondorJob:
    attributes = {"executable": "/bin/true", "transfer_executable": False}
    job = manager.create_job(
        "flood", "alice", job_type="CONDOR", scheduler=Hydrology.get_scheduler("pool"), attributes=attributes, **more
    )
    assert isinstance(job, CondorJob)
    return job


def diamond(manager: JobManager) -> CondorWorkflow:
    job = manager.create_job("diamond", "alice", job_type="CONDORWORKFLOW")
    assert isinstance(job, CondorWorkflow)
    nodes = {}
    for name, parents in (("a", ()), ("b", ("a",)), ("c", ("a",)), ("d", ("b", "c"))):
        nodes[name] = CondorWorkflowJobNode(name, job, attributes={"executable": "/bin/true"})
        for parent in parents:
            nodes[name].add_parent(nodes[parent])
        nodes[name].save()
    return job


# -- CONDOR ----------------------------------------------------------------------------------------------------


def test_a_job_is_what_the_test_tells(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = flood(manager)
    job.execute()
    assert (job.status, job.statuses["Idle"]) == ("Submitted", 1)

    schedulers.run(job)
    assert (job.status, job.statuses["Running"], job.start_time is not None) == ("Running", 1, True)

    schedulers.finish(job, outputs={"depth/map.csv": "1,2\n"}, stdout="hello\n")
    assert (job.status, job.exit_codes) == ("Complete", {0: 0})
    assert (Path(job.initial_dir) / "depth/map.csv").read_text() == "1,2\n"
    assert job.get_logs()["output"] == "hello\n"


def test_it_is_what_other_objects_and_lists_see(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = flood(manager)
    job.execute()
    schedulers.finish(job)
    assert job.id is not None

    other = manager.get_job(job.id)

    assert other is not None and other.status == "Complete" and isinstance(other, CondorJob)
    assert [found.id for found in manager.list_jobs(filters={"status": "Complete"})] == [job.id]


def test_an_exit_code_counts(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = flood(manager)
    job.execute()

    schedulers.fail(job, "no rain")

    assert (job.status, job.status_message) == ("Error", "Exit code 1.")
    assert job.get_logs()["error"] == "no rain\n"


def test_processes_may_differ(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = flood(manager, num_jobs=3)
    job.execute()

    schedulers.run(job, process=0)
    assert job.status == "Various"
    schedulers.finish(job, process=0)
    schedulers.finish(job, process=1)
    schedulers.finish(job, process=2, exit_code=3)

    assert job.status == "Various-Complete" and job.exit_codes == {0: 0, 1: 0, 2: 3}


def test_a_held_job_says_why_and_goes_on(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = flood(manager)
    job.execute()

    schedulers.hold(job, "memory usage exceeded request_memory", code=34)
    assert job.status == "Held"
    assert "memory usage" in job.status_message and "request_memory" in job.status_message
    job.resume()
    assert job.status == "Submitted"

    job.pause()
    assert job.status == "Paused"
    job.resume()
    schedulers.finish(job)
    assert job.wait(5) == "Complete"


def test_a_job_that_is_held_for_too_long_is_given_up() -> None:
    with fake_schedulers(held_timeout=0.001) as schedulers:
        job = flood(Hydrology.get_job_manager())
        job.execute()
        schedulers.hold(job, "no such file")
        job.update_status()

        assert job.wait(5) == "Error" and "held for longer than" in job.status_message


def test_stopped_and_removed_jobs_are_aborted(manager: JobManager, schedulers: FakeSchedulers) -> None:
    stopped, removed = flood(manager), flood(manager)
    stopped.execute()
    removed.execute()

    stopped.stop()
    schedulers.remove(removed, "the pool is closed")

    assert (stopped.status, stopped.status_message) == ("Aborted", "Stopped.")
    assert removed.status == "Aborted" and "the pool is closed" in removed.status_message


def test_a_scheduler_that_is_away_is_no_failure(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job, later = flood(manager), flood(manager)
    job.execute()

    with schedulers.away("It is being repaired."):
        assert job.status == "Submitted" and "It is being repaired." in job.status_message
        with pytest.raises(SchedulerConnectionError):
            job.stop()
        with pytest.raises(SubmissionError):
            later.execute()
    assert later.cached_status == "Pending"
    later.execute()
    schedulers.finish(job)
    assert (job.status, later.status) == ("Complete", "Submitted")


def test_a_refusal_is_an_error_with_the_cause(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = flood(manager)

    with schedulers.refusing("the queue is full"), pytest.raises(SubmissionError, match="the queue is full"):
        job.execute()

    assert job.cached_status == "Error" and "the queue is full" in job.status_message


def test_what_is_wrong_with_a_job_is_found_as_ever(manager: JobManager) -> None:
    job = flood(manager, remote_input_files=["/nowhere/rain.csv"])

    with pytest.raises(SubmissionError, match=r"rain\.csv"):
        job.execute()


def test_a_job_is_resubmitted(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = flood(manager)
    job.execute()
    first = job.cluster_id
    schedulers.fail(job)
    assert job.status == "Error"

    job.resubmit()

    assert job.status == "Submitted" and job.cluster_id != first
    assert schedulers.submissions == [job.id, job.id]
    schedulers.finish(job)
    assert job.status == "Complete"


def test_many_jobs_at_once(manager: JobManager, schedulers: FakeSchedulers) -> None:
    jobs = [flood(manager) for _ in range(5)]

    manager.execute_jobs(jobs)

    assert [job.status for job in jobs] == ["Submitted"] * 5
    assert schedulers.submissions == [job.id for job in jobs]


def test_a_waiting_thread_sees_the_end(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = flood(manager)
    job.execute()
    timer = threading.Timer(0.2, schedulers.finish, [job])
    timer.start()

    assert job.wait(10) == "Complete"
    timer.join()


async def _complete(job: Job) -> str:
    await job.aexecute()
    return await job.await_completion(10)


def test_async_twins() -> None:
    import asyncio

    with fake_schedulers(outcome="Complete"):
        assert asyncio.run(_complete(flood(Hydrology.get_job_manager()))) == "Complete"


@pytest.mark.parametrize("outcome", ["Complete", "Error"])
def test_every_job_ends_alike_if_the_test_says_so(outcome: str) -> None:
    with fake_schedulers(outcome=outcome):
        manager = Hydrology.get_job_manager()
        jobs = [flood(manager), diamond(manager)]
        for job in jobs:
            job.execute()

        assert [job.wait(5) for job in jobs] == [outcome, outcome]


def test_another_outcome_is_refused() -> None:
    with pytest.raises(ValueError, match="'Complete', 'Error' or None, not 'Done'"), fake_schedulers(outcome="Done"):
        pass


# -- workflows -------------------------------------------------------------------------------------------------


def test_nodes_of_a_workflow_are_told_one_by_one(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = diamond(manager)
    job.execute()
    assert job.status == "Submitted"

    schedulers.run(job)
    assert job.status == "Various"
    assert job.node_statuses == {"a": "Running", "b": "Pending", "c": "Pending", "d": "Pending"}
    schedulers.finish(job, node="a")
    schedulers.run(job)
    assert job.status == "Various"
    assert job.node_statuses == {"a": "Complete", "b": "Running", "c": "Running", "d": "Pending"}
    for node in "bcd":
        schedulers.finish(job, node=node)

    assert job.status == "Complete" and set(job.node_statuses.values()) == {"Complete"}


def test_a_node_that_fails_ends_the_workflow_and_it_goes_on_from_there(
    manager: JobManager, schedulers: FakeSchedulers
) -> None:
    job = diamond(manager)
    job.execute()
    schedulers.finish(job, node="a")
    schedulers.finish(job, node="b")
    schedulers.fail(job, "no rain", node="c")

    assert job.status == "Various-Complete"
    assert job.status_message.startswith("Failed: c: Exit code 1. 2 of 4 nodes are done.")
    assert job.node_statuses == {"a": "Complete", "b": "Complete", "c": "Error", "d": "Pending"}
    logs = job.get_logs()
    assert (logs["c"]["error"](), logs["c"]["output"](), logs["d"]["error"]()) == ("no rain\n", "", "")
    assert logs["the workflow"] == {}
    job.resubmit()
    assert job.status == "Submitted"
    schedulers.finish(job)
    assert job.status == "Complete" and set(job.node_statuses.values()) == {"Complete"}


def test_nodes_after_one_that_failed_are_never_run(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = diamond(manager)
    job.execute()
    with pytest.raises(ValueError, match=r"'d' of .* cannot begin before b, c is done"):
        schedulers.finish(job, node="d")
    schedulers.finish(job, node="a")
    schedulers.fail(job, node="b")

    schedulers.finish(job)

    assert job.status == "Various-Complete"
    assert job.node_statuses == {"a": "Complete", "b": "Error", "c": "Complete", "d": "Pending"}


def test_a_workflow_is_stopped(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = diamond(manager)
    job.execute()
    schedulers.finish(job, node="a")
    schedulers.run(job)

    job.stop()

    assert job.status == "Aborted" and job.node_statuses["a"] == "Complete"


# -- DASK ------------------------------------------------------------------------------------------------------


def doubled(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return 2 * number


def analysis(manager: JobManager, **more: Any) -> DaskJob:
    scheduler = Hydrology.get_scheduler("cluster")
    job = manager.create_job("analysis", "alice", job_type="DASK", scheduler=scheduler, **more)
    assert isinstance(job, DaskJob)
    return job


def test_what_a_dask_job_was_given_is_computed(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = analysis(manager)
    job.execute({"small": delayed(doubled)(1), "large": [delayed(doubled)(100)]})
    assert job.status == "Submitted"
    schedulers.run(job)
    assert job.status == "Running"

    schedulers.finish(job)

    assert job.status == "Complete" and job.result == {"small": 2, "large": [200]}


def test_a_result_may_be_told(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = analysis(manager)
    job.execute(delayed(doubled)(1))

    schedulers.finish(job, result="a map")

    assert job.status == "Complete" and job.result == "a map"


@pytest.mark.parametrize("told", [True, False])
def test_a_dask_job_fails_with_its_exception(manager: JobManager, schedulers: FakeSchedulers, told: bool) -> None:
    job = analysis(manager)
    job.execute(delayed(doubled)(-1))

    if told:
        schedulers.fail(job, "-1 is negative")
    else:
        schedulers.finish(job)

    assert job.status == "Error" and "-1 is negative" in job.status_message


def test_a_dask_job_is_stopped_and_runs_again(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = analysis(manager)
    job.execute(delayed(doubled)(4))
    job.stop()
    assert job.status == "Aborted"

    job.resubmit()
    schedulers.finish(job)

    assert job.status == "Complete" and job.result == 8
