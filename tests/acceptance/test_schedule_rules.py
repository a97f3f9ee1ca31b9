"""Runs of schedules that overlap, or are late, on a real Prefect server and pool."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from prefect_jobs import JobManager
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.monitor import Monitor
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.schedule import Schedule
from tests.acceptance.conftest import PrefectView
from tests.acceptance.test_monitor import running
from tests.support import eventually

pytestmark = pytest.mark.prefect

LIMIT = 120
NEVER = timedelta(days=300)


@pytest.fixture(autouse=True)
def tidy(manager: JobManager) -> Iterator[None]:
    yield
    for each in manager.list_schedules():
        each.delete()


def quick(manager: JobManager, alice: CondorScheduler, name: str, line: str = "true", **more: Any) -> Schedule:
    """A schedule of its own runs far away, so that a test makes those that it needs."""
    attributes = {
        "executable": "/bin/sh",
        "transfer_executable": False,
        "arguments": ["-c", line],
        "request_memory": "16MB",
    }
    given = {"interval": NEVER, "anchor": datetime.now(UTC) + NEVER, **more}
    return manager.schedule_job(name, "alice", "CONDOR", attributes=attributes, scheduler=alice, **given)


def due(view: PrefectView, schedule: Schedule, *ago: float) -> list[str]:
    """Runs that the schedule has made for times that are past by now."""
    made = []
    for seconds in ago:
        time = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": time}}
        run = view.post(f"/deployments/{schedule.deployment_id}/create_flow_run", {"state": state})
        made.append(str(run["id"]))
    return made


def as_scheduled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect's API does not let one make a run as its scheduler does; its mark is added as runs are read."""
    from prefect_jobs.projection.offers import Offer

    plain = Offer.of.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(Offer, "of", classmethod(lambda cls, run: plain(cls, {**run, "auto_scheduled": True})))


def outcome(view: PrefectView, run_id: str) -> tuple[str, str]:
    """Type and message of the run's state, once it has ended."""
    ended = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
    run: Any = eventually(
        lambda: (found := view.get(f"/flow_runs/{run_id}"))["state_type"] in ended and found, "the run ends", LIMIT
    )
    return run["state_type"], run["state"]["message"] or ""


