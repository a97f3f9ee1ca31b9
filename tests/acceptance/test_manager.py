"""JobManager and App: making, finding, filtering, schedulers of an app, callback URLs, schedules."""

import threading
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import event
from starlette.requests import Request

from prefect_jobs import (
    App,
    BasicJob,
    CondorJob,
    JobManager,
    SchedulerEngineMismatch,
    SchedulerNotAssigned,
    SchedulerSetting,
    SchedulerSettingDoesNotExist,
    create_condor_scheduler,
    create_dask_scheduler,
    create_scheduler,
    get_scheduler,
    list_schedulers,
)
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.settings import get_settings
from tests.acceptance import coffee
from tests.acceptance.conftest import PrefectView

pytestmark = pytest.mark.prefect


class OtherApp(App):
    """Another app on the same database."""

    name = "Other"
    package = "other_app"

    def scheduler_settings(self) -> Iterable[SchedulerSetting]:
        return (
            SchedulerSetting("condor_primary"),
            SchedulerSetting("needed", required=True),
            SchedulerSetting("cluster", SchedulerSetting.DASK),
        )


# -- making -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("job_type", [None, "NOPE", 3, dict])
def test_an_unknown_type_lists_the_valid_ones(manager: JobManager, job_type: Any) -> None:
    with pytest.raises(ValueError, match=r"BASIC.*CONDOR.*CONDORJOB"):
        manager.create_job("x", "alice", job_type=job_type)


def test_an_unknown_keyword_names_the_valid_ones(manager: JobManager) -> None:
    with pytest.raises(TypeError, match=r"'colour'.*attributes.*scheduler"):
        manager.create_job("x", "alice", job_type="CONDOR", colour="red")
    with pytest.raises(TypeError, match="scheduler"):
        manager.create_job("x", "alice", job_type="BASIC", scheduler="pool")


@pytest.mark.parametrize("name", ["", "   ", "x" * 1025])
def test_a_name_that_is_none_is_refused(manager: JobManager, name: str) -> None:
    with pytest.raises(ValueError, match=r"name"):
        manager.create_job(name, "alice", job_type="BASIC")


@pytest.mark.parametrize("job_type", ["basic", "BASIC", BasicJob])
def test_a_new_job_is_unsaved_until_it_is_saved(manager: JobManager, job_type: Any) -> None:
    job = manager.create_job("job {id}", "alice", job_type=job_type)
    assert [job.id, manager.count_jobs()] == [None, 0]
    job.save()
    assert job.name == f"job {job.id}" and manager.count_jobs() == 1
    assert job.creation_time.tzinfo is not None and job.run_time == ""


def test_groups_save_it_at_once(manager: JobManager) -> None:
    job = manager.create_job("x", "alice", ["modellers", SimpleNamespace(name="students")], "BASIC")
    assert job.id is not None and set(job.groups) == {"modellers", "students"}
    assert [found.id for found in manager.list_jobs(groups="students")] == [job.id]
    assert manager.list_jobs(groups=["nobody"]) == []


@pytest.mark.parametrize(
    ("user", "name"),
    [
        ("alice", "alice"),
        (SimpleNamespace(username="bob", is_anonymous=False, is_authenticated=True), "bob"),
        (SimpleNamespace(display_name="Eve", is_authenticated=True), "Eve"),
        (SimpleNamespace(username="", is_anonymous=True), "anonymous"),
        (SimpleNamespace(display_name="x", is_authenticated=False), "anonymous"),
    ],
)
def test_users_of_any_framework_become_names(manager: JobManager, user: Any, name: str) -> None:
    assert manager.create_job("x", user, job_type="BASIC").user == name


def test_what_is_read_only_cannot_be_set(manager: JobManager) -> None:
    job = manager.create_job("x", "alice", job_type="BASIC")
    for name in ("id", "user", "label", "type", "groups", "creation_time", "execute_time", "start_time",
                 "completion_time", "run_time", "cached_status", "status_message", "last_status_update",
                 "flow_run_id", "flow_run_url"):  # fmt: skip
        with pytest.raises(AttributeError):
            setattr(job, name, "x")


