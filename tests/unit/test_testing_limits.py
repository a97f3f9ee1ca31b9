"""Fake schedulers: what stays real with them, what they refuse, and what they leave."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
    JobStateError,
    SchedulerConnectionError,
    SchedulerEngineMismatch,
    SchedulerNotAssigned,
    SchedulerSetting,
    create_condor_scheduler,
    list_schedulers,
)
from prefect_jobs.runtime.wiring import get_runtime
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


SEEN: list[Any] = []


def doubled(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return 2 * number


def analysis(manager: JobManager, **more: Any) -> DaskJob:
    scheduler = Hydrology.get_scheduler("cluster")
    job = manager.create_job("analysis", "alice", job_type="DASK", scheduler=scheduler, **more)
    assert isinstance(job, DaskJob)
    return job


def seen(what: Any) -> None:
    SEEN.append(what)


def test_results_functions_are_called(manager: JobManager, schedulers: FakeSchedulers) -> None:
    SEEN.clear()
    job = analysis(manager, process_results_function=seen)
    job.execute(delayed(doubled)(4))
    schedulers.finish(job)

    assert job.status == "Complete" and SEEN == [8]


class Careful(CondorJob):
    """A type of somebody's own."""

    def _execute(self, *args: Any, **kwargs: Any) -> None:
        SEEN.append("checked")
        super()._execute(*args, **kwargs)

    def stop(self) -> Any:
        SEEN.append("told the users")
        return super().stop()


def test_overrides_of_a_type_of_ones_own_are_called(manager: JobManager) -> None:
    SEEN.clear()
    job = manager.create_job(
        "careful", "alice", job_type=Careful, attributes={"executable": "/bin/true", "transfer_executable": False}
    )
    job.execute()
    job.stop()

    assert SEEN == ["checked", "told the users"]
    assert isinstance(job, Careful) and job.type == "Careful" and job.status == "Aborted"


class Own(Job):
    """A type with work of its own."""

    def _execute(self) -> None:
        SEEN.append("ran")

    def _update_status(self) -> str:
        return "Complete"


def test_a_type_without_a_scheduler_does_its_own_work(manager: JobManager) -> None:
    SEEN.clear()
    job = manager.create_job("own", "alice", job_type=Own)
    job.execute()

    assert job.wait(5) == "Complete" and SEEN == ["ran"]


# -- bad input, and what is left ----------------------------------------------------------------------------------


def test_a_job_that_is_at_no_scheduler_cannot_be_told_anything(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = flood(manager)
    with pytest.raises(JobStateError, match=r"at no scheduler: it is 'Pending'. Call execute\(\) first"):
        schedulers.run(job)
    job.execute()
    with pytest.raises(ValueError, match="has no process 7"):
        schedulers.run(job, process=7)
    with pytest.raises(ValueError, match="not a workflow and has no node 'a'"):
        schedulers.run(job, node="a")
    schedulers.finish(job)
    with pytest.raises(JobStateError, match="at no scheduler"):
        schedulers.finish(job)
    workflow = diamond(manager)
    workflow.execute()
    with pytest.raises(ValueError, match=r"no node 'x'\. It has: a, b, c, d"):
        schedulers.run(workflow, node="x")


def test_what_does_not_fit_is_refused_and_changes_nothing(manager: JobManager, schedulers: FakeSchedulers) -> None:
    condor, dask = flood(manager), analysis(manager)
    condor.execute()
    dask.execute([delayed(doubled)(1), delayed(doubled)(2)])

    calls: list[Callable[[], None]] = [
        lambda: schedulers.hold(dask, "no such file"),
        lambda: schedulers.finish(dask, exit_code=1),
        lambda: schedulers.finish(dask, result=5),
        lambda: schedulers.finish(condor, result=5),
    ]
    for wrong in calls:
        with pytest.raises(ValueError, match=r"Dask|several parts"):
            wrong()
    assert (condor.status, dask.status) == ("Submitted", "Submitted")


def test_settings_are_checked() -> None:
    with (
        pytest.raises(TypeError, match=r"no setting held_timout\. Valid: .*held_timeout"),
        fake_schedulers(held_timout=1),
    ):
        pass
    with pytest.raises(ValueError, match="held_timeout"), fake_schedulers(held_timeout="soon"):
        pass


def test_a_test_may_name_the_schedulers_there_are() -> None:
    with fake_schedulers(schedulers={"pool": "htcondor", "cluster": "dask"}):
        manager = Hydrology.get_job_manager()
        assert flood(manager).status == "Pending" and analysis(manager).status == "Pending"
        with pytest.raises(ValueError, match="no scheduler 'pol'"):
            manager.create_job("x", "alice", job_type="CONDOR", scheduler="pol")
        with pytest.raises(SchedulerEngineMismatch):
            manager.create_job("x", "alice", job_type="CONDOR", scheduler="cluster")
    with fake_schedulers(schedulers={}), pytest.raises(SchedulerNotAssigned):
        Hydrology.get_scheduler("pool")
    with pytest.raises(ValueError, match="not 'slurm'"), fake_schedulers(schedulers={"x": "slurm"}):
        pass


def test_blocks_do_not_reach_a_real_prefect(schedulers: FakeSchedulers) -> None:
    for call in (create_condor_scheduler("pool", "127.0.0.1").save, list_schedulers):
        with pytest.raises(SchedulerConnectionError, match="a scheduler block needs a real server"):
            call()


def test_one_that_is_away_within_one_that_is_away(manager: JobManager, schedulers: FakeSchedulers) -> None:
    with schedulers.away("long"):
        with schedulers.away("short"), pytest.raises(SchedulerConnectionError, match="short"):
            schedulers.reach()
        with pytest.raises(SchedulerConnectionError, match="long"):
            schedulers.reach()
    schedulers.reach()


def test_many_threads_may_look_at_once() -> None:
    with fake_schedulers(outcome="Complete"):
        job = flood(Hydrology.get_job_manager())
        job.execute()
        manager = Hydrology.get_job_manager()
        with ThreadPoolExecutor(8) as pool:
            seen = list(pool.map(lambda _: manager.get_job(job.id or 0).status, range(16)))  # type: ignore[union-attr]

    assert set(seen) <= {"Submitted", "Results-Ready", "Complete"} and "Complete" in seen


def test_assignments_are_kept_and_schedules_refused(manager: JobManager) -> None:
    Hydrology.assign_scheduler("pool", "large")

    assert Hydrology.get_scheduler("pool").name == "large"
    with pytest.raises(SchedulerConnectionError, match="needs a real server"):
        manager.schedule_job("nightly", "alice", "CONDOR", cron="0 1 * * *")


def test_nothing_is_left_behind_and_the_runtime_is_the_one_before() -> None:
    with fake_schedulers():
        runtime = get_runtime()
        job = flood(Hydrology.get_job_manager())
        job.execute()
        folder = runtime.store.database.url.database
        assert job.flow_run_id is None
        with fake_schedulers():
            assert Hydrology.get_job_manager().count_jobs() == 0
        assert Hydrology.get_job_manager().count_jobs() == 1

    assert folder is not None and not Path(folder).parent.exists()
    assert not Path(job.initial_dir).exists()
