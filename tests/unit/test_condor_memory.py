"""Procs that are held for memory are released with more."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from prefect_jobs.jobs.condor import memory
from prefect_jobs.jobs.condor.poll import observe
from prefect_jobs.records import JobRecord, StatusState
from prefect_jobs.schedulers.condor.client import CondorClient, CondorRefusal
from prefect_jobs.schedulers.condor.submit.quantities import megabytes
from tests.unit.test_condor_watch import RECORD

HUNGRY = {"ClusterId": 40, "JobStatus": 5, "HoldReasonCode": 34, "HoldReason": "used too much"}


def record(*sizes: str, total: int = 1, status: str = "Running") -> JobRecord:
    return replace(
        RECORD, spec={memory.OPTION: list(sizes)}, native={"total": total}, state=StatusState(status=status, attempt=1)
    )


class Schedd:
    """A schedd with procs; it notes what is done to which of them."""

    def __init__(self, *requests: int, refuses: bool = False, codes: Sequence[int] = ()) -> None:
        self.ads: list[dict[str, Any]] = [
            {**HUNGRY, "ProcId": number, "RequestMemory": request} for number, request in enumerate(requests)
        ]
        for ad, code in zip(self.ads, codes, strict=False):
            ad["HoldReasonCode"] = code
        self.refuses = refuses
        self.done: list[tuple[str, str, str]] = []

    def query(self, constraint: str, projection: Sequence[str] = ()) -> list[dict[str, Any]]:
        return [ad for ad in self.ads if ad["HoldReasonCode"] == 34 or "HoldReasonCode" not in constraint]

    def edit(self, constraint: str, attribute: str, value: str) -> int:
        if self.refuses:
            raise CondorRefusal("not allowed")
        self.done.append((attribute, value, constraint.rpartition("), ")[2]))
        return 1

    def act(self, action: str, constraint: str, _reason: str) -> int:
        self.done.append((action, "", constraint.rpartition("), ")[2]))
        return 1


def seen(job: JobRecord, schedd: Schedd) -> Any:
    return observe(job, cast(CondorClient, schedd), None)


def test_the_next_larger_size_is_used() -> None:
    schedd = Schedd(1024)
    found = seen(record("1GB", "2 GB", "4096"), schedd)
    assert schedd.done == [("RequestMemory", "2048", '"0")'), ("Release", "", '"0")')]
    assert found.status == "Submitted" and found.message == found.messages[0][1]
    assert "Process 0: held for using more memory than requested (1024 MB), and released with 2048 MB" in found.message
    (event,) = found.native["happened"]
    assert (event["what"], event["from"], event["to"], event["number"]) == ("memory-raised", 1024, 2048, 1)
    assert found.native["procs"][0]["state"] == "Idle"


def test_each_proc_has_its_own_next_size() -> None:
    schedd = Schedd(100, 1024, 2048, 100, 9000, codes=(34, 34, 34, 34, 34))
    found = seen(record("1GB", "2GB", total=5), schedd)
    assert schedd.done == [
        ("RequestMemory", "1024", '"0,3")'), ("Release", "", '"0,3")'),
        ("RequestMemory", "2048", '"1")'), ("Release", "", '"1")'),
    ]  # fmt: skip
    assert found.status == "Various"
    assert [proc["state"] for proc in found.native["procs"]] == ["Idle", "Idle", "Held", "Idle", "Held"]
    assert [event["number"] for event in found.native["happened"]] == [1, 2]


@pytest.mark.parametrize(
    ("job", "schedd"),
    [
        (record(), Schedd(1024)),
        (record("1GB"), Schedd(1024)),
        (record("8GB", status="Paused"), Schedd(1024)),
        (record("8GB"), Schedd(1024, codes=(13,))),
    ],
    ids=["not asked for", "the last size", "paused by a person", "held for another reason"],
)
def test_it_stays_held(job: JobRecord, schedd: Schedd) -> None:
    found = seen(job, schedd)
    assert (found.status, schedd.done) == ("Held", []) and "happened" not in found.native


def test_a_schedd_that_refuses_leaves_it_held_and_says_so() -> None:
    found = seen(record("8GB"), Schedd(1024, refuses=True))
    assert found.status == "Held" and "more memory (8192 MB) was refused: not allowed" in found.message


@pytest.mark.parametrize(
    ("size", "mb"), [("4GB", 4096), ("1.5 G", 1536), ("512mb", 512), ("2048", 2048), ("1T", 1048576), ("2000K", 2)]
)
def test_sizes(size: str, mb: int) -> None:
    assert megabytes(size) == mb


@pytest.mark.parametrize("given", [["4 cats"], ["-1GB"], ["0"], ["8GB", "4GB"], ["4GB", "4096"], [""], ["1e400"]])
def test_bad_sizes_are_an_error(given: list[str]) -> None:
    with pytest.raises(ValueError, match="size"):
        memory.check(given)


def test_one_size_or_none() -> None:
    assert (memory.check("4GB"), memory.check(2048), memory.check(None), memory.check(())) == (
        ["4GB"],
        ["2048"],
        [],
        [],
    )
