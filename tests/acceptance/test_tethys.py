"""Jobs of a Tethys app on a real pool and cluster: one kind of rows for its classes, ours, the monitor and commands."""

from pathlib import Path
from typing import Any

import pytest
from dask.delayed import delayed
from sqlalchemy import event

import prefect_jobs
from prefect_jobs import tethys
from prefect_jobs.blocks import CondorScheduler, DaskScheduler
from prefect_jobs.monitor import Monitor
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.tethys import CondorWorkflowJobNode, TethysAppBase, TethysJob
from tests.acceptance.conftest import PrefectView
from tests.acceptance.test_cli import run
from tests.acceptance.test_monitor import monitor
from tests.support import eventually

__all__ = ["monitor"]
pytestmark = pytest.mark.prefect
LIMIT = 90


class Floods(TethysAppBase):
    name = "Floods"
    package = "floods"

    def scheduler_settings(self) -> Any:
        return (tethys.SchedulerSetting(name="primary", engine=tethys.SchedulerSetting.HTCONDOR),)


def total(result: list[int]) -> int:
    return sum(result)


def test_its_jobs_are_watched_shown_and_stopped_as_ours(
    runtime: Runtime,
    monitor: Monitor,
    alice: CondorScheduler,
    dask: DaskScheduler,
    prefect_view: PrefectView,
    flag: Path,
) -> None:
    # given an app whose setting has no scheduler at first
    with pytest.raises(tethys.TethysAppSettingNotAssigned, match="'primary' of floods has no scheduler"):
        Floods.get_scheduler("primary")
    Floods.assign_scheduler("primary", alice)
    scheduler, manager = Floods.get_scheduler("primary"), Floods.get_job_manager()
    program = {"executable": "/bin/sh", "transfer_executable": False, "request_memory": "16MB"}
    line = f"while test ! -e '{flag}'; do sleep 0.2; done"
    job = manager.create_job(
        name="flood", user="alice", job_type="CONDOR", scheduler=scheduler,
        attributes={**program, "arguments": ["-c", line]},
    )  # fmt: skip
    job.save()
    job.execute()
    workflow = manager.create_job(name="two steps", user="alice", job_type="CONDORWORKFLOW", scheduler=scheduler)
    workflow.save()
    first, second = (
        CondorWorkflowJobNode(name=name, workflow=workflow, attributes={**program, "arguments": ["-c", "true"]})
        for name in ("first", "second")
    )
    second.add_parent(first)
    workflow.save()
    workflow.execute()
    sums = manager.create_job(name="sums", user="bob", job_type="DASK", scheduler=dask, process_results_function=total)
    sums.execute(delayed(list)(range(5)))
    # then the monitor watches them, and our classes and commands see them
    ours = prefect_jobs.JobManager(Floods)
    eventually(lambda: ours.get_job(job.id).cached_status == "Running", "it runs", LIMIT)  # type: ignore[union-attr]
    eventually(lambda: TethysJob.objects.get(id=sums.id).cached_status == "Complete", "the sum is there", LIMIT)
    assert manager.get_job(sums.id).result == 10
    eventually(lambda: manager.get_job(workflow.id).cached_status == "Complete", "the workflow is over", LIMIT)
    assert [node.status for node in manager.get_job(workflow.id).node_set] == ["Complete", "Complete"]
    assert type(ours.get_job(workflow.id or 0)) is prefect_jobs.CondorWorkflow
    assert prefect_view.run(job)["parameters"]["app"] == "floods"
    assert "flood" in run("list", "--app", "floods")[0]
    run("stop", job.id)
    assert manager.get_job(job.id)._status == "ABT"
    # and its directory goes with it
    folder = Path(job.initial_dir)
    assert folder.is_dir()
    assert TethysJob.objects.filter(label="floods").delete()[0] == 3
    assert not folder.exists() and ours.list_jobs() == []


def test_a_page_of_a_thousand_jobs_is_one_statement(runtime: Runtime) -> None:
    # given
    drafts = [tethys.BasicJob(name=f"job {n}", user="alice", label="floods").handle.drafted() for n in range(1000)]
    runtime.store.insert_all(drafts)
    said: list[str] = []
    event.listen(runtime.store.database.engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    # when
    page = list(TethysJob.objects.filter(label="floods").order_by("-id")[:50])
    # then
    assert [job.name for job in page] == [f"job {n}" for n in range(999, 949, -1)]
    assert len([statement for statement in said if statement.startswith("SELECT")]) == 1