def test_missed_runs(
    manager: JobManager, alice: CondorScheduler, prefect_view: PrefectView, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given runs that came due while no monitor was there
    as_scheduled(monkeypatch)
    all_ = due(prefect_view, quick(manager, alice, "all"), 7300, 90)
    latest = due(prefect_view, quick(manager, alice, "latest", catch_up="latest"), 7300, 3700, 90)
    none = due(prefect_view, quick(manager, alice, "none", catch_up="none"), 90, 5)
    late = due(prefect_view, quick(manager, alice, "late", max_lateness=timedelta(hours=1)), 7300, 90)
    with running(Monitor()):
        found = {run: outcome(prefect_view, run) for run in [*all_, *latest, *none, *late]}
    assert [found[run][0] for run in all_] == ["COMPLETED"] * 2
    assert [found[run][0] for run in latest] == ["CANCELLED", "CANCELLED", "COMPLETED"]
    assert found[latest[0]][1] == "Missed: 2 h late, and a later run is due; catch_up is 'latest'."
    assert [found[run][0] for run in none] == ["CANCELLED", "COMPLETED"]
    assert found[none[0]][1].startswith("Missed: ") and found[none[0]][1].endswith("catch_up is 'none'.")
    assert [found[run][0] for run in late] == ["CANCELLED", "COMPLETED"]
    assert found[late[0]][1] == "Missed: 2 h late; max_lateness is 60 min."
    # and only those that ran have jobs
    assert len(manager.list_jobs()) == 5


def test_runs_that_overlap(
    manager: JobManager,
    alice: CondorScheduler,
    prefect_view: PrefectView,
    monkeypatch: pytest.MonkeyPatch,
    flag: Path,
) -> None:
    # given jobs that take until the test lets them end, and a monitor
    monkeypatch.setenv("PREFECT_JOBS_POLL_INTERVAL", "1")
    as_scheduled(monkeypatch)
    line = f"while test ! -e '{flag}'; do sleep 0.2; done"
    both = quick(manager, alice, "both", line)
    skip = quick(manager, alice, "skip", line, overlap="skip")
    wait = quick(manager, alice, "wait", line, overlap="wait")
    with running(Monitor()):
        first = {each.name: due(prefect_view, each, 0)[0] for each in (both, skip, wait)}
        for each in (both, skip, wait):
            eventually(each.jobs, f"{each.name} has a job", LIMIT)
        second = {each.name: due(prefect_view, each, 0)[0] for each in (both, skip, wait)}
        # then one begins, one is skipped, and one waits
        eventually(lambda: len(both.jobs()) == 2, "they overlap", LIMIT)
        kind, message = outcome(prefect_view, second["skip"])
        assert kind == "CANCELLED" and message.startswith(f"Skipped: job {skip.jobs()[0].id} of this schedule is ")

        def waits() -> bool:
            state = prefect_view.get(f"/flow_runs/{second['wait']}")["state"]
            return bool(state["name"] == "AwaitingConcurrencySlot" and "overlap is 'wait'" in state["message"])

        eventually(waits, "it waits, and says why", LIMIT)
        assert len(wait.jobs()) == 1
        # when the first ones end
        flag.touch()
        assert outcome(prefect_view, first["wait"])[0] == "COMPLETED"
        assert outcome(prefect_view, second["wait"])[0] == "COMPLETED"
        assert len(wait.jobs()) == 2 and len(skip.jobs()) == 1


def test_runs_that_prefect_makes_by_itself_follow_the_rules(
    manager: JobManager, alice: CondorScheduler, prefect_view: PrefectView
) -> None:
    with running(Monitor()):
        schedule = quick(
            manager, alice, "often", "sleep 600", interval=2, anchor=datetime.now(UTC), overlap="skip",
            description="each two seconds",
        )  # fmt: skip

        def skipped() -> list[Any]:
            wanted = {
                "deployments": {"id": {"any_": [schedule.deployment_id]}},
                "flow_runs": {"state": {"type": {"any_": ["CANCELLED"]}}},
            }
            found: list[Any] = prefect_view.post("/flow_runs/filter", wanted)
            return found if len(found) > 2 else []

        messages = [run["state"]["message"] for run in eventually(skipped, "runs are skipped", LIMIT)]
        assert all(message.startswith("Skipped: ") for message in messages)
        (job,) = schedule.jobs()
        assert job.schedule == "often" and "auto-scheduled" in prefect_view.run(job)["tags"]
        schedule.pause()
        job.stop()


def test_bad_rules(manager: JobManager, alice: CondorScheduler) -> None:
    for wrong, message in (
        ({"overlap": "maybe"}, "overlap is one of 'allow', 'skip', 'wait', not 'maybe'"),
        ({"catch_up": "some"}, "catch_up is one of 'all', 'latest', 'none', not 'some'"),
        ({"max_lateness": 0}, "max_lateness must be longer than 0 s"),
        ({"max_lateness": "soon"}, "max_lateness must be a timedelta or seconds, not 'soon'"),
    ):
        with pytest.raises(ValueError, match=message):
            quick(manager, alice, "wrong", **wrong)
    assert manager.list_schedules() == []


def test_rules_are_changed_like_the_rest(manager: JobManager, alice: CondorScheduler, runtime: Runtime) -> None:
    made = quick(manager, alice, "one", overlap="skip", max_lateness=60)
    made.update(catch_up="none", max_lateness=None)
    (record,) = runtime.store.schedules("test_app")
    assert record.rules == {"overlap": "skip", "catch_up": "none"}
