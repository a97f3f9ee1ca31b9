"""What runs that the monitor has picked up keep of their form and deployment: limits, timeouts, retries."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from prefect_jobs import JobManager, create_condor_scheduler
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.local.condor_pool import PersonalPool
from prefect_jobs.monitor import Monitor
from prefect_jobs.pickup import pickup
from prefect_jobs.runtime import lookup
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.store.filters import JobQuery
from tests.acceptance.conftest import PrefectView
from tests.acceptance.test_monitor import monitor, running
from tests.acceptance.test_pickup import ATTRIBUTES, Press, deployed, ends, job_of, press_run
from tests.support import eventually

__all__ = ["deployed", "monitor", "press_run"]
pytestmark = pytest.mark.prefect

LIMIT = 120


@pytest.fixture
def limit_of(prefect_view: PrefectView) -> Iterator[Callable[[str, int], None]]:
    """Sets the concurrency limit of a deployment, which other tests use, too."""
    changed: list[str] = []

    def set_limit(deployment: str, limit: int) -> None:
        changed.append(deployment)
        prefect_view.request("PATCH", f"/deployments/{deployment}", {"concurrency_limit": limit})

    yield set_limit
    for deployment in changed:
        prefect_view.request("PATCH", f"/deployments/{deployment}", {"concurrency_limit": None})


def test_a_job_has_its_place_in_a_limit_until_it_is_over(
    manager: JobManager,
    monitor: Monitor,
    alice: CondorScheduler,
    prefect_view: PrefectView,
    deployed: Callable[[str], str],
    press_run: Press,
    runtime: Runtime,
    limit_of: Callable[[str, int], None],
) -> None:
    # given a deployment for one run at a time, and a job that waits in the queue
    deployment = deployed("CONDOR")
    limit_of(deployment, 1)
    given = {"executable": "/bin/true", "scheduler": alice.name, "app": "test_app", "user": "alice"}
    never = {**given, "name": "waits", "attributes": {**ATTRIBUTES, "requirements": "False"}}
    first = press_run(deployment, never)
    job = job_of(manager, first)

    def shown(name: str, run: str = first) -> Callable[[], bool]:
        return lambda: prefect_view.get(f"/flow_runs/{run}")["state_name"] == name

    eventually(shown("Submitted"), "the first is in the queue", LIMIT)
    # then the next one waits for its place
    second = press_run(deployment, {**given, "name": "next", "attributes": ATTRIBUTES, "timeout": 3600})
    eventually(shown("AwaitingConcurrencySlot", second), "the second one waits", LIMIT)
    # (its row is there for a moment, at each try to claim the run)
    eventually(lambda: not manager.list_jobs(filters={"flow_run_id": second}), "it has no job", LIMIT)
    # also while the job is paused
    lease = runtime.jobs.get(job.id).concurrency_lease  # type: ignore[union-attr]
    assert lease is not None
    job.pause()
    eventually(shown("Paused"), "it is paused", LIMIT)
    state = prefect_view.get(f"/flow_runs/{first}")["state"]
    assert state["type"] == "RUNNING" and state["state_details"]["deployment_concurrency_lease_id"] == lease
    limits = prefect_view.post("/v2/concurrency_limits/filter", {})
    assert [each["active_slots"] for each in limits if deployment in each["name"]] == [1]
    job.resume()
    # and what the server cancels for its own reasons stops no job
    lost = {"type": "CANCELLED", "message": "Deployment concurrency slot lost during provisioning - try again"}
    prefect_view.post(f"/flow_runs/{first}/set_state", {"state": lost, "force": True})
    eventually(shown("Submitted"), "it is shown again", LIMIT)
    assert runtime.jobs.get(job.id).state.status == "Submitted"  # type: ignore[union-attr]
    # when the first one is over, the second one begins
    job.stop()
    ends(prefect_view, first, "CANCELLED")
    ends(prefect_view, second, "COMPLETED")


def test_a_job_that_is_not_over_in_time_is_stopped(
    manager: JobManager,
    monitor: Monitor,
    alice: CondorScheduler,
    prefect_view: PrefectView,
    deployed: Callable[[str], str],
    press_run: Press,
) -> None:
    run = press_run(
        deployed("CONDOR"),
        {
            "name": "slow", "executable": "/bin/sleep", "arguments": "600", "timeout": 1.5, "attributes": ATTRIBUTES,
            "scheduler": alice.name, "app": "test_app",
        },
    )  # fmt: skip
    message = ends(prefect_view, run, "FAILED")["state"]["message"]
    assert message == "Timed out: it was not over 1.5 s after its submission, and was stopped."
    job = job_of(manager, run)
    eventually(lambda: not alice.get_client().query(f"ClusterId == {job.cluster_id}", ("ClusterId",)), "it is gone")
    assert manager.get_job(job.id).cached_status == "Error"  # type: ignore[union-attr]
    assert "Cancelled" not in prefect_view.states(job)


def test_a_scheduler_that_is_away_keeps_a_run_waiting(
    manager: JobManager,
    condor_pool: PersonalPool,
    alice: CondorScheduler,
    prefect_view: PrefectView,
    deployed: Callable[[str], str],
    press_run: Press,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # given a scheduler that does not answer
    monkeypatch.setattr(pickup, "PAUSES", (1.0, 2.0))
    monkeypatch.setattr(lookup, "BLOCK_TTL", 1.0)
    block = create_condor_scheduler("away-for-now", "127.0.0.1", port=1, token="none")
    block.save(overwrite=True)
    given = {"name": "waits", "executable": "/bin/true", "scheduler": block.name, "app": "test_app"}
    with running(Monitor()):
        run = press_run(deployed("CONDOR"), {**given, "attributes": ATTRIBUTES})
        job = job_of(manager, run)

        def says_why() -> bool:
            state = prefect_view.get(f"/flow_runs/{run}")["state"]
            return state["type"] == "PENDING" and "Not submitted: Cannot reach" in str(state["message"])

        eventually(says_why, "the run says why", LIMIT)
        # when it is there
        there = create_condor_scheduler("away-for-now", alice.host, port=alice.port, token=condor_pool.token("alice"))
        there.save(overwrite=True)
        # then the same job is submitted, once
        ends(prefect_view, run, "COMPLETED")
    (found,) = manager.list_jobs(filters={"name": "waits"})
    assert found.id == job.id and "Crashed" not in prefect_view.states(found)


def test_retries_of_the_form_are_attempts_of_the_job(
    manager: JobManager,
    monitor: Monitor,
    alice: CondorScheduler,
    prefect_view: PrefectView,
    deployed: Callable[[str], str],
    press_run: Press,
) -> None:
    given = {
        "executable": "/bin/sh", "scheduler": alice.name, "app": "test_app",
        "attributes": {**ATTRIBUTES, "arguments": ["-c", "exit 3"]},
    }  # fmt: skip
    deployment = deployed("CONDOR")
    # given runs of which one fails twice more, one is refused, and one is cancelled before its retry
    fails = press_run(deployment, {**given, "name": "fails"}, empirical_policy={"retries": 2, "retry_delay": 1})
    refused = press_run(
        deployment, {**given, "name": "refused", "executable": "/no/such", "attributes": {}},
        empirical_policy={"retries": 1},
    )  # fmt: skip
    stopped = press_run(deployment, {**given, "name": "stopped"}, empirical_policy={"retries": 5, "retry_delay": 600})

    def waits() -> bool:
        return bool(prefect_view.get(f"/flow_runs/{stopped}")["state_name"] == "AwaitingRetry")

    eventually(waits, "it waits for its retry", LIMIT)
    state = prefect_view.get(f"/flow_runs/{stopped}")["state"]
    assert state["message"].startswith("Retry 1 of 5, since it ended as Error. ")
    prefect_view.post(f"/flow_runs/{stopped}/set_state", {"state": {"type": "CANCELLING"}, "force": True})
    # then
    ends(prefect_view, fails, "FAILED")
    job = job_of(manager, fails)
    assert job.handle.record.state.attempt == 3 and job.cached_status == "Error"
    assert prefect_view.states(job).count("AwaitingRetry") == 2 and prefect_view.states(job).count("Failed") == 1

    def said() -> bool:
        lines = [line for line in prefect_view.logs(job) if line.startswith("Retry")]
        return lines == ["Retry 1 of 2.", "Retry 2 of 2."]

    eventually(said, "its log names the retries", LIMIT)
    ends(prefect_view, refused, "FAILED")
    assert job_of(manager, refused).handle.record.state.attempt == 2
    ends(prefect_view, stopped, "FAILED")
    assert job_of(manager, stopped).handle.record.state.attempt == 1


def test_a_server_that_is_busy_at_the_claim_is_asked_again_soon(
    manager: JobManager,
    alice: CondorScheduler,
    prefect_view: PrefectView,
    deployed: Callable[[str], str],
    press_run: Press,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # given a server that refuses the first two claims of a run
    send, refused = httpx.HTTPTransport.handle_request, list[str]()

    def handle(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        if "bulk_set_state" in request.url.path and len(refused) < 2:
            refused.append(request.url.path)
            return httpx.Response(503, request=request, content=b'{"exception_message": "database is locked"}')
        return send(self, request)

    deployment = deployed("CONDOR")
    given = {"name": "soon", "executable": "/bin/true", "scheduler": alice.name, "app": "test_app"}
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", handle)
    with running(Monitor()):
        run = press_run(deployment, {**given, "attributes": ATTRIBUTES})
        # then it is a job long before the lease on its pick-up would end
        submitted = lambda: manager.list_jobs(filters={"flow_run_id": run, "execute_time__isnull": False})  # noqa: E731
        eventually(submitted, "its job is submitted", pickup.LEASE / 2)
        ends(prefect_view, run, "COMPLETED")
    assert len(refused) == 2 and len(manager.list_jobs()) == 2


@pytest.mark.parametrize("carried_out", ["at once", "after it was given up"])
def test_a_claim_without_an_answer(
    manager: JobManager,
    alice: CondorScheduler,
    prefect_view: PrefectView,
    deployed: Callable[[str], str],
    press_run: Press,
    monkeypatch: pytest.MonkeyPatch,
    carried_out: str,
) -> None:
    # given a server that does not answer the first claim in time, and carries it out
    send, claims = httpx.HTTPTransport.handle_request, list[httpx.Request]()

    def handle(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        if "bulk_set_state" in request.url.path and b"The job is being submitted." in request.read():
            claims.append(request)
            if len(claims) == 1:
                if carried_out == "at once":
                    send(self, request).close()
                raise httpx.ReadTimeout("The test lets the time pass.", request=request)
            if len(claims) == 2 and carried_out != "at once":
                send(self, claims[0]).close()
        return send(self, request)

    monkeypatch.setattr(pickup, "_UNANSWERED", 0.5)
    deployment = deployed("CONDOR")
    given = {"name": "unanswered", "executable": "/bin/true", "scheduler": alice.name, "app": "test_app"}
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", handle)
    with running(Monitor()):
        run = press_run(deployment, {**given, "attributes": ATTRIBUTES})
        # then it is one job, long before the lease on its pick-up would end
        submitted = lambda: manager.list_jobs(filters={"flow_run_id": run, "execute_time__isnull": False})  # noqa: E731
        eventually(submitted, "its job is submitted", pickup.LEASE / 2)
        ends(prefect_view, run, "COMPLETED")
    assert len(claims) == (1 if carried_out == "at once" else 2)
    assert [job.handle.record.state.attempt for job in manager.list_jobs(filters={"flow_run_id": run})] == [1]


def test_a_job_that_is_deleted_while_its_claim_has_no_answer_does_not_come_back(
    manager: JobManager,
    alice: CondorScheduler,
    prefect_view: PrefectView,
    deployed: Callable[[str], str],
    press_run: Press,
    monkeypatch: pytest.MonkeyPatch,
    runtime: Runtime,
) -> None:
    # given a server that carries out the claim without an answer, and deletes no run for a while
    send, claims, deletions = httpx.HTTPTransport.handle_request, list[str](), list[str]()
    away = True

    def handle(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/flow_runs/bulk_delete") and away:
            deletions.append(request.url.path)
            return httpx.Response(503, request=request, content=b"{}")
        if "bulk_set_state" in request.url.path and b"The job is being submitted." in request.read() and not claims:
            claims.append(request.url.path)
            send(self, request).close()
            (record,) = runtime.store.find(JobQuery(filters={"name": "unwanted"}))
            runtime.jobs.delete(record.id)
            raise httpx.ReadTimeout("The test lets the time pass.", request=request)
        return send(self, request)

    monkeypatch.setattr(pickup, "_UNANSWERED", 0.5)
    monkeypatch.setattr(pickup, "LEASE", 5.0)
    deployment = deployed("CONDOR")
    given = {"name": "unwanted", "executable": "/bin/true", "scheduler": alice.name, "app": "test_app"}
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", handle)

    def leased() -> bool:
        store = runtime.store
        return store.others_hold("prefect-pickup:", "the test") or bool(store.ended_leases("prefect-pickup:"))

    with running(Monitor()):
        run = press_run(deployment, {**given, "attributes": ATTRIBUTES})
        eventually(lambda: claims and deletions, "its deletion is asked for", LIMIT)
        eventually(lambda: not leased(), "it is let go", LIMIT)
        assert not runtime.store.find(JobQuery(filters={"name": "unwanted"}))
        away = False
        eventually(lambda: not runtime.store.run_deletions(), "the run is deleted, too", LIMIT)
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        prefect_view.get(f"/flow_runs/{run}")
    assert not runtime.store.find(JobQuery(filters={"name": "unwanted"}))
