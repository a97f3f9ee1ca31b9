"""Procs that are held for memory are released with more."""

import re
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from prefect_jobs import CondorJob, SchedulerConnectionError
from prefect_jobs.jobs.condor import memory
from prefect_jobs.records import Change
from prefect_jobs.schedulers.condor.client import CondorClient, CondorRefusal
from prefect_jobs.schedulers.condor.observation import Proc
from prefect_jobs.schedulers.condor.submit.quantities import megabytes
from prefect_jobs.testing import FakeSchedulers, fake_schedulers
from tests.unit.test_lifecycle import Rules, condor


class Schedd:
    """A schedd whose procs are held for memory; it does what it is told."""

    def __init__(self, *requests: Any, **more: Any) -> None:
        self.ads: dict[int, dict[str, Any]] = {
            number: {"ProcId": number, "RequestMemory": request, "NumJobStarts": 1, "held": True, **more}
            for number, request in enumerate(requests)
        }
        #: Called before and after each thing that it does.
        self.before: Callable[[str], None] = lambda what: None
        self.after: Callable[[str], None] = lambda what: None

    def query(self, constraint: str, projection: Sequence[str] = ()) -> list[dict[str, Any]]:
        self.before("query")
        found = self._held(constraint)
        self.after("query")
        return [{name: ad[name] for name in projection if isinstance(ad.get(name), int)} for ad in found]

    def edit(self, constraint: str, attribute: str, value: str) -> int:
        self.before("edit")
        for ad in (found := self._held(constraint)):
            ad[attribute] = int(value)
        self.after("edit")
        return len(found)

    def act(self, action: str, constraint: str, _reason: str) -> int:
        self.before(action)
        for ad in (found := self._held(constraint)):
            ad["held"] = False
        self.after(action)
        return len(found)

    def starts(self) -> None:
        """All run, and use too much again."""
        for ad in self.ads.values():
            if not ad["held"]:
                ad.update(held=True, NumJobStarts=ad["NumJobStarts"] + 1)

    def _held(self, constraint: str) -> list[dict[str, Any]]:
        assert "JobStatus == 5 && HoldReasonCode == 34" in constraint
        named = re.search(r'string\(ProcId\), "([\d,]+)"', constraint)
        which = set(map(int, named[1].split(","))) if named else self.ads.keys()
        return [ad for number, ad in self.ads.items() if ad["held"] and number in which]

    @property
    def state(self) -> list[tuple[Any, bool]]:
        return [(ad["RequestMemory"], ad["held"]) for ad in self.ads.values()]


@pytest.fixture
def held() -> Any:
    """Makes a job that is held for memory."""
    with fake_schedulers() as schedulers:
        yield lambda *sizes, **more: _held(schedulers, sizes, **more)


def _held(schedulers: FakeSchedulers, sizes: Sequence[str], num_jobs: int = 1) -> CondorJob:
    job = condor(Rules.get_job_manager(), num_jobs=num_jobs, retry_with_memory=sizes)
    job.execute()
    schedulers.run(job)
    schedulers.hold(job, "it used too much", code=34)
    job.update_status()
    assert job.cached_status == "Held"
    return job


def raised(job: CondorJob, schedd: Schedd) -> bool:
    return memory.raise_all(job.handle, cast(CondorClient, schedd))


def events(job: CondorJob) -> list[tuple[int, int, list[int]]]:
    job.handle.refresh()
    return [(each["from"], each["to"], each["processes"]) for each in job.handle.record.noted.happened]


def test_the_next_larger_size_is_used_each_time(held: Any) -> None:
    job, schedd = held("1GB", "2 GB", "4096"), Schedd(1024)
    assert raised(job, schedd) and schedd.state == [(2048, False)]
    job.handle.refresh()
    text = "Process 0: held for using more memory than requested (1024 MB), and released with 2048 MB."
    assert job.status_message == text
    schedd.starts()
    assert raised(job, schedd) and schedd.state == [(4096, False)]
    schedd.starts()
    assert not raised(job, schedd) and schedd.state == [(4096, True)]
    assert events(job) == [(1024, 2048, [0]), (2048, 4096, [0])]


