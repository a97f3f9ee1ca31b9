"""What procs have used, read from their ads, and what follows from it."""

from datetime import timedelta
from typing import Any

import pytest

from prefect_jobs import clock
from prefect_jobs.schedulers.condor import observation, usage
from prefect_jobs.schedulers.condor.usage import Usage, read_usage

ENDED: dict[str, Any] = {
    "RequestCpus": 4,
    "RequestMemory": 1000,
    "RequestDisk": 2_048_000,
    "CpusUsage": 0.5,
    "MemoryUsage": 120,
    "ResidentSetSize": 122_000,
    "DiskUsage": 1500,
    "JobStartDate": 100,
    "RemoteWallClockTime": 200.0,
    "CumulativeRemoteUserCpu": 90.0,
    "CumulativeRemoteSysCpu": 10.0,
    "RemoteUserCpu": 50.0,
}


def of(*usages: Usage | None, host: str | None = "node1") -> dict[Any, dict[str, Any]]:
    return usage.resources_of({number: [(each, host)] for number, each in enumerate(usages)})


def test_a_proc_that_is_over() -> None:
    found = of(read_usage(ENDED, state_since=None))
    assert found["total"] == found[0]
    assert found[0] == {
        "cpus": {"requested": 4, "used": 0.5},
        "memory": {"requested": 1000, "used": 120},
        "disk": {"requested": 2000, "used": 2},  # MB, rounded up
        "gpus": {"requested": None, "used": None},
        "wall_seconds": 200.0,
        "cpu_seconds": 100.0,
        "efficiency": 0.125,
        "host": "node1",
    }


def test_a_proc_that_never_ran_has_used_nothing_that_is_known() -> None:
    # The schedd has a size of memory and disk for each job: that of its executable.
    idle = {**ENDED, "RemoteWallClockTime": 0.0}
    del idle["JobStartDate"]
    found = of(read_usage(idle, state_since=None), host=None)[0]
    assert found["memory"] == {"requested": 1000, "used": None}
    assert (found["wall_seconds"], found["cpu_seconds"], found["efficiency"], found["host"]) == (None,) * 4


def test_a_proc_that_runs_counts_its_present_run(monkeypatch: pytest.MonkeyPatch) -> None:
    start = clock.now()
    running = {**ENDED, "CpusUsage": 3.0, "RemoteWallClockTime": 50.0}
    read = read_usage(running, state_since=int(start.timestamp()))
    monkeypatch.setattr(clock, "now", lambda: start + timedelta(seconds=100))
    found = of(read)[0]
    assert found["wall_seconds"] == pytest.approx(150, abs=1)
    assert found["efficiency"] == 0.75


def test_the_total_is_the_sum_and_weighs_by_time() -> None:
    idle = read_usage({"RequestCpus": 1, "RequestMemory": 500}, state_since=None)
    busy = read_usage({**ENDED, "RequestCpus": 1, "CumulativeRemoteUserCpu": 200.0, "CpusUsage": 1.0}, state_since=None)
    found = of(read_usage(ENDED, state_since=None), busy, idle, None)
    assert found["total"]["memory"] == {"requested": 2500, "used": 240}
    assert found["total"]["cpus"] == {"requested": 6, "used": 1.5}
    assert found["total"]["efficiency"] == pytest.approx((100 + 210) / (200 * 5), abs=0.001)
    assert found[3]["memory"] == {"requested": None, "used": None}


def test_no_proc_at_all() -> None:
    assert of()["total"]["efficiency"] is None


@pytest.mark.parametrize(
    ("ad", "words"),
    [
        ({}, ()),
        ({"RequestMemory": 16_000}, ("request_memory = 256MB",)),
        ({"RequestMemory": 16_000, "MemoryUsage": 0}, ()),  # not measured
        ({"RequestMemory": 1000, "MemoryUsage": 1500}, ("1,500", "raise request_memory")),
        ({"RequestDisk": 200 * 1024 * 1024}, ("request_disk = 128MB",)),
        ({"RequestCpus": 8, "CpusUsage": 1.2}, ("request_cpus = 2",)),
        ({"RequestCpus": 1, "CpusUsage": 3.9}, ("raise request_cpus",)),
        ({"RequestCpus": 8, "CpusUsage": 1.2, "RemoteWallClockTime": 10}, ()),  # too short to tell
    ],
)
def test_hints(ad: dict[str, Any], words: tuple[str, ...]) -> None:
    base = {**ENDED, "RequestCpus": 1, "CpusUsage": 0.8, "RequestDisk": 2048}
    found = usage.hints({"": [(read_usage({**base, **ad}, state_since=None), None)]})
    assert len(found) == bool(words), found
    assert all(word in found[0] for word in words)


