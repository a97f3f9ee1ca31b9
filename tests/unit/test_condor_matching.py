"""Sentences about why procs wait, and the clauses of requirements; the matching itself runs on a real pool."""

from typing import Any

import pytest

from prefect_jobs.schedulers.condor.matching import clauses_of, explain, first_of_most


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
        ({"rejected": "concurrency limit x reached ", "rejected_at": 60}, "1970-01-01 00:01 UTC: concurrency limit x"),
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
