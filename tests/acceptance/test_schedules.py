"""Jobs on a schedule, on a real Prefect server: what people change there stays."""

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from typer.testing import CliRunner

from prefect_jobs import CondorScheduler, JobManager
from prefect_jobs.cli.root import app
from prefect_jobs.flows.condor_job import condor_job
from prefect_jobs.jobs.summary import details
from prefect_jobs.records import ScheduleRecord
from prefect_jobs.runtime.wiring import get_runtime
from prefect_jobs.schedule import Schedule
from tests.acceptance.conftest import PrefectView

pytestmark = pytest.mark.prefect

ATTRIBUTES = {"executable": "/bin/true"}


@pytest.fixture
def nightly(manager: JobManager) -> Iterator[Schedule]:
    schedule = manager.schedule_job(
        "nightly", "alice", "CONDOR", cron="0 3 * * *", timezone="Europe/Berlin", attributes=ATTRIBUTES
    )
    yield schedule
    for each in manager.list_schedules():
        each.delete()


def again(manager: JobManager, **changes: Any) -> Schedule:
    """The call that made it, with changes."""
    given = {"cron": "0 3 * * *", "timezone": "Europe/Berlin", "attributes": ATTRIBUTES, **changes}
    return manager.schedule_job("nightly", "alice", "CONDOR", **given)


def deployed(view: PrefectView, schedule: Schedule) -> dict[str, Any]:
    found: dict[str, Any] = view.get(f"/deployments/{schedule.deployment_id}")
    return found


def changed(view: PrefectView, schedule: Schedule) -> str:
    """Changes the deployment as people do in the Prefect UI; returns the id of a schedule of theirs."""
    there = deployed(view, schedule)
    path = f"/deployments/{schedule.deployment_id}"
    parameters = {**there["parameters"], "description": "set by hand"}
    parameters["attributes"] = {**parameters["attributes"], "request_memory": "8GB"}
    view.request("PATCH", path, {"parameters": parameters, "tags": [*there["tags"], "mine"], "paused": True})
    ours = there["schedules"][0]["id"]
    timing = {"cron": "30 4 * * *", "timezone": "Europe/Berlin"}
    only_here = {"num_jobs": 3}
    view.request("PATCH", f"{path}/schedules/{ours}", {"active": False, "schedule": timing, "parameters": only_here})
    theirs = [{"schedule": {"interval": 7200.0}, "active": True, "slug": "theirs", "parameters": {"name": "more"}}]
    (made,) = view.request("POST", f"{path}/schedules", theirs)
    return str(made["id"])


def by_slug(there: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["slug"]: each for each in there["schedules"]}


def test_a_schedule_is_a_deployment(manager: JobManager, nightly: Schedule, prefect_view: PrefectView) -> None:
    there = deployed(prefect_view, nightly)
    assert by_slug(there)["prefect-jobs"]["schedule"] == {
        "cron": "0 3 * * *",
        "timezone": "Europe/Berlin",
        "day_or": True,
    }
    assert {"prefect-jobs", "app:test_app", "user:alice"} <= set(there["tags"])
    assert nightly.name == "nightly" and nightly.user == "alice"
    assert nightly.url is None or nightly.deployment_id in nightly.url
    assert manager.list_schedules("bob") == []
    assert manager.list_schedules("alice") == [nightly] == [manager.get_schedule("nightly")]


def test_the_same_call_again_changes_nothing(manager: JobManager, nightly: Schedule, prefect_view: PrefectView) -> None:
    theirs = changed(prefect_view, nightly)
    before = deployed(prefect_view, nightly)
    # when
    assert again(manager) == nightly
    # then
    there = deployed(prefect_view, nightly)
    assert there == before  # also the time of its last change: Prefect removes the next runs at each one
    assert by_slug(there)["theirs"]["id"] == theirs


def test_another_call_changes_what_it_says_and_nothing_else(
    manager: JobManager, nightly: Schedule, prefect_view: PrefectView
) -> None:
    changed(prefect_view, nightly)
    # when
    again(manager, cron="0 6 * * *", attributes={"executable": "/bin/false"})
    # then
    there = deployed(prefect_view, nightly)
    ours = by_slug(there)["prefect-jobs"]
    assert ours["schedule"]["cron"] == "0 6 * * *" and not ours["active"] and ours["parameters"] == {"num_jobs": 3}
    assert there["parameters"]["attributes"] == {"executable": "/bin/false", "request_memory": "8GB"}
    assert there["parameters"]["description"] == "set by hand"
    assert there["paused"] and "mine" in there["tags"] and "theirs" in by_slug(there)


