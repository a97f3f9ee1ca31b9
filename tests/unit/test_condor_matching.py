"""Why procs wait: HTCondor's own matching of a proc with made-up slots, and sentences about it."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from prefect_jobs.schedulers.condor import matching
from prefect_jobs.schedulers.condor.matching import Pool, analyze, analyze_all, clauses_of, explain, first_of_most
from tests.classads import ClassAd


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("A", ["A"]),
        ("(A && (B || C)) && D", ["A", "B || C", "D"]),
        ("A && B || C", ["A && B || C"]),
        ("A ? B : C && D", ["A ? B : C && D"]),
        ("A =?= undefined && B", ["A =?= undefined", "B"]),
        ("f(A && B) && C", ["f(A && B)", "C"]),
        ('Name == "a) && b" && (C)', ['Name == "a) && b"', "C"]),
        (r'Name == "a\" && b" && C', [r'Name == "a\" && b"', "C"]),
        ("(A) && (B)", ["A", "B"]),
        ("(A", ["(A"]),
    ],
)
def test_clauses(text: str, clauses: list[str]) -> None:
    assert clauses_of(text) == clauses


def found(**given: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"slots": 9, "wanted": 9, "could": 4, "free": 0, "unfit": []}
    return {
        **base,
        "negotiator": True,
        "before": 0,
        "users": 1,
        "most": None,
        "rejected": "",
        "rejected_at": 0,
        **given,
    }


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"slots": 0}, "no machine"),
        ({"unfit": [("memory", 90_000, 24_000, " MB")]}, "90,000 MB requested, the largest slot has 24,000 MB"),
        ({"wanted": 0, "clauses": [("X", 0), ("Y", 9)]}, "requirement `X`"),
        ({"wanted": 0, "clauses": [("X", 3), ("Y", 9)]}, "`X`: 3"),
        ({"could": 0}, "START"),
        ({}, "all are busy"),
        ({"free": 2}, "2 have room now. The negotiator"),
        ({"free": 2, "negotiator": False}, "no negotiator"),
        ({"most": 1000}, "runs 1,000 jobs, as many as it may"),
        ({"before": 2, "users": 5}, "2 of 5 users have a better priority"),
        ({"rejected": "concurrency limit x reached "}, "The negotiator said: concurrency limit x reached."),
        ({"could": 0, "apart": [("cpus", 16, ""), ("memory", 9000, " MB")]}, "together (cpus: 16; memory: 9,000 MB)"),
    ],
)
def test_sentences(given: dict[str, Any], words: str) -> None:
    assert words in explain(found(**given))


def test_no_match_is_not_said_twice() -> None:
    assert "negotiator said" not in explain(found(rejected="no match found "))


def test_the_first_of_those_that_most_are_like() -> None:
    ads = [{"ClusterId": 1, "ProcId": number, "AutoClusterId": group} for number, group in enumerate((7, 8, 8))]
    assert first_of_most(ads) == "ClusterId == 1 && ProcId == 1"
    assert first_of_most([]) is None


# -- the matching itself ---------------------------------------------------------------------------------------------
RESOURCES = "Cpus >= RequestCpus && TARGET.Memory >= RequestMemory && TARGET.Disk >= RequestDisk"


def job(requirements: str = "true", **requests: Any) -> ClassAd:
    asked = {"RequestCpus": 1, "RequestMemory": 100, "RequestDisk": 1024, **requests}
    values = "; ".join(f"{name} = {value}" for name, value in asked.items())
    return ClassAd(f"[{values}; Requirements = ({requirements}) && {RESOURCES}]")


def slot(state: str = "Unclaimed", *, parts: bool = False, used: int = 0, **more: Any) -> ClassAd:
    """A slot of 4 CPUs and 1,000 MB, of which jobs use some."""
    whole = {"Cpus": 4, "Memory": 1000, "Disk": 10**6, **more}
    values = {**whole, "Cpus": whole["Cpus"] - used, "State": f'"{state}"', "OpSys": '"LINUX"'}
    if parts:
        values |= {
            "PartitionableSlot": "true",
            **{f"TotalSlot{name}": whole[name] for name in ("Cpus", "Memory", "Disk")},
        }
    values.setdefault("Requirements", "true")
    return ClassAd(f"[{'; '.join(f'{name} = {value}' for name, value in values.items())}]")


class Collector:
    """Answers as the pool's would."""

    def __init__(self, *slots: ClassAd, **ads: Sequence[dict[str, Any]]) -> None:
        self._ads: dict[str, Any] = {"Startd": slots, "Negotiator": [{"Name": "n"}], **ads}

    def query(self, kind: str, constraint: str = "true", projection: Sequence[str] = ()) -> list[Any]:
        found = self._ads.get(kind, ())
        if not projection or kind != "Startd":
            return list(found)
        return [ClassAd({name: ad.lookup(name) for name in projection if name in ad}) for ad in found]


