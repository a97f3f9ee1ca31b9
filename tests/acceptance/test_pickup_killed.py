"""``kill -9`` between any two things that the pick-up of a run does: the run becomes one job, which runs once."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from prefect_jobs import JobManager, records
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.monitor import Monitor
from prefect_jobs.pickup import pickup
from tests.acceptance.conftest import PrefectView
from tests.acceptance.test_monitor import running
from tests.forks import Program
from tests.support import eventually

pytestmark = pytest.mark.prefect

LIMIT = 120
#: More than a pick-up has of them.
STEPS = 40

#: Picks up one run in a child, which is killed after the given one of its dealings with database, Prefect and HTCondor;
#: before the next one it leaves the same behind.
SCRIPT = """
import contextlib, os, signal, sys
import prefect.client.orchestration, prefect.context
import prefect_jobs.blocks
from prefect_jobs.flows import condor_job
from prefect_jobs.pickup import pickup
from prefect_jobs.pickup.served import Deployments
from prefect_jobs.projection import projector
from prefect_jobs.projection.prefect_api import PrefectApi
from prefect_jobs.projection.prefect_connection import PrefectConnection
from prefect_jobs.runtime.wiring import own_runtime
from prefect_jobs.schedulers.condor.process import HelperProcess
from prefect_jobs.store.database import Database

# The claims of the killed need not be waited for longer.
pickup.LEASE = 0.5
projector._CLAIM = 3.0

def execute(run_id, left):
    runtime = own_runtime()
    deployments = Deployments(runtime.store)
    picks = pickup.PickUp(runtime, deployments, lambda call, *given: call(*given))
    api = PrefectApi()
    served = deployments.served(api)
    goes_on = run_id == "left-behind"
    offers = [offer for offer in api.offers(list(served)) if offer.run_id == run_id]
    if not offers and not goes_on:
        os._exit(3)

    def step():
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def calling(self, *args, call=HelperProcess.call):
        try:
            return call(self, *args)
        finally:
            step()

    @contextlib.contextmanager
    def writing(self, write=Database.writing):
        with write(self) as connection:
            yield connection
        step()

    @contextlib.contextmanager
    def asking(self, ask=PrefectConnection._calling):
        with ask(self) as client:
            yield client
        step()

    HelperProcess.call, Database.writing, PrefectConnection._calling = calling, writing, asking
    if goes_on:
        picks.go_on(api)
    else:
        picks.take(api, offers, served)

print("ready", flush=True)
for line in sys.stdin:
    run_id, number = line.split()
    child = os.fork()
    if child == 0:
        try:
            execute(run_id, int(number))
            os._exit(0)
        finally:
            os._exit(1)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Picker:
    """Picks up runs, or goes on with those that were left behind, and is killed at it."""

    def __init__(self) -> None:
        self.process = Program(
            [sys.executable, "-c", SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert self._line() == "ready"

    def take(self, run_id: str, killed_at: int) -> bool:
        """Whether it was killed."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{run_id} {killed_at}\n")
        self.process.stdin.flush()
        status = int(self._line())
        assert status in (0, 9), f"it failed at step {killed_at}: {status}"
        return status == 9

    def close(self) -> None:
        self.process.communicate(timeout=30)

    def _line(self) -> str:
        assert self.process.stdout is not None
        return str(self.process.stdout.readline().strip())


@pytest.fixture
def picker(manager: JobManager) -> Iterator[Picker]:
    made = Picker()
    yield made
    made.close()


def test_killed_at_any_step_the_run_becomes_one_job(
    picker: Picker,
    manager: JobManager,
    alice: CondorScheduler,
    prefect_view: PrefectView,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # given runs whose pick-up was killed, each at another step
    first = manager.create_job("first", "alice", job_type="CONDOR")
    first.save()
    deployment = prefect_view.run(first)["deployment_id"]
    attributes = {"transfer_executable": False, "request_memory": "16MB"}
    given = {"executable": "/bin/true", "attributes": attributes, "scheduler": alice.name, "app": "test_app"}
    runs: list[str] = []
    for step in range(1, STEPS):
        body = {"state": {"type": "SCHEDULED"}, "parameters": {**given, "name": f"killed at step {step}"}}
        runs.append(str(prefect_view.post(f"/deployments/{deployment}/create_flow_run", body)["id"]))
        if not picker.take(runs[-1], step):
            break
    assert 8 < len(runs) < STEPS - 1, "there are so many steps"
    # and processes that went on with what these had left behind were killed, too
    for step in range(1, STEPS, 2):
        if not picker.take("left-behind", step):
            break
    # when a monitor, which need not wait for long to know that they have died, finds them
    with monkeypatch.context() as known, running(Monitor()):
        known.setattr(records, "GRACE", timedelta(seconds=5))
        known.setattr(pickup, "PAUSES", (0.5, 1.0))
        eventually(lambda: not _open(prefect_view, runs), "all runs have ended", LIMIT)
    # then each is Completed, has one job, and that ran once
    ended: dict[str, Any] = {run: prefect_view.get(f"/flow_runs/{run}") for run in runs}
    assert {run["state_type"] for run in ended.values()} == {"COMPLETED"}
    jobs = [job for job in manager.list_jobs() if job.flow_run_id in ended]
    assert sorted(job.flow_run_id or "" for job in jobs) == sorted(runs)
    states = {state for job in jobs for state in prefect_view.states(job)}
    assert not {"Crashed", "Failed", "Cancelled"} & states
    clusters = [int(job.remote_id or 0) for job in jobs]
    least = min(clusters)
    ran = alice.get_client().history(f"ClusterId >= {least} && NumJobStarts > 0", ("ClusterId", "NumJobStarts"))
    assert sorted(ad["ClusterId"] for ad in ran) == sorted(clusters) and {ad["NumJobStarts"] for ad in ran} == {1}


def _open(view: PrefectView, runs: list[str]) -> list[Any]:
    states = {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING"]}}
    found: list[Any] = view.post("/flow_runs/filter", {"flow_runs": {"state": states, "id": {"any_": runs}}})
    return [(run["name"], run["state"]["name"], run["state"]["message"]) for run in found]