def test_update_changes_some_arguments(manager: JobManager, nightly: Schedule, prefect_view: PrefectView) -> None:
    new = nightly.update(interval=timedelta(hours=2), anchor=datetime(2026, 1, 1, tzinfo=UTC))
    there = deployed(prefect_view, new)
    timing = by_slug(there)["prefect-jobs"]["schedule"]
    assert timing["interval"] == 7200 and timing["timezone"] == "Europe/Berlin"
    assert there["parameters"]["attributes"] == ATTRIBUTES
    newer = new.update(attributes={"executable": "/bin/false"}, num_jobs=2)
    there = deployed(prefect_view, newer)
    assert by_slug(there)["prefect-jobs"]["schedule"] == timing
    assert (there["parameters"]["num_jobs"], there["parameters"]["attributes"]["executable"]) == (2, "/bin/false")
    # an object of before knows what was changed since
    newest = nightly.update(timezone="America/New_York")
    there = deployed(prefect_view, newest)
    timing = by_slug(there)["prefect-jobs"]["schedule"]
    assert (timing["interval"], timing["timezone"]) == (7200, "America/New_York")
    assert timing["anchor_date"].startswith("2026-01-01T00:00:00")
    assert there["parameters"]["num_jobs"] == 2
    with pytest.raises(TypeError, match="colour"):
        newer.update(colour="red")
    with pytest.raises(TypeError, match="does not change active, user"):
        newer.update(active=False, user="bob")
    newer.delete()
    with pytest.raises(ValueError, match="was deleted"):
        nightly.update(num_jobs=3)


def test_a_schedule_may_change_its_type(manager: JobManager, nightly: Schedule, prefect_view: PrefectView) -> None:
    changed(prefect_view, nightly)
    less = {key: value for key, value in deployed(prefect_view, nightly)["parameters"].items() if key != "app"}
    prefect_view.request("PATCH", f"/deployments/{nightly.deployment_id}", {"parameters": less})
    new = manager.schedule_job("nightly", "alice", "BASIC", cron="0 3 * * *")
    there = deployed(prefect_view, new)
    assert there["entrypoint"].endswith(":basic_job") and "attributes" not in there["parameters"]
    assert there["parameters"]["app"] == "test_app"
    # what people have changed
    assert not by_slug(there)["prefect-jobs"]["active"] and there["paused"] and "mine" in there["tags"]
    assert by_slug(there)["theirs"]["parameters"] == {"name": "more"}
    assert prefect_view.status(f"/deployments/{nightly.deployment_id}") == 404
    assert manager.list_schedules() == [new]


def test_each_user_has_names_of_its_own(manager: JobManager, nightly: Schedule) -> None:
    other = manager.schedule_job("nightly", "bob", "BASIC", interval=3600)
    assert other.deployment_id != nightly.deployment_id
    with pytest.raises(ValueError, match="Several users have a schedule 'nightly': 'alice', 'bob'"):
        manager.get_schedule("nightly")
    assert manager.get_schedule("nightly", "bob") == other
    assert manager.get_schedule("weekly") is None


def test_the_next_runs(manager: JobManager, nightly: Schedule) -> None:
    now = datetime.now(UTC)
    first, second = nightly.next_runs(2)
    assert now < first < second and {first.minute, second.minute} == {0}
    assert first.hour in (1, 2)  # 3 o'clock in Berlin
    anchor = now.replace(minute=0, second=0, microsecond=0)
    hourly = manager.schedule_job("hourly", "alice", "BASIC", interval=3600, anchor=anchor)
    assert hourly.next_runs(3) == [anchor + timedelta(hours=hours) for hours in (1, 2, 3)]
    weekly = manager.schedule_job("weekly", "alice", "BASIC", rrule="FREQ=WEEKLY;BYDAY=MO;BYHOUR=9;BYMINUTE=0")
    (monday,) = weekly.next_runs(1)
    assert (monday.weekday(), monday.hour) == (0, 9)
    weekly.pause()
    assert weekly.next_runs() == []
    weekly.resume()
    assert len(weekly.next_runs(5)) == 5
    off = manager.schedule_job("off", "alice", "BASIC", interval=3600, active=False)
    assert off.next_runs() == []
    off.resume()
    assert len(off.next_runs(2)) == 2


