"""Claims that Prefect did not answer in time are checked until it is known what became of them."""

from types import SimpleNamespace
from typing import Any

import pytest

from prefect_jobs.pickup import late_claims
from prefect_jobs.pickup.late_claims import LateClaims


class Prefect:
    """Runs: id → type of the state, and the claim on it."""

    def __init__(self, **runs: tuple[str, str | None]) -> None:
        self.runs, self.asked = runs, list[list[str]]()

    def read_offers(self, run_ids: list[str]) -> list[Any]:
        self.asked.append(sorted(run_ids))
        return [
            SimpleNamespace(run_id=run_id, state_type=self.runs[run_id][0], claim=self.runs[run_id][1])
            for run_id in run_ids
            if run_id in self.runs
        ]


@pytest.fixture
def claims(monkeypatch: pytest.MonkeyPatch) -> LateClaims:
    monkeypatch.setattr(late_claims, "PAUSE", 0.0)
    return LateClaims("mine")


def found(claims: LateClaims, prefect: Prefect) -> list[str]:
    return claims.carried_out(prefect)  # type: ignore[arg-type]


def test_each_is_found_until_it_is_settled(claims: LateClaims) -> None:
    prefect = Prefect(a=("SCHEDULED", None), b=("SCHEDULED", None), c=("SCHEDULED", None))
    claims.unanswered(["a", "b", "c", "deleted"])
    assert found(claims, prefect) == [] and claims.waits("a") and not claims.waits("deleted")
    prefect.runs |= {"a": ("PENDING", "mine"), "b": ("PENDING", "mine"), "c": ("PENDING", "another")}
    assert found(claims, prefect) == ["a", "b"] and not claims.waits("c")
    claims.settled(["a"])
    assert found(claims, prefect) == ["b"]  # the attempt to go on with it has failed
    claims.settled(["b"])
    assert found(claims, prefect) == [] and prefect.asked == [["a", "b", "c", "deleted"], ["a", "b", "c"], ["b"]]


def test_it_is_not_checked_for_ever_and_not_all_the_time(claims: LateClaims, monkeypatch: pytest.MonkeyPatch) -> None:
    prefect = Prefect(a=("SCHEDULED", None))
    monkeypatch.setattr(late_claims, "WATCHED", 0.0)
    claims.unanswered(["a"])
    assert found(claims, prefect) == [] == found(claims, prefect) and len(prefect.asked) == 1
    monkeypatch.setattr(late_claims, "WATCHED", 60.0)
    monkeypatch.setattr(late_claims, "PAUSE", 60.0)
    claims.unanswered(["a"])
    assert found(claims, prefect) == [] == found(claims, prefect) and len(prefect.asked) == 2