def test_hints_are_for_each_node_and_for_its_largest_proc() -> None:
    base = {**ENDED, "RequestCpus": 1, "CpusUsage": 0.8}
    ten = [(read_usage({**base, "RequestMemory": 4096, "MemoryUsage": 400}, state_since=None), None)] * 10
    small = [(read_usage({**base, "RequestMemory": 1000, "MemoryUsage": 2000}, state_since=None), None)]
    assert usage.hints({"wide": ten, "small": small}) == [
        "Node wide: It used at most 400 of 4,096 MB of memory: request_memory = 512MB is enough.",
        "Node small: It used 2,000 MB of memory and requested 1,000: raise request_memory.",
    ]
    assert usage.hints({str(number): small for number in range(12)})[-1] == "… and 2 more."


def test_a_request_that_was_not_given_is_what_the_slot_had() -> None:
    ad = {**ENDED, "MemoryProvisioned": 2048}
    del ad["RequestMemory"]
    assert of(read_usage(ad, state_since=None))[0]["memory"] == {"requested": 2048, "used": 120}


def test_nothing_is_said_of_what_is_not_known_yet() -> None:
    running = read_usage({"RequestCpus": 1, "JobStartDate": 1, "RemoteWallClockTime": 50.0}, state_since=1)
    assert of(running)[0]["efficiency"] is None


def test_a_job_of_seconds_was_not_measured() -> None:
    short = {"RequestCpus": 1, "JobStartDate": 1, "RemoteWallClockTime": 2.0, "CpusUsage": 0.0, "RemoteUserCpu": 0.0}
    found = of(read_usage(short, state_since=None))[0]
    assert (found["cpus"], found["efficiency"]) == ({"requested": 1, "used": None}, None)
    long = of(read_usage({**short, "RemoteWallClockTime": 3600.0}, state_since=None))[0]
    assert (long["cpus"]["used"], long["efficiency"]) == (0.0, 0.0)


def test_the_last_run_counts_before_the_schedd_has_added_it() -> None:
    ended = {**ENDED, "RemoteWallClockTime": 0.0, "JobCurrentStartDate": 1000, "CompletionDate": 1007}
    assert of(read_usage(ended, state_since=None))[0]["wall_seconds"] == 7


def test_a_job_that_is_over_runs_no_longer() -> None:
    start = clock.now()
    lost = read_usage({**ENDED, "RemoteWallClockTime": 0.0}, state_since=int(start.timestamp()))
    end = start + timedelta(seconds=30)
    assert usage.resources_of({0: [(lost, None)]}, end)[0]["wall_seconds"] == pytest.approx(30, abs=1)


def test_a_node_may_have_the_name_of_the_total() -> None:
    one = (read_usage(ENDED, state_since=None), None)
    found = usage.resources_of({"total": [one], "other": [one]})
    assert set(found) == {"total", "other"} and found["total"]["memory"]["used"] == 240


def test_small_changes_of_what_runs_are_no_news() -> None:
    before = read_usage(ENDED, state_since=1)
    for changed, news in (({"MemoryUsage": 125}, False), ({"MemoryUsage": 200}, True), ({"CpusUsage": 0.9}, True)):
        assert usage.differs(before, read_usage({**ENDED, **changed}, state_since=1)) is news
    assert usage.differs(None, before)
    assert not usage.differs(before, None)  # an ad that tells nothing


def test_it_is_kept_in_the_row() -> None:
    proc = observation.read_ad({**ENDED, "ProcId": 3, "JobStatus": 4}, queued=False)
    assert observation.decode([proc.encode()]) == {3: proc}
    assert proc.usage is not None
