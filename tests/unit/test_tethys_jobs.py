"""Jobs as apps of the Tethys Platform make, read and change them, with fake schedulers."""

from datetime import timedelta
from typing import Any

import pytest
from dask.delayed import delayed

import prefect_jobs
from prefect_jobs import JobStateError, clock, tethys
from prefect_jobs.jobs import polling
from prefect_jobs.records import JobRecord
from prefect_jobs.runtime.wiring import get_runtime
from prefect_jobs.store.filters import JobQuery
from prefect_jobs.testing import FakeSchedulers
from prefect_jobs.tethys import (
    JOB_TYPES,
    BasicJob,
    CondorJob,
    CondorWorkflow,
    CondorWorkflowJobNode,
    DaskJob,
    JobManager,
    TethysAppBase,
    TethysAppSettingDoesNotExist,
    TethysAppSettingNotAssigned,
    TethysJob,
)
from tests.unit.test_lifecycle import schedulers

__all__ = ["schedulers"]
PROGRAM = {"executable": "/bin/true", "transfer_executable": False}


class Moved(TethysAppBase):
    name = "Moved"
    package = "moved"
    color = "#123456"

    def scheduler_settings(self) -> Any:
        return (prefect_jobs.SchedulerSetting(name="primary", engine=prefect_jobs.SchedulerSetting.DASK),)


class Portal:
    """A user of Django."""

    def __init__(self, username: str) -> None:
        self.username = username


class Gauges(TethysJob):
    """A type as an app of the peer has it: hooks set the status, and return nothing."""

    def _execute(self, *args: Any, **kwargs: Any) -> None:
        self.extended_properties["read"] = 0
        self.status_message = "the gauges are asked"

    def _update_status(self, *args: Any, **kwargs: Any) -> None:
        step = self.extended_properties["read"] = self.extended_properties["read"] + 1
        self._status, self.status_message = ("RUN", "COM", "COM")[step - 1], f"step {step}"
        self.save()

    def _process_results(self, *args: Any, **kwargs: Any) -> None:
        self.extended_properties["done"] = True
        self._status = "COM"

    def _resubmit(self, *args: Any, **kwargs: Any) -> None:
        self.execute()