def test_a_results_function_must_be_importable(manager: JobManager) -> None:
    job = manager.create_job("x", "alice", job_type="BASIC", process_results_function=coffee.note)
    assert job.process_results_function is coffee.note
    for bad in (lambda job: None, "no.such.module", "prefect_jobs.nothing", "nodots"):
        with pytest.raises(ValueError, match=r"import|function|dotted|lambda"):
            job.process_results_function = bad


# -- finding ------------------------------------------------------------------------------------------------------


def test_an_app_sees_its_own_jobs_only(manager: JobManager) -> None:
    mine = manager.create_job("mine", "alice", job_type="BASIC")
    mine.save()
    assert mine.id is not None
    other = OtherApp.get_job_manager()
    assert other.list_jobs() == [] and other.get_job(mine.id) is None
    assert manager.get_job(str(mine.id)) is not None
    for wrong in (mine.id + 99, 0, -1, "x", "", "1.5", None, True, 10**20):
        assert manager.get_job(wrong) is None  # type: ignore[arg-type]
    assert manager.get_job(mine.id, user="bob") is None
    assert manager.get_job(mine.id, filters={"name": "another"}) is None


def test_a_list_costs_the_same_statements_whatever_its_length_and_asks_nobody(
    manager: JobManager, runtime: Runtime
) -> None:
    statements: list[str] = []

    def noted(*args: Any) -> None:
        if threading.current_thread() is threading.main_thread():  # not what shows jobs in Prefect
            statements.append(args[2])

    event.listen(runtime.store.database.engine, "before_cursor_execute", noted)
    counts = []
    for number in (1, 30):
        for _ in range(number):
            manager.create_job("x", "alice", ["group"], "BASIC")
        runtime.projector.flush(30)
        statements.clear()
        manager.list_jobs(limit=50)
        counts.append(
            len([text for text in statements if "job_messages" not in text and text.startswith("SELECT jobs")])
        )
    assert counts[0] == counts[1] == 1


def test_filters_order_and_pages(manager: JobManager) -> None:
    for number in range(5):
        job = manager.create_job(f"job {number}", "alice" if number % 2 else "bob", job_type="BASIC",
                                 extended_properties={"run": {"number": number}})  # fmt: skip
        job.save()
        if number == 3:
            job.status = "Calibrating"

    def names(**query: Any) -> list[str]:
        return [job.name for job in manager.list_jobs(**query)]

    assert names(order_by="-name", limit=2, offset=1) == ["job 3", "job 2"]
    assert names(user="bob") == ["job 0", "job 2", "job 4"]
    assert names(filters={"extended_properties__run__number__gte": 3}) == ["job 3", "job 4"]
    assert names(filters={"status": "Calibrating"}) == names(filters={"status_code": "OTH"}) == ["job 3"]
    assert manager.count_jobs(filters={"name__icontains": "JOB"}) == 5
    for wrong in (
        {"filters": {"colour": 1}},
        {"filters": {"name__like": 1}},
        {"order_by": "colour"},
        {"user": "a", "groups": "b"},
    ):
        with pytest.raises(ValueError, match=r"."):
            manager.list_jobs(**wrong)


# -- schedulers of an app -------------------------------------------------------------------------------------------


def test_assignments_outlive_the_process_and_check_the_engine(runtime: Runtime, alice: CondorScheduler) -> None:
    create_dask_scheduler("a_cluster", "127.0.0.1:8786").save(overwrite=True)
    with pytest.raises(SchedulerSettingDoesNotExist, match="condor_primary"):
        OtherApp.get_scheduler("nope")
    assert OtherApp.get_scheduler("condor_primary") is None
    with pytest.raises(SchedulerNotAssigned, match="prefect-jobs assign"):
        OtherApp.get_scheduler("needed")
    with pytest.raises(ValueError, match="no saved scheduler"):
        OtherApp.assign_scheduler("needed", "nowhere")
    with pytest.raises(SchedulerEngineMismatch, match="htcondor"):
        OtherApp.assign_scheduler("needed", "a_cluster")
    OtherApp.assign_scheduler("needed", alice)
    OtherApp.assign_scheduler("cluster", "a-cluster")
    assert OtherApp.get_scheduler("needed").name == "pool-of-alice"
    assert OtherApp.get_scheduler("cluster").host == "127.0.0.1:8786"


