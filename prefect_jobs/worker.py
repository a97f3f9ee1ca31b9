"""The Prefect worker of the type ``prefect-jobs``: turns the runs of a work pool into jobs.

Prefect imports this module in every worker and server, so it imports the rest of the package only when it works.
"""

import os
import threading
from typing import TYPE_CHECKING, Any

from anyio import CancelScope
from anyio.to_thread import run_sync
from prefect.exceptions import InfrastructureNotAvailable, InfrastructureNotFound
from prefect.workers.base import BaseJobConfiguration, BaseVariables, BaseWorker, BaseWorkerResult
from pydantic import Field

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

    from prefect_jobs.monitor.pool import Pool

TYPE = "prefect-jobs"
#: ``0``: no monitor runs in the worker's process.
MONITOR = "PREFECT_JOBS_WORKER_MONITOR"
#: Job variables that Prefect gives to workers of every type.
_OF_PROCESSES = ("name", "env", "labels", "command")


class Configuration(BaseJobConfiguration):
    """What the worker uses of a pool's template."""

    command: str | None = Field(default=None, exclude=True)
    scheduler: str | None = Field(default=None, json_schema_extra={"template": "{{ scheduler }}"})
    request_cpus: int | None = Field(default=None, json_schema_extra={"template": "{{ request_cpus }}"})
    request_memory: str | None = Field(default=None, json_schema_extra={"template": "{{ request_memory }}"})
    request_disk: str | None = Field(default=None, json_schema_extra={"template": "{{ request_disk }}"})
    workspace: str | None = Field(default=None, json_schema_extra={"template": "{{ workspace }}"})
    attributes: dict[str, Any] = Field(default_factory=dict, json_schema_extra={"template": "{{ attributes }}"})
    user: str | None = Field(default=None, json_schema_extra={"template": "{{ user }}"})


class Variables(BaseVariables):
    """The job variables. The parameters of a run win over them."""

    scheduler: str | None = Field(
        None, title="Scheduler", description="Name of the scheduler block, for runs that name none."
    )
    request_cpus: int | None = Field(None, title="CPUs", description="HTCondor: CPUs of each proc.", ge=1)
    request_memory: str | None = Field(
        None, title="Memory", description="HTCondor: memory of each proc, for example 2GB."
    )
    request_disk: str | None = Field(None, title="Disk", description="HTCondor: disk of each proc, for example 1GB.")
    workspace: str | None = Field(None, title="Workspace", description="Folder for the job directories.")
    attributes: dict[str, Any] = Field(
        default_factory=dict, title="Submit commands", description="HTCondor: more submit commands of each job."
    )
    user: str | None = Field(None, title="User", description="User of the jobs, for runs that name none.")


class Result(BaseWorkerResult):
    """What the worker tells Prefect of a run: the job goes on without it."""


class PrefectJobsWorker(BaseWorker[Configuration, Variables, Result]):
    """Picks up the runs of a work pool. No process, and no coroutine, waits for a run."""

    type = TYPE
    job_configuration = Configuration
    job_configuration_variables = Variables
    _display_name = "HTCondor and Dask jobs"
    _description = "Runs jobs on HTCondor and Dask without a process for each run."

    @classmethod
    def get_default_base_job_template(cls) -> dict[str, Any]:
        """The form of a new pool, without Prefect's fields for the process of a run: there is none."""
        found = super().get_default_base_job_template()
        for name in _OF_PROCESSES:
            found["variables"]["properties"].pop(name, None)
            found["job_configuration"].pop(name, None)
        return found

    def __init__(self, work_pool_name: str, *args: Any, limit: int | None = None, **kwargs: Any) -> None:
        super().__init__(work_pool_name, *args, **{**kwargs, "limit": limit})
        self._most = limit
        self._pool: Pool | None = None
        self._making = threading.Lock()

    async def setup(self) -> None:
        """Starts the worker, and in its process a monitor."""
        await super().setup()
        await run_sync(self._made)

    async def teardown(self, *exc_info: Any) -> None:
        """Ends the worker; jobs continue, and the next worker or monitor finds them."""
        try:
            await super().teardown(*exc_info)  # it waits for runs that are being submitted, which need the pool
        finally:
            pool, self._pool = self._pool, None
            if pool is not None:
                with CancelScope(shield=True):
                    await run_sync(pool.stop)

    async def _submit_scheduled_flow_runs(self, flow_run_response: list[Any]) -> list["FlowRun"]:
        """Turns a page of runs into jobs. Prefect's own method starts a coroutine for each run."""
        self._check_type()
        runs = [entry.flow_run for entry in flow_run_response]
        if runs:
            await run_sync(self._made().take, [run.model_dump(mode="json") for run in runs], self._most)
        return []

    async def run(self, flow_run: "FlowRun", configuration: Configuration, task_status: Any = None) -> Result:
        """Turns one run, which is PENDING already, into a job: for ways on which Prefect calls no other method."""
        pid = await run_sync(self._made().adopt, str(flow_run.id))
        if task_status is not None:
            task_status.started(pid)
        return Result(identifier=pid, status_code=0)

    async def kill_infrastructure(
        self, infrastructure_pid: str, configuration: Configuration, grace_seconds: int = 30
    ) -> None:
        """Stops the job of a run that Prefect has cancelled.

        Raises:
            InfrastructureNotFound: there is no such job.
            InfrastructureNotAvailable: it is in another database, or its scheduler does not answer.
        """
        from prefect_jobs.errors import PrefectJobsError

        pool = self._made()
        job_id = pool.job_of(infrastructure_pid)
        if job_id is None:
            raise InfrastructureNotAvailable(f"{infrastructure_pid} is not a job of the database of this worker.")
        try:
            found = await run_sync(pool.kill, job_id)
        except PrefectJobsError as error:
            raise InfrastructureNotAvailable(str(error)) from error
        if not found:
            raise InfrastructureNotFound(f"There is no job {job_id}.")

    def _made(self) -> "Pool":
        from prefect_jobs.monitor.pool import Pool

        with self._making:
            if self._pool is None:
                self._pool = Pool(self.name, monitor=os.environ.get(MONITOR, "1") != "0")
            return self._pool

    def _check_type(self) -> None:
        """
        Raises:
            RuntimeError: the pool is of another type: its runs need other workers. It ends the worker.
        """
        if self.work_pool.type != self.type:
            raise RuntimeError(
                f"The work pool {self.work_pool.name!r} is of the type {self.work_pool.type!r}; this worker is for "
                f"pools of the type {self.type!r}. Make one: prefect-jobs deploy --pool NAME, or "
                f"prefect work-pool create --type {self.type} NAME"
            )
