"""Steps of the tests of callbacks: apps that are served, and what they answer."""

from typing import Any

import httpx

from prefect_jobs import App, Job, JobManager, create_condor_scheduler
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.runtime.wiring import Runtime

SUCCESS, SCHEDULED, NOTHING = {"success": True}, {"success": "scheduled"}, {"success": False}
SERVED = """
from prefect_jobs import App
class Served(App):
    name = package = "test_app"
"""


class OtherApp(App):
    """An app whose jobs are nobody else's business."""

    name = package = "other_app"


def path(job: Job | int) -> str:
    return f"/update-job-status/{job if isinstance(job, int) else job.id}/"


def answer(response: httpx.Response) -> tuple[int, Any]:
    return response.status_code, response.json()


def status(runtime: Runtime, job: Job) -> str:
    """As it is in SQL; nobody is asked."""
    record = runtime.store.get(job.handle.record.id)
    assert record is not None
    return record.state.status


def submitted(manager: JobManager, pool: CondorScheduler, name: str) -> tuple[Job, CondorScheduler]:
    """A job at a pool, by a block of its own that can be made to lead elsewhere."""
    assert pool.token is not None
    block = create_condor_scheduler(name, pool.host, port=pool.port, token=pool.token.get_secret_value())
    block.save(overwrite=True)
    attributes = {"executable": "/bin/true", "transfer_executable": False}
    job = manager.create_job(name, "alice", job_type="CONDOR", scheduler=block, attributes=attributes)
    job.execute()
    return job, block
