"""Events in Prefect for what it cannot know, and the automations that they start."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock

from prefect_jobs import JobManager, create_condor_scheduler
from prefect_jobs.automations import automations_with
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.polling import poll_once
from prefect_jobs.jobs.summary import details
from prefect_jobs.local.condor_pool import PersonalPool
from prefect_jobs.monitor import Monitor, reasons
from prefect_jobs.records import Change, JobRecord, StatusState
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.settings import get_settings
from tests.acceptance.conftest import PrefectView, ShellJob
from tests.acceptance.test_cli import APP, run
from tests.acceptance.test_monitor import monitor, running
from tests.support import eventually

__all__ = ["monitor"]
pytestmark = pytest.mark.prefect

LIMIT = 90
NAMES = ["prefect-jobs held", "prefect-jobs memory raised", "prefect-jobs scheduled error"]


def events_of(view: PrefectView, resource: str) -> list[dict[str, Any]]:
    """The events of a resource, the oldest first."""
    wanted = {"filter": {"resource": {"id": [resource]}, "order": "ASC"}}
    found: list[dict[str, Any]] = view.post("/events/filter", wanted)["events"]
    return found


def test_a_job_that_is_held_and_released(
    monitor: Monitor, shell_job: ShellJob, prefect_view: PrefectView, runtime: Runtime, flag: Path
) -> None:
    # given a job that HTCondor holds after its first run
    held_once = {"on_exit_hold": "NumJobStarts < 2", "on_exit_hold_reason": '"too hungry"'}
    job = shell_job(f"test ! -e '{flag}' || sleep 600", attributes=held_once)
    job.execute()
    resource = f"prefect-jobs.job.{runtime.store.identity}.{job.id}"
    (held,) = eventually(lambda: events_of(prefect_view, resource), "there is an event", LIMIT)
    assert held["event"] == "prefect-jobs.job.held" and "too hungry" in held["payload"]["reason"]
    assert held["resource"]["prefect-jobs.hold-code"] == "3" and held["resource"]["prefect-jobs.user"] == "alice"
    related = {(each["prefect.resource.role"], each["prefect.resource.id"]) for each in held["related"]}
    assert {("flow-run", f"prefect.flow-run.{job.flow_run_id}"), ("tag", "prefect.tag.app:test_app")} <= related
    # when it is released
    flag.touch()
    job.engine.client().act("Release", f"ClusterId == {job.cluster_id}", "by the operator")
    eventually(lambda: len(events_of(prefect_view, resource)) == 2, "there is another one", LIMIT)
    assert events_of(prefect_view, resource)[1]["event"] == "prefect-jobs.job.released"
    job.stop()


def test_what_happens_to_a_job_besides_its_statuses(
    shell_job: ShellJob, prefect_view: PrefectView, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a job that no machine takes, and that HTCondor holds as one that used too much memory
    job = shell_job(
        "true", attributes={"requirements": "False", "request_memory": "32MB"}, retry_with_memory=("64MB", "1 GB")
    )
    job.execute()
    client, mine = job.engine.client(), f"ClusterId == {job.cluster_id}"
    resource = f"prefect-jobs.job.{runtime.store.identity}.{job.id}"

    def named() -> list[str]:
        return [each["event"].rpartition(".")[2] for each in events_of(prefect_view, resource)]

    def hungry(starts: int) -> None:
        """It has run, and used too much."""
        client.act("Hold", mine, "it used too much")
        client.edit(mine, "NumJobStarts", str(starts))
        client.edit(mine, "HoldReasonCode", "34")

    def asked() -> tuple[int, int]:
        (ad,) = client.query(mine, ("RequestMemory", "JobStatus"))
        return ad["RequestMemory"], ad["JobStatus"]

    eventually(lambda: asked()[1] == 1, "its inputs are there", LIMIT)
    assert "No slot of 1 fulfils the requirement `false`." in job.why_waiting()
    hungry(1)
    with running(Monitor()):
        eventually(lambda: asked() == (64, 1), "it is released with more", LIMIT)
        eventually(lambda: "memory-raised" in named(), "the event is there", LIMIT)
    hungry(2)
    poll_once(job)
    assert job.cached_status == "Held" and job.engine.can_release(None) and job.engine.release_held()
    assert asked() == (1024, 1)
    hungry(3)
    assert not job.engine.release_held()  # the last size was not enough
    poll_once(job)
    assert job.cached_status == "Held" and "(code 34)" in job.status_message
    eventually(lambda: named().count("memory-raised") == 2 and "held" in named(), "the events are there", LIMIT)
    first = next(each for each in events_of(prefect_view, resource) if each["event"].endswith("raised"))
    assert (first["payload"]["from"], first["payload"]["to"], first["payload"]["processes"]) == (32, 64, [0])
    eventually(
        lambda: any("released with 1024 MB" in line for line in prefect_view.logs(job)), "the log says so", LIMIT
    )
    # when its submission counts as interrupted, and is found again
    client.edit(mine, "NumJobStarts", "0")
    job.resume()
    runtime.jobs.update(job.id or 0, _interrupted)
    poll_once(job)
    assert job.cached_status == "Submitted"
    eventually(lambda: named()[-2:] == ["released", "adopted"], "two more are there", LIMIT)
    # and when it has waited for long
    monkeypatch.setattr(get_settings(), "late_match", 0.5)
    with running(Monitor()):
        eventually(lambda: named()[-1] == "late-match", "and one more", LIMIT)
        tells_why(job, prefect_view, monkeypatch)
    assert "No machine has taken it for 0 min" in prefect_view.state(job)[2]
    assert (named().count("late-match"), named().count("adopted"), named().count("memory-raised")) == (1, 1, 2)
    job.stop()


def tells_why(job: Job, prefect_view: PrefectView, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is noted, once, and Prefect shows it."""
    said = "It waits for a machine. No slot of 1 fulfils the requirement `false`."
    monkeypatch.setattr(reasons, "FIRST", 0.0)
    monkeypatch.setattr(reasons, "AGAIN", 0.0)
    monkeypatch.setattr(reasons, "PAUSE", 0.0)
    eventually(lambda: "requirement `false`" in reason_of(job), "the reason is noted", LIMIT)
    eventually(lambda: any(said in line for line in prefect_view.logs(job)), "it is shown", LIMIT)
    poll_once(job)
    assert sum(said in line for line in prefect_view.logs(job)) == 1
    # on the run's page, too, and no state was written for that
    states = prefect_view.states(job)
    wanted = {"artifacts": {"flow_run_id": {"any_": [job.flow_run_id]}, "type": {"any_": ["markdown"]}}}

    def shown() -> list[str]:
        found = prefect_view.post("/artifacts/filter", wanted)
        return [each["data"] for each in found if each["description"] == "Why it waits for a machine"]

    eventually(shown, "the page has the reason", LIMIT)
    assert len(shown()) == 1 and "requirement `false`" in shown()[0]
    assert prefect_view.states(job) == states


