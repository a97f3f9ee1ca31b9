"""What jobs of a soak do on a Dask worker, and how jobs are made. Both processes that make them use it."""

import time
from pathlib import Path
from typing import Any

from dask.delayed import delayed

from prefect_jobs import JobManager
from prefect_jobs.jobs.base import Job
from tests.acceptance.conftest import TestApp
from tests.acceptance.soak.plan import JobPlan

CONDOR_BLOCK, DASK_BLOCK = "soak-pool", "soak-dask"
#: The attribute of a job's ads that says which job of the plan it is.
MARK = "SoakJob"


def compute(length: float, text: str, failure: str) -> str:
    """Sleeps, and gives the text back, or fails."""
    time.sleep(length)
    if failure:
        raise ValueError(failure)
    return text


def make(manager: JobManager, plan: JobPlan, inputs: Path) -> Job:
    """The job, not saved."""
    if plan.engine == "DASK":
        return manager.create_job(plan.name, "alice", job_type="DASK", scheduler=DASK_BLOCK)
    return manager.create_job(
        plan.name,
        "alice",
        job_type="CONDOR",
        scheduler=CONDOR_BLOCK,
        num_jobs=len(plan.codes),
        remote_input_files=[str(inputs / plan.input_name)],
        attributes={
            "executable": "/bin/sh",
            "transfer_executable": False,
            "arguments": ["-c", plan.line, "$(Process)"],
            "request_memory": "32MB",
            f"+{MARK}": plan.number,
        },
    )


def execute(job: Job, plan: JobPlan) -> None:
    """Executes it; every second Condor job as many at once are."""
    if plan.engine != "DASK" and plan.number % 2:
        errors: list[Exception] = []
        TestApp.get_job_manager().execute_jobs([job], progress=lambda _, error: errors.extend([error] if error else []))
        for error in errors:
            raise error
        return
    work: tuple[Any, ...] = ()
    if plan.engine == "DASK":
        work = (delayed(compute)(plan.length, plan.text, failure(plan) if any(plan.codes) else ""),)
    job.execute(*work)


def failure(plan: JobPlan) -> str:
    """What a Dask job says that fails."""
    return f"planned failure of {plan.name}"