TYPES = SimpleNamespace(**{name: name for name in ("Startd", "Negotiator", "Accounting", "Submitter", "Schedd")})


def pool(*slots: ClassAd, **ads: Any) -> Pool:
    return Pool.read(Collector(*slots, **ads), TYPES, "access point")


def told(proc: ClassAd, *slots: ClassAd, **ads: Any) -> str:
    there = pool(*slots, **ads)
    return explain({**analyze(proc, there), **there.about(proc)})


def test_a_slot_that_is_taken_has_no_room() -> None:
    assert told(job(), slot(), slot("Claimed"), slot("Owner")).startswith("3 of 3 slots can run it, 1 have room now")
    assert "all are busy" in told(job(), slot("Claimed"))


def test_a_machine_with_partitions_is_what_it_is_when_empty() -> None:
    assert "1 have room now" in told(job(RequestCpus=2), slot(parts=True, used=2))
    assert "all are busy" in told(job(RequestCpus=3), slot(parts=True, used=2))
    assert "cpus: 5 requested, the largest slot has 4" in told(job(RequestCpus=5), slot(parts=True, used=2))


def test_requests_that_fit_apart_alone() -> None:
    text = told(job(RequestCpus=16, RequestMemory=9000), slot(Cpus=16), slot(Memory=9000))
    assert text == (
        "No slot of 2 has all that is requested together (cpus: 16; memory: 9,000 MB; disk: 1 MB). Lower one of these."
    )


def test_requirements_that_nothing_fulfils() -> None:
    assert 'the requirement `OpSys == "WINDOWS"`' in told(job('OpSys == "WINDOWS"'), slot(), slot())
    text = told(job('Speed > 5 && OpSys == "LINUX" && Place == "here"'), slot(Speed=9), slot(Place='"here"'))
    assert "fulfils all requirements at once" in text and "`Speed > 5`: 1" in text


def test_a_policy_that_refuses() -> None:
    refuses = slot(Requirements='TARGET.Owner == "root"')
    assert "1 slots fulfil its requirements" in told(job(), refuses) and "START" in told(job(), refuses)
    assert "can run it" in told(job(), refuses, slot())


def test_a_pool_that_is_too_large_is_read_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "MOST", 2)
    found = pool(*(slot(Requirements="false") for _ in range(3)))
    assert len(found.slots) == 2 and not found.policies
    assert analyze(job(), found)["could"] == 2  # policies are not known
    assert analyze(job(), replace(found, policies=True))["could"] == 0


def test_what_the_requirements_refer_to_is_read_of_a_large_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "MOST", 2)
    slots = [slot(HasSingularity="true") for _ in range(3)]
    schedd = Schedd(job("TARGET.HasSingularity"))
    (found,) = analyze_all(schedd, "ap", Collector(*slots), TYPES, ["some"], seconds=20)
    assert found is not None and found["could"] == found["free"] == 2


def test_users_and_limits() -> None:
    ads: dict[str, Any] = {
        "Accounting": [
            {"Name": f"{name}@pool", "Priority": priority} for name, priority in zip("abc", (9, 5, 1), strict=True)
        ],
        "Submitter": [{"Name": f"{name}@pool"} for name in "abc"],
        "Schedd": [{"MaxJobsRunning": 7, "TotalRunningJobs": 7}],
    }
    proc = job()
    proc["User"] = "b@elsewhere"
    text = told(proc, slot("Claimed"), **ads)
    assert "1 of 3 users have a better priority" in text and "runs 7 jobs, as many as it may" in text
    assert "no negotiator" in told(job(), slot(), Negotiator=[])
    assert "knows no slot" in told(job())


class Schedd:
    """Has one idle proc for each constraint that does not say "none"."""

    def __init__(self, proc: ClassAd | None = None) -> None:
        self._proc = proc or job()
        self._proc["ClusterId"], self._proc["ProcId"], self._proc["AutoClusterId"] = 1, 0, 3

    def query(self, constraint: str, projection: Sequence[str] = (), limit: int = -1) -> list[ClassAd]:
        if "none" in constraint:
            return []
        return [self._proc]


def test_what_there_is_no_time_for_is_left_out() -> None:
    ask = (Schedd(), "ap", Collector(slot()), TYPES, ["none", "some", "more"])
    none, some, more = analyze_all(*ask, seconds=20)
    assert none == {} and some == more and some is not None and some["free"] == 1
    assert analyze_all(*ask, seconds=-1) == [None, None, None]
    assert explain({}) == ""