def test_a_run_now_and_the_jobs_of_a_schedule(
    manager: JobManager, nightly: Schedule, prefect_view: PrefectView
) -> None:
    run_id = nightly.run_now()
    run = prefect_view.get(f"/flow_runs/{run_id}")
    assert (run["deployment_id"], run["state_type"]) == (nightly.deployment_id, "SCHEDULED")
    assert run["parameters"]["attributes"] == ATTRIBUTES

    # when its flow makes the job
    def make() -> Any:
        return manager.create_job("nightly", "alice", job_type="CONDOR", attributes=ATTRIBUTES)

    job, known = manager.job_of_run(run_id, make, nightly.deployment_id)
    job.save()
    other, _ = manager.job_of_run(str(uuid.uuid4()), make)
    other.save()
    # then
    assert (known, job.schedule, other.schedule) == (False, "nightly", None)
    assert [found.id for found in nightly.jobs()] == [job.id]
    assert manager.list_jobs(filters={"schedule": "nightly"})[0].id == job.id


def test_a_schedule_that_was_deleted_in_prefect(
    manager: JobManager, nightly: Schedule, prefect_view: PrefectView
) -> None:
    prefect_view.request("DELETE", f"/deployments/{nightly.deployment_id}")
    for call in (nightly.run_now, nightly.next_runs, nightly.pause):
        with pytest.raises(ValueError, match="'nightly' was deleted in Prefect"):
            call()
    new = again(manager)
    assert new.deployment_id != nightly.deployment_id and new.next_runs(1)
    nightly.delete()  # an object of before
    assert prefect_view.status(f"/deployments/{new.deployment_id}") == 404
    new.delete()
    assert manager.list_schedules() == []


def test_a_schedule_of_an_earlier_version_is_taken_over(
    manager: JobManager, nightly: Schedule, prefect_view: PrefectView
) -> None:
    # given a deployment named without the user, with a schedule that has no slug
    there = deployed(prefect_view, nightly)
    nightly.delete()
    old = {
        "name": "test_app nightly",
        "flow_id": there["flow_id"],
        "entrypoint": there["entrypoint"],
        "parameters": there["parameters"],
        "schedules": [{"schedule": {"cron": "0 3 * * *", "timezone": "UTC"}, "active": True}],
    }
    made = prefect_view.request("POST", "/deployments/", old)
    # when
    new = again(manager)
    # then
    assert new.deployment_id == made["id"]
    (timing,) = deployed(prefect_view, new)["schedules"]
    assert (timing["schedule"]["timezone"], timing["slug"]) == ("Europe/Berlin", "prefect-jobs")


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "needs one of cron, interval and rrule, not none"),
    ({"cron": "0 3 * * *", "interval": 5}, "not cron and interval"),
    ({"interval": -1}, "longer than 0 s"),
    ({"interval": "often"}, "a timedelta or seconds, not 'often'"),
    ({"cron": "every night"}, "cannot read the schedule cron='every night'"),
    ({"rrule": "FREQ=SOMETIMES"}, "cannot read the schedule rrule='FREQ=SOMETIMES'"),
    ({"cron": "0 3 * * *", "timezone": "Europe/Atlantis"}, "'Europe/Atlantis' is not a time zone"),
    ({"cron": "0 3 * * *", "anchor": datetime(2026, 1, 1, tzinfo=UTC)}, "anchor is for an interval"),
    ({"interval": 60, "anchor": datetime(2026, 1, 1)}, "a time with a zone"),
    ({"interval": 60, "num_jobs": "many"}, "number of processes"),
    ({"interval": 60, "extended_properties": {"since": datetime(2026, 1, 1, tzinfo=UTC)}}, "must be JSON values"),
    ({"rrule": "FREQ=DAILY;COUNT=3"}, "Add a DTSTART"),
    ({"rrule": 3}, "rrule must be a text, not 3"),
]