def test_blocks_are_made_found_and_never_tell_their_secrets(runtime: Runtime) -> None:
    block = create_scheduler("Some_Pool", "pool.example.org", token="s3cret", password=None)
    assert block.name == "some-pool" and not block.saved
    block.save(overwrite=True)
    found = get_scheduler("some_pool")
    assert isinstance(found, CondorScheduler) and found.token is not None
    assert found.token.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(found) + str(found.model_dump()) + str(found.access())
    assert "some-pool" in [one.name for one in list_schedulers()]
    assert get_scheduler("not there") is None
    refused: tuple[Callable[[], Any], ...] = (
        lambda: create_scheduler("x", "h", "slurm"),
        lambda: create_scheduler("x", "h", colour="red"),
        lambda: create_scheduler("a/b", "h"),
        lambda: create_scheduler("", "h"),
        lambda: create_condor_scheduler("x", ""),
        lambda: create_condor_scheduler("x", "h", port=70000, token="s3cret"),
        lambda: create_condor_scheduler("x", "h", "user", token="s3cret"),
    )
    for wrong in refused:
        with pytest.raises(ValueError, match=r".") as caught:
            wrong()
        assert "s3cret" not in str(caught.value)


def test_a_scheduler_must_be_saved_and_of_the_right_engine(manager: JobManager) -> None:
    with pytest.raises(ValueError, match=r"saved first.*save\(\)"):
        manager.create_job("x", "alice", job_type="CONDOR", scheduler=create_condor_scheduler("unsaved", "h"))
    dask = create_dask_scheduler("a_cluster", "127.0.0.1:8786")
    dask.save(overwrite=True)
    with pytest.raises(SchedulerEngineMismatch):
        manager.create_job("x", "alice", job_type="CONDOR", scheduler=dask)


# -- callbacks, many at once, schedules -----------------------------------------------------------------------------