def test_each_proc_has_its_own_next_size(held: Any) -> None:
    job, schedd = held("1GB", "2GB", num_jobs=5), Schedd(100, 1024, 2048, 100, 9000)
    assert raised(job, schedd)
    assert schedd.state == [(1024, False), (2048, False), (2048, True), (1024, False), (9000, True)]
    assert events(job) == [(100, 1024, [0, 3]), (1024, 2048, [1])]


@pytest.mark.parametrize("what", ["query", "edit", "Release"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_after_a_crash_at_any_step_the_next_process_uses_the_same_size(
    what: str, when: str, held: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given the largest size, and a schedd that is lost in the middle
    job, schedd = held("8GB"), Schedd(1024)

    def lost(doing: str) -> None:
        if doing == what:
            raise SchedulerConnectionError("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(schedd, when, lost)
        with pytest.raises(SchedulerConnectionError):
            raised(job, schedd)
    # when it is there again
    raised(job, schedd)
    # then it is released with that size, which is told once
    assert schedd.state == [(8192, False)]
    assert len(events(job)) == 1


def test_what_another_process_writes_meanwhile_is_kept_and_nothing_is_lost(held: Any) -> None:
    job, schedd = held("8GB"), Schedd(1024)

    def meanwhile(what: str) -> None:
        job.handle.backend.jobs.update(job.id or 0, lambda fresh: Change({"description": what}))

    schedd.before = meanwhile
    assert raised(job, schedd)
    assert events(job) == [(1024, 8192, [0])] and job.description == "Release"


def test_a_schedd_that_refuses_raises_and_nothing_is_told(held: Any) -> None:
    job, schedd = held("8GB"), Schedd(1024)

    def refuse(what: str) -> None:
        if what == "edit":
            raise CondorRefusal("not allowed")

    schedd.before = refuse
    with pytest.raises(CondorRefusal):
        raised(job, schedd)
    assert (schedd.state, events(job)) == ([(1024, True)], [])


def test_a_request_that_is_an_expression_counts_as_what_the_machine_gave(held: Any) -> None:
    schedd = Schedd("ifThenElse(…)", MemoryProvisioned=4096)
    assert raised(held("2GB", "8GB"), schedd) and schedd.state == [(8192, False)]
    unknown = Schedd("ifThenElse(…)")
    assert not raised(held("2GB", "8GB"), unknown) and unknown.ads[0]["held"]


def test_it_is_wanted_only_where_sizes_are_given_and_memory_is_the_reason(held: Any) -> None:
    hungry, other = Proc(0, "Held", hold_code=34), Proc(0, "Held", hold_code=13)
    assert memory.is_wanted(held("8GB").handle.record, [hungry])
    assert not memory.is_wanted(held("8GB").handle.record, [other])
    assert not memory.is_wanted(held().handle.record, [hungry])
    # also where the job was held before sizes were given
    job = held()
    assert not job.engine.can_release(None)
    job.retry_with_memory = ("4GB",)
    job.save()
    assert job.engine.can_release(None)


@pytest.mark.parametrize(
    ("size", "mb"), [("4GB", 4096), ("1.5 G", 1536), ("512mb", 512), ("2048", 2048), ("1T", 1048576), ("2000K", 2)]
)
def test_sizes(size: str, mb: int) -> None:
    assert megabytes(size) == mb


@pytest.mark.parametrize(
    "given", [["4 cats"], ["-1GB"], ["0"], ["8GB", "4GB"], ["4GB", "4096"], [""], ["1e400"], {"a": 1}, True, {1, 2}]
)
def test_bad_sizes_are_an_error(given: Any) -> None:
    with pytest.raises(ValueError, match="size"):
        memory.check(given)


def test_one_size_or_none() -> None:
    assert memory.check("4GB") == ["4GB"] and memory.check(2048) == ["2048"] and memory.check(1024.5) == ["1024.5"]
    assert memory.check(None) == memory.check(()) == []
