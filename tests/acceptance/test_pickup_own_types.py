"""Runs of flows of own types become jobs, too; a type with a fault affects no other run."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client

from prefect_jobs import Job, JobManager, Observation, Submitted
from prefect_jobs.flows.run_job import run_type
from prefect_jobs.jobs import registry
from prefect_jobs.monitor import Monitor
from prefect_jobs.projection.prefect_api import PrefectApi, retried
from prefect_jobs.runtime.wiring import Runtime
from tests.acceptance.conftest import PrefectView
from tests.acceptance.test_monitor import running
from tests.acceptance.test_pickup import ends, job_of, press_run
from tests.support import eventually

__all__ = ["press_run"]
pytestmark = pytest.mark.prefect

HERE = "tests.acceptance.test_pickup_own_types"


@flow(name="own-job", flow_run_name="{name}")
def own_job(name: str, script: str = "", user: str = "prefect", app: str = "prefect-jobs", timeout: float = 0) -> Any:
    """The form of jobs of the type below."""
    return run_type("OWN", locals())


class OwnJob(Job):
    """Work that is over at once."""

    flow_entrypoint: ClassVar[str] = f"{HERE}:own_job"
    spec_defaults: ClassVar[Mapping[str, Any]] = {"script": ""}
    update_status_interval: ClassVar[timedelta] = timedelta(0)

    @classmethod
    def work_of_run(cls, parameters: Mapping[str, Any]) -> tuple[Any, ...]:
        if parameters["script"] == "faulty":
            raise AttributeError("a fault of the type")
        return (parameters["script"].upper(),)

    def _execute(self, text: str = "") -> Submitted:
        return Submitted(text)

    def _update_status(self) -> Observation:
        return Observation("Complete")


@pytest.fixture
def own(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The deployment of the type."""
    monkeypatch.setitem(registry._registered, "OWN", OwnJob)
    api = PrefectApi()
    found = str(retried(partial(api.deploy, "test_app", OwnJob.flow_entrypoint), 30).id)
    api.close()
    runtime.store.note_deployment(found, "test_app")
    yield found
    registry._registered.pop("OWN")
    with get_client(sync_client=True) as client:
        client.delete_deployment(UUID(found))


def test_a_run_of_an_own_type(
    manager: JobManager, own: str, prefect_view: PrefectView, press_run: Any, runtime: Runtime
) -> None:
    given = {"app": "test_app", "user": "alice"}
    runs = {
        name: press_run(own, {**given, "name": name, "script": script})
        for name, script in (("faulty", "faulty"), ("good", "good"), ("bad text", "nul \x00"))
    }
    # with two monitors, which ask for the same runs
    with running(Monitor()), running(Monitor()):
        message = ends(prefect_view, runs["faulty"], "FAILED")["state"]["message"]
        assert message == "It cannot become a job: a fault of the type"
        ends(prefect_view, runs["good"], "COMPLETED")
        job = job_of(manager, runs["good"])
        assert isinstance(job, OwnJob) and job.remote_id == "GOOD" and job.user == "alice"
        assert eventually(lambda: prefect_view.get(f"/flow_runs/{runs['bad text']}")["state_type"] != "SCHEDULED", "")
    assert len(manager.list_jobs(filters={"name": "good"})) == 1