def test_callback_urls(manager: JobManager, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = {
        "type": "http",
        "scheme": "https",
        "server": ("jobs.example.org", 443),
        "path": "/",
        "root_path": "/apps",
        "headers": [],
        "query_string": b"",
        "method": "GET",
    }
    assert manager.get_job_status_callback_url(Request(scope), 7).endswith("/apps/update-job-status/7/")
    django = SimpleNamespace(build_absolute_uri=lambda path: f"https://d.example.org{path}")
    assert manager.get_job_status_callback_url(django, "7") == "https://d.example.org/update-job-status/7/"
    with pytest.raises(ValueError, match="PUBLIC_URL"):
        manager.get_job_status_callback_url(None, 7)
    monkeypatch.setattr(runtime.settings, "public_url", "https://p.example.org/x")
    assert manager.get_job_status_callback_url(None, 7) == "https://p.example.org/x/update-job-status/7/"
    monkeypatch.setattr(runtime.settings, "callback_secret", get_settings().secret_key or _secret("k"))
    assert "?token=" in manager.get_job_status_callback_url(None, 7)
    assert manager.get_job_status_callback_url(None, 7) != manager.get_job_status_callback_url(None, 8).replace(
        "/8/", "/7/"
    )


def _secret(text: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(text)


def test_one_bad_job_does_not_stop_the_others(manager: JobManager) -> None:
    jobs = [manager.create_job(f"cups {cups}", "alice", job_type=coffee.Coffee, cups=cups) for cups in (1, 10, 2)]
    told: list[tuple[str, bool]] = []
    manager.execute_jobs(jobs, progress=lambda job, error: told.append((job.name, error is None)))
    assert [job.cached_status for job in jobs] == ["Submitted", "Error", "Submitted"]
    assert told == [("cups 1", True), ("cups 10", False), ("cups 2", True)]


def test_a_schedule_is_a_deployment_that_can_be_paused_and_deleted(
    manager: JobManager, prefect_view: PrefectView, alice: CondorScheduler
) -> None:
    schedule = manager.schedule_job(
        "nightly", "alice", "CONDOR", cron="0 3 * * *", timezone="Europe/Berlin",
        attributes={"executable": "/bin/true"}, scheduler=alice,
    )  # fmt: skip
    found = prefect_view._api.get(f"/deployments/{schedule.deployment_id}").json()
    assert found["schedules"][0]["schedule"]["cron"] == "0 3 * * *"
    assert found["parameters"] == {
        "name": "nightly",
        "user": "alice",
        "app": "test_app",
        "scheduler": "pool-of-alice",
        "attributes": {"executable": "/bin/true"},
    }
    schedule.pause()
    assert prefect_view._api.get(f"/deployments/{schedule.deployment_id}").json()["paused"]
    schedule.resume()
    schedule.delete()
    assert prefect_view._api.get(f"/deployments/{schedule.deployment_id}").status_code == 404
    for wrong in ({}, {"cron": "0 3 * * *", "interval": 5}, {"interval": -1}, {"cron": "every night"}):
        with pytest.raises(ValueError, match=r"."):
            manager.schedule_job("x", "alice", "CONDOR", attributes={"executable": "x"}, **wrong)
    with pytest.raises(TypeError, match="colour"):
        manager.schedule_job("x", "alice", "CONDOR", interval=60, colour="red")


# -- async twins ----------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_every_call_that_waits_has_an_async_twin(manager: JobManager) -> None:
    job = await manager.acreate_job("coffee", "alice", job_type=coffee.Coffee)
    await job.asave()
    await job.aexecute()
    assert await manager.acount_jobs() == 1 and (await manager.alist_jobs())[0].id == job.id
    assert await job.await_completion(10) == "Complete"
    assert await job.astatus() == "Complete" and await job.aget_logs() == {}
    assert await job.aflow_run_id() == job.flow_run_id and await job.aflow_run_url() == job.flow_run_url
    await job.aresubmit()
    await job.astop()
    assert job.cached_status == "Aborted"
    await job.adelete()
    assert await manager.aget_job(job.id or 0) is None


@pytest.mark.anyio
async def test_the_sync_form_blocks_inside_a_running_loop(manager: JobManager) -> None:
    job = manager.create_job("coffee", "alice", job_type=coffee.Coffee)
    job.execute()
    assert job.wait(10) == "Complete"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_a_condor_job_checks_what_it_is_given(manager: JobManager) -> None:
    with pytest.raises(ValueError, match="vanilla_base"):
        manager.create_job("x", "alice", job_type="CONDOR", condorpy_template_name="nope")
    for wrong in (
        {"num_jobs": 0},
        {"num_jobs": "3"},
        {"attributes": {"queue": 3}},
        {"attributes": {"a b": 1}},
        {"attributes": {"arguments": ["a\nb"]}},
    ):
        with pytest.raises(ValueError, match=r"."):
            manager.create_job("x", "alice", job_type="CONDOR", **wrong)
    job = manager.create_job("x", "alice", job_type="CONDOR", condorpy_template_name="vanilla_nfs")
    assert isinstance(job, CondorJob)
    job.set_attribute("Request_Memory", "1GB")
    job.set_attribute("request_memory", "2GB")
    assert job.get_attribute("REQUEST_MEMORY") == "2GB" and job.attributes["should_transfer_files"] == "NO"
    job.attributes["rank"] = "Memory"
    job.save()
    again = manager.get_job(job.id or 0)
    assert isinstance(again, CondorJob) and again.get_attribute("rank") == "Memory"