class Fails(Gauges):
    """One whose hooks set errors."""

    async def _update_status(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        self._status = "Results-Ready"

    def _process_results(self, *args: Any, **kwargs: Any) -> None:
        self._status, self.status_message = "ERR", "no gauge has answered"


class Watched(CondorJob):
    """One that looks at what the built-in hook finds, and returns nothing."""

    def _update_status(self, *args: Any, **kwargs: Any) -> None:
        super()._update_status()
        self.extended_properties["polls"] = self.extended_properties.get("polls", 0) + 1

    def _process_results(self, *args: Any, **kwargs: Any) -> None:
        super()._process_results()
        self._status, self.status_message = "COM", "all is drawn"


class MoreGauges(Gauges):
    """One that extends a type of the app."""

    def _update_status(self, *args: Any, **kwargs: Any) -> None:
        super()._update_status()
        self.status_message = f"{self.status_message}, {self._status}"


@pytest.fixture
def manager(schedulers: FakeSchedulers) -> JobManager:
    return Moved.get_job_manager()


def test_every_name_is_there() -> None:
    assert sorted(tethys.__all__) == sorted(set(tethys.__all__)) and "objects" not in tethys.__all__
    for name in tethys.__all__:
        assert getattr(tethys, name) is not None and name in dir(tethys)
    assert sorted(JOB_TYPES) == ["BASIC", "CONDOR", "CONDORJOB", "CONDORWORKFLOW", "DASK"]
    with pytest.raises(AttributeError, match="no name 'JobTemplate'"):
        _ = tethys.JobTemplate


# -- making and reading -------------------------------------------------------------------------------------------


def test_a_job_is_made_by_keywords_and_stored_as_ours(manager: JobManager) -> None:
    job = CondorJob(
        name="flood {id}", user=Portal("alice"), label="moved", attributes=PROGRAM, extended_properties={"year": 2026},
        _status="PEN", status_message="waits for its input",
    )  # fmt: skip
    assert job.id is None and job.pk is None
    assert (job._status, job.status_message) == ("PEN", "waits for its input")
    job.save()
    assert job.pk == job.id and job.name == f"flood {job.id}" and job.user == Portal("alice")
    ours = prefect_jobs.JobManager(Moved).get_job(job.id or 0)
    assert type(ours) is prefect_jobs.CondorJob and ours.handle.record.type == "CONDOR"
    assert (ours.type, ours.status_message) == ("CondorJob", "waits for its input")
    assert ours.extended_properties == {"year": 2026}
    again = TethysJob.objects.get(id=job.id)
    assert type(again) is CondorJob and again == job and again in TethysJob.objects.all() and len({again, job}) == 1
    assert again != BasicJob(name="x", user="alice", label="moved") and again != 5
    whole = {"name": "x", "user": "alice", "label": "moved"}
    for name in whole:
        missing = {key: value for key, value in whole.items() if key != name}
        with pytest.raises(TypeError, match="BasicJob\\(\\) needs"):
            BasicJob(**missing)
    with pytest.raises(TypeError, match="takes no keyword 'colour'"):
        BasicJob(name="x", user="alice", label="moved", colour="red")


def test_a_manager_makes_and_finds_jobs_of_these_classes(manager: JobManager) -> None:
    made: dict[str, type[TethysJob]] = {
        "CONDOR": CondorJob,
        "condorjob": CondorJob,
        "CONDORWORKFLOW": CondorWorkflow,
        "BASIC": BasicJob,
        "DASK": DaskJob,
    }
    for job_type, cls in made.items():
        assert type(manager.create_job("a job", "alice", job_type=job_type)) is cls
    assert type(manager.create_job("a job", "alice", job_type=CondorJob, _status="RUN")) is CondorJob
    job = manager.create_job("a job", "alice", groups=["hydrologists"], job_type="BASIC", status_message="well")
    found = manager.get_job(job.id, user="alice")
    assert type(found) is BasicJob and found.status_message == "well"
    assert manager.get_job(job.id, user="bob") is None and manager.get_job("none") is None
    assert [each.id for each in manager.list_jobs(groups=["hydrologists"])] == [job.id] and manager.count_jobs() == 1
    with pytest.raises(ValueError, match="not both"):
        manager.list_jobs(user="alice", groups=["x"])


def test_what_is_set_is_saved_with_the_job(manager: JobManager) -> None:
    job = manager.create_job("a job", "alice", job_type="BASIC")
    job._status = "RUN"
    job.status_message = "year 3 of 10"
    assert (job.cached_status, job._status, job.status_message) == ("Running", "RUN", "year 3 of 10")
    job.save()
    other = manager.get_job(job.id)
    assert (other.cached_status, other.status_message) == ("Running", "year 3 of 10")
    other.status_message = "year 4 of 10"
    other.save()
    assert job.status_message == "year 3 of 10"
    job.name = "not saved"
    job._status = "ERR"
    job.refresh_from_db()
    assert (job.name, job._status, job.status_message) == ("a job", "RUN", "year 4 of 10")
    job._status = "calibrating"
    assert (job._status, job.cached_status) == ("calibrating", "calibrating")
    job.save()
    assert manager.get_job(job.id).cached_status == "calibrating"
    with pytest.raises(ValueError, match="status"):
        job._status = " "


# -- sets ---------------------------------------------------------------------------------------------------------


def test_sets_are_lazy_and_ask_sql(manager: JobManager, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        cls = BasicJob if number % 2 else CondorJob
        more = {} if number % 2 else {"attributes": PROGRAM}
        job = cls(name=f"job {number}", user="alice" if number < 4 else "bob", label="moved", **more)
        job.extended_properties = {"basin": {"name": "Rhine" if number < 2 else "Po"}}
        job.save()
    BasicJob(name="other", user="alice", label="another").save()
    asked: list[Any] = []
    store = get_runtime().store
    find = store.find

    def finds(query: JobQuery) -> list[JobRecord]:
        asked.append(query)
        return find(query)

    monkeypatch.setattr(store, "find", finds)
    every = TethysJob.objects.filter(label="moved").exclude(name="job 3").order_by("-id")
    page = every[:2]
    assert asked == []
    assert [job.name for job in page] == ["job 5", "job 4"] == [job.name for job in page] and len(asked) == 1
    assert len(page) == page.count() == 2 and page[1].name == "job 4" and len(asked) == 1
    assert [job.name for job in every[1:][1:3]] == ["job 2", "job 1"] and every.count() == 5 and bool(every)
    assert (every.first().name, every.last().name) == ("job 5", "job 0")
    assert [job.name for job in CondorJob.objects.all().order_by("id")] == ["job 0", "job 2", "job 4"]
    assert {type(job) for job in TethysJob.objects.all().select_subclasses()} == {BasicJob, CondorJob}
    assert TethysJob.objects.filter(user=Portal("bob")).count() == 2
    assert TethysJob.objects.filter(user__username="bob").count() == 2
    assert TethysJob.objects.filter(user__in=[Portal("bob"), "alice"], label="moved").exclude(user="bob").count() == 4
    assert TethysJob.objects.filter(_status="PEN").filter(_status__in=["PEN", "RUN"]).count() == 7
    assert TethysJob.objects.filter(extended_properties__basin__name="Rhine").count() == 2
    assert TethysJob.objects.filter(extended_properties__contains='"Po"').exclude(user="bob", name="job 4").count() == 3
    assert TethysJob.objects.exclude(execute_time__lt=clock.now()).count() == 7  # a null matches nothing
    assert not TethysJob.objects.filter(name="none").exists() and TethysJob.objects.filter(name="none").first() is None
    assert "job 5" in repr(every) and repr(TethysJob.objects.filter(name="none")) == "<JobSet []>"
    for wrong in ({"colour": "red"}, {"name__like": "x"}):
        with pytest.raises(ValueError, match="Valid fields: id, name"):
            TethysJob.objects.filter(**wrong).exists()
    with pytest.raises(IndexError, match="no job 7"):
        _ = TethysJob.objects.all()[7]
    for which in (-1, slice(-3, None), slice(None, None, 2)):
        with pytest.raises(ValueError, match="A set of jobs has no"):
            _ = every[which]
    for change in (page.filter, page.exclude, page.order_by, page.reverse):
        with pytest.raises(TypeError, match="slice then"):
            change()
    part = manager.list_jobs(order_by="-id", limit=2, offset=1)
    assert [job.name for job in part] == ["job 4", "job 3"] and len(part) == 2
    with pytest.raises(AttributeError, match="belongs to the class"):
        _ = page[0].objects


def test_one_job_is_got_or_an_error_says_why(manager: JobManager) -> None:
    for name in ("a", "a", "b"):
        BasicJob.objects.create(name=name, user="alice", label="moved")
    assert TethysJob.objects.get(name="b").name == "b" == BasicJob.objects.get_subclass(name="b").name
    with pytest.raises(BasicJob.DoesNotExist, match="There is no BasicJob with name='none'"):
        BasicJob.objects.get(name="none")
    with pytest.raises(TethysJob.MultipleObjectsReturned, match="several TethysJobs with name='a'"):
        TethysJob.objects.get(name="a")
    with pytest.raises(TethysJob.DoesNotExist):  # that of a subclass is one of the class
        CondorJob.objects.get(name="b")
    assert BasicJob.objects.filter(name="a").delete() == (2, {"BasicJob": 2})
    assert TethysJob.objects.count() == 1


# -- work ---------------------------------------------------------------------------------------------------------


def test_an_error_of_the_submission_is_noted_and_not_raised(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = manager.create_job("a job", "alice", job_type="CONDOR", attributes=PROGRAM)
    with schedulers.away():
        job.execute()
    assert job.cached_status == "Pending" and job.status_message
    with schedulers.refusing("no such account"):
        job.execute()
    assert job.cached_status == "Error" and "no such account" in job.status_message
    job.execute()
    assert job.cached_status == "Submitted"
    with pytest.raises(JobStateError):
        job.execute()


def test_submit_commands_are_given_back_as_texts(manager: JobManager) -> None:
    job = manager.create_job(
        "a job", "alice", job_type="CONDOR",
        attributes={**PROGRAM, "arguments": ["-n", 3], "request_cpus": 2, "transfer_output_files": ["a", "b"]},
    )  # fmt: skip
    assert job.get_attribute("arguments") == "-n 3" and job.get_attribute("transfer_output_files") == "a, b"
    assert job.get_attribute("transfer_executable") == "false" and job.get_attribute("request_cpus") == 2
    assert job.get_attribute("environment") is None
    job.remote_input_files.append(__file__)
    job.save()
    assert manager.get_job(job.id).remote_input_files == [__file__]


def test_a_workflow_has_sets_of_nodes(manager: JobManager) -> None:
    workflow = manager.create_job("a workflow", "alice", job_type="CONDORWORKFLOW")
    names = ("dry", "wet", "both")
    dry, wet, both = (CondorWorkflowJobNode(name=name, workflow=workflow, attributes=PROGRAM) for name in names)
    both.add_parent(dry)
    both.add_parent(wet)
    assert (dry.children_nodes.count(), both.parent_nodes.count(), len(both.children_nodes)) == (1, 2, 0)
    assert list(both.parent_nodes.select_subclasses()) == [dry, wet] and dry.children_nodes[0] is both
    assert sorted(node.name for node in workflow.node_set.all()) == sorted(names)
    workflow.save()
    again = manager.get_job(workflow.id)
    node = again.node_set.get(name="both")
    assert type(node) is CondorWorkflowJobNode and [one.name for one in node.parent_nodes] == ["dry", "wet"]
    assert node.get_attribute("executable") == "/bin/true" and not node.children_nodes and again.node_set.exists()
    with pytest.raises(TethysJob.DoesNotExist):
        again.node_set.get(name="none")


def test_the_result_of_a_dask_job_is_none_before_its_end(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = manager.create_job("a job", "alice", job_type="DASK")
    before = job.result
    job.execute(delayed(int)(5))
    assert before is None and manager.get_job(job.id).result is None
    schedulers.finish(job)
    assert job.status == "Complete" and job.result == 5


def test_hooks_may_set_the_status(manager: JobManager) -> None:
    job = manager.create_job("gauges", "alice", job_type=Gauges)
    job.update_status_interval = timedelta(0)
    job.execute()
    assert (job.cached_status, job.status_message) == ("Submitted", "the gauges are asked")
    assert (job.status, job.status_message) == ("Running", "step 1")
    assert job.status == "Complete" and job.extended_properties == {"read": 2, "done": True}
    other = TethysJob.objects.get(id=job.id)
    assert type(other) is Gauges and Gauges.objects.get(id=job.id).status_message == "step 2"
    job.resubmit()
    assert job.cached_status == "Submitted" and job.extended_properties["read"] == 0
    assert job.handle.record.state.attempt == 2
    fails = manager.create_job("fails", "alice", job_type=Fails)
    fails.execute()
    polling.poll_once(fails)
    assert fails.cached_status == "Error" and "no gauge has answered" in fails.status_message


def test_hooks_may_call_those_of_the_class_above(manager: JobManager, schedulers: FakeSchedulers) -> None:
    job = manager.create_job("a job", "alice", job_type=Watched, attributes=PROGRAM)
    job.update_status_interval = timedelta(0)
    job.execute()
    schedulers.run(job)
    assert job.status == "Running" and job.extended_properties["polls"] >= 1
    schedulers.finish(job, outputs={"map.png": "drawn"})
    assert job.status == "Complete" and "all is drawn" in job.status_message
    assert (
        [type(each) for each in Watched.objects.all()] == [Watched] == [type(each) for each in CondorJob.objects.all()]
    )
    more = manager.create_job("gauges", "alice", job_type=MoreGauges)
    more.update_status_interval = timedelta(0)
    more.execute()
    assert (more.status, more.status_message) == ("Running", "step 1, RUN")
    assert [each.id for each in Gauges.objects.all()] == [more.id]


def test_a_message_is_kept_by_the_first_submission(manager: JobManager) -> None:
    job = manager.create_job("gauges", "alice", job_type="BASIC", status_message="asked by hand")
    job.execute()
    assert [entry.message for entry in job.history][1] == "asked by hand"


# -- the app ------------------------------------------------------------------------------------------------------


def test_a_setting_without_a_scheduler_is_an_error(manager: JobManager, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TethysAppSettingDoesNotExist, match="no scheduler setting 'none'"):
        Moved.get_scheduler("none")
    # A fake site has a scheduler of any name.
    monkeypatch.setattr(prefect_jobs.App, "get_scheduler", classmethod(lambda cls, name: None))
    with pytest.raises(TethysAppSettingNotAssigned, match="'primary' of moved has no scheduler"):
        Moved.get_scheduler("primary")
    block = tethys.create_dask_scheduler("a-cluster", "tcp://127.0.0.1:8786", heartbeat_interval=5000)
    assert block.heartbeat_interval == 5
    block = tethys.create_scheduler("a-cluster", "tcp://127.0.0.1:8786", "dask", heartbeat_interval=500)
    assert block.heartbeat_interval == 0.5
    assert issubclass(tethys.DaskJobException, prefect_jobs.SchedulerConnectionError)