def reason_of(job: Job) -> str:
    """Why a job waits, as it is noted now."""
    job.handle.refresh()
    return str(details(job)["waits"])


def _interrupted(fresh: JobRecord) -> Change:
    native = {"happened": fresh.noted.happened}
    return Change({"state": StatusState(attempt=1), "remote_id": None, "submitting_since": None, "native": native})


def test_a_scheduler_that_does_not_answer_for_a_while(
    monitor: Monitor, manager: JobManager, condor_pool: PersonalPool, alice: CondorScheduler, prefect_view: PrefectView,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("prefect_jobs.runtime.lookup.BLOCK_TTL", 0.5)

    def saved(port: int | None) -> None:
        block = create_condor_scheduler("comes-and-goes", str(alice.host), port=port, token=condor_pool.token("alice"))
        block.save(overwrite=True)

    saved(alice.port)
    job = manager.create_job(
        "waits", "alice", job_type="CONDOR", scheduler="comes-and-goes",
        attributes={"executable": "/bin/true", "transfer_executable": False, "requirements": "False"},
    )  # fmt: skip
    job.execute()
    saved(1)
    resource = "prefect-jobs.scheduler.comes-and-goes"
    eventually(lambda: len(events_of(prefect_view, resource)) == 1, "it is unreachable", LIMIT)
    saved(alice.port)
    eventually(lambda: len(events_of(prefect_view, resource)) == 2, "it is reachable", LIMIT)
    assert [each["event"] for each in events_of(prefect_view, resource)] == [
        "prefect-jobs.scheduler.unreachable",
        "prefect-jobs.scheduler.reachable",
    ]
    job.stop()


@pytest.fixture
def block(prefect_view: PrefectView) -> Iterator[str]:
    made = CustomWebhookNotificationBlock.model_validate({"name": "ops", "url": "http://127.0.0.1:9/"})
    made.save("ops", overwrite=True)
    yield "custom-webhook/ops"
    names = {"automations": {"name": {"any_": [each["name"] for each in automations_with("")]}}}
    for each in prefect_view.post("/automations/filter", names):
        prefect_view.request("DELETE", f"/automations/{each['id']}")


def test_deploy_installs_automations(runtime: Runtime, block: str, prefect_view: PrefectView, tmp_path: Any) -> None:
    (tmp_path / "mine.py").write_text(APP)
    given = ("deploy", "mine:Mine", "--automations")
    assert "There is no block 'custom-webhook/none'" in run(*given, "custom-webhook/none", cwd=tmp_path, status=1)[1]
    assert "TYPE/NAME" in run(*given, "ops", cwd=tmp_path, status=1)[1]
    run(*given, block, cwd=tmp_path)
    names = {"automations": {"name": {"any_": NAMES}}}
    found = prefect_view.post("/automations/filter", names)
    assert sorted(each["name"] for each in found) == NAMES
    assert all(each["actions"][0]["block_document_id"] for each in found)
    # people's changes stay
    prefect_view.request("PATCH", f"/automations/{found[0]['id']}", {"enabled": False})
    run(*given, block, cwd=tmp_path)
    assert [each["enabled"] for each in prefect_view.post("/automations/filter", names)].count(False) == 1