@pytest.mark.parametrize(("wrong", "said"), BAD)
def test_a_bad_schedule_is_refused_and_nothing_is_made(manager: JobManager, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        manager.schedule_job("x", "alice", "CONDOR", attributes=ATTRIBUTES, **wrong)
    assert manager.list_schedules() == []


def test_the_commands(manager: JobManager, nightly: Schedule, prefect_view: PrefectView) -> None:
    manager.schedule_job("nightly", "bob", "BASIC", interval=3600)

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, ["schedules", *words])

    rows = json.loads(run("list", "--json").stdout)
    assert [(row["name"], row["user"], row["type"]) for row in rows] == [
        ("nightly", "alice", "CONDOR"),
        ("nightly", "bob", "BASIC"),
    ]
    assert "0 3 * * * Europe/Berlin" in run("list", "--user", "alice").stdout
    assert run().stdout == run("list").stdout and "every 3600 s" in run().stdout
    for wrong, said in ((("pause", "weekly"), "no schedule 'weekly'"), (("pause", "nightly"), "Give --app and --user")):
        failed = run(*wrong)
        assert failed.exit_code == 1 and said in failed.stderr
    mine = ("nightly", "--user", "alice")
    assert run("pause", *mine).exit_code == 0 and deployed(prefect_view, nightly)["paused"]
    assert run("resume", *mine).exit_code == 0 and not deployed(prefect_view, nightly)["paused"]
    run_id = json.loads(run("run", *mine, "--json").stdout)["flow_run_id"]
    assert prefect_view.get(f"/flow_runs/{run_id}")["deployment_id"] == nightly.deployment_id
    assert run("delete", *mine).exit_code == 0
    assert [schedule.user for schedule in manager.list_schedules()] == ["bob"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_the_async_twins(manager: JobManager, nightly: Schedule, prefect_view: PrefectView) -> None:
    assert await manager.alist_schedules() == [await manager.aget_schedule("nightly")]
    new = await nightly.aupdate(cron="0 5 * * *")
    assert (await new.anext_runs(1))[0].hour in (3, 4)
    await new.apause()
    await new.aresume()
    assert prefect_view.exists(await new.arun_now())
    assert await new.ajobs() == []
    await new.adelete()
    assert await manager.alist_schedules() == []


def test_a_run_makes_a_job_of_the_schedule(manager: JobManager, alice: CondorScheduler) -> None:
    # given a run as a worker gets it
    schedule = manager.schedule_job(
        "each day", "alice", "CONDOR", interval=86_400, scheduler=alice, timeout=180,
        attributes={**ATTRIBUTES, "transfer_executable": False, "request_memory": "32MB"},
    )  # fmt: skip
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(schedule.run_now()))
    # when
    run_flow(condor_job, flow_run=run, parameters=run.parameters)
    # then
    (job,) = schedule.jobs()
    assert (job.cached_status, job.schedule, job.flow_run_id) == ("Complete", "each day", str(run.id))
    assert details(job)["schedule"] == "each day"
    schedule.delete()
    assert manager.get_job(job.id or 0) is not None


def test_names_that_could_be_others(manager: JobManager, prefect_view: PrefectView) -> None:
    names = [
        ("alice smith", "run"),
        ("alice", "smith run"),
        ("bob", "R&D? <a>#1"),
        ("bob", "R-D- -a--1"),
        ("bob", "x" * 900),
    ]
    made = [manager.schedule_job(name, user, "BASIC", interval=3600) for user, name in names]
    assert len({schedule.deployment_id for schedule in made}) == len(names)
    for (user, name), schedule in zip(names, made, strict=True):
        assert deployed(prefect_view, schedule)["parameters"]["user"] == user
        # found again by its name, where no row tells
        get_runtime().store.delete_schedule(ScheduleRecord("test_app", user, name, "BASIC"))
        assert manager.schedule_job(name, user, "BASIC", interval=3600) == schedule
        schedule.delete()


def test_another_database_has_schedules_of_its_own(
    manager: JobManager, nightly: Schedule, prefect_view: PrefectView, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = get_runtime().store
    store.delete_schedule(ScheduleRecord("test_app", "alice", "nightly", "CONDOR"))
    with monkeypatch.context() as other:
        other.setattr(type(store), "identity", "another database")
        theirs = again(manager, cron="0 7 * * *")
    assert theirs.deployment_id != nightly.deployment_id
    theirs.delete()
    assert by_slug(deployed(prefect_view, nightly))["prefect-jobs"]["schedule"]["cron"] == "0 3 * * *"
    assert again(manager) == nightly


def test_arguments_that_the_flow_does_not_take(manager: JobManager) -> None:
    with pytest.raises(ValueError, match="'dask-job' takes no workspace"):
        manager.schedule_job("x", "alice", "DASK", interval=60, function="os.getcwd", workspace="here")
    with pytest.raises(ValueError, match="not blank"):
        manager.schedule_job(" ", "alice", "BASIC", interval=60)
    assert manager.list_schedules() == []


def test_values_that_json_writes_otherwise_are_no_change(manager: JobManager, prefect_view: PrefectView) -> None:
    def call() -> Schedule:
        return manager.schedule_job(
            "x", "alice", "DASK", interval=3600, function="builtins.max", arguments=[(1, 2)], description=None
        )

    there = deployed(prefect_view, call())
    assert "description" not in there["parameters"]
    schedule = call()
    assert deployed(prefect_view, schedule) == there
    schedule.delete()


def test_one_call_at_a_time(manager: JobManager) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda hour: again(manager, cron=f"0 {hour} * * *"), range(4)))
    assert len({schedule.deployment_id for schedule in made}) == 1
    (schedule,) = manager.list_schedules()
    record = get_runtime().store.schedule("test_app", "alice", "nightly")
    assert record is not None
    assert record.timing["cron"] == f"0 {schedule.next_runs(1)[0].astimezone(ZoneInfo('Europe/Berlin')).hour} * * *"
    schedule.delete()
