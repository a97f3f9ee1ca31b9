"""Which runs of a schedule become jobs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from prefect_jobs.pickup.rules import END, TAKE, WAIT, judge
from prefect_jobs.pickup.variables import applied
from prefect_jobs.projection.offers import Offer

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def offer(ago: float, *, scheduled: bool = True, name: str = "Scheduled") -> Offer:
    """A run that was due some seconds ago."""
    return Offer(
        f"run of {ago:g}", "deployment", {}, (), "state", "SCHEDULED", name, NOW - timedelta(seconds=ago),
        scheduled, "", "", {}, None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "ages", "verdicts"),
    [
        ({}, (7200, 30, 0), [TAKE, TAKE, TAKE]),
        ({"catch_up": "latest"}, (7200, 3600, 0), [END, END, TAKE]),
        ({"catch_up": "latest"}, (7200, 3600), [END, TAKE]),
        ({"catch_up": "none"}, (7200, 61, 60), [END, END, TAKE]),
        ({"max_lateness": 10.0}, (11, 10), [END, TAKE]),
        ({"max_lateness": 3600.0, "catch_up": "none"}, (7200, 90), [END, END]),
        ({"overlap": "skip"}, (2, 1), [TAKE, END]),
        ({"overlap": "wait"}, (2, 1), [TAKE, WAIT]),
        ({"overlap": "skip", "catch_up": "none"}, (120, 1), [END, TAKE]),
    ],
)
def test_runs_that_are_due_together(rules: dict[str, Any], ages: tuple[float, ...], verdicts: list[str]) -> None:
    assert [each.what for each in judge(rules, [offer(age) for age in ages], None, NOW)] == verdicts


def test_a_run_waits_for_an_active_job_and_is_not_missed_meanwhile() -> None:
    rules = {"overlap": "wait", "catch_up": "none", "max_lateness": 60.0}
    waiting = offer(600, name="AwaitingConcurrencySlot")
    (verdict,) = judge(rules, [waiting], (7, "Running"), NOW)
    assert (verdict.what, verdict.why) == (WAIT, "Waits: job 7 of this schedule is Running, and overlap is 'wait'.")
    assert [each.what for each in judge(rules, [waiting, offer(1)], None, NOW)] == [TAKE, WAIT]


def test_what_people_start_is_not_judged() -> None:
    rules = {"overlap": "skip", "catch_up": "none", "max_lateness": 1.0}
    by_hand = offer(7200, scheduled=False)
    assert [each.what for each in judge(rules, [by_hand, offer(0)], None, NOW)] == [TAKE, END]
    assert judge(rules, [by_hand], (7, "Running"), NOW)[0].what == TAKE


VARIABLES = {
    "scheduler": "pool",
    "user": "",
    "workspace": None,
    "request_memory": "2GB",
    "request_cpus": 4,
    "attributes": {"rank": "Memory", "REQUEST_DISK": "1GB"},
}
FIELDS = ("name", "scheduler", "user", "workspace", "attributes")


def test_parameters_win_over_job_variables() -> None:
    given = {"name": "one", "scheduler": "", "attributes": {"Request_Memory": "8GB", "executable": "/bin/true"}}
    found = applied(VARIABLES, given, FIELDS)
    assert found == {
        "name": "one",
        "scheduler": "pool",
        "attributes": {
            "Request_Memory": "8GB",
            "executable": "/bin/true",
            "rank": "Memory",
            "REQUEST_DISK": "1GB",
            "request_cpus": 4,
        },
    }
    assert applied(VARIABLES, {"scheduler": "mine"}, FIELDS)["scheduler"] == "mine"


def test_job_variables_that_a_flow_does_not_take_are_left_out() -> None:
    assert applied(VARIABLES, {"name": "one"}, ("name", "scheduler")) == {"name": "one", "scheduler": "pool"}


def test_job_variables_reach_the_nodes_of_a_workflow() -> None:
    nodes = [{"name": "a", "attributes": {"request_cpus": 1}}, {"name": "b"}, {"name": "c", "kind": "SPLICE"}]
    found = applied({"request_cpus": 4}, {"nodes": nodes}, ("nodes",))
    assert found["nodes"] == [
        {"name": "a", "attributes": {"request_cpus": 1}},
        {"name": "b", "attributes": {"request_cpus": 4}},
        {"name": "c", "kind": "SPLICE"},
    ]


def test_a_mistake_in_parameters_stays_one() -> None:
    assert applied({"request_cpus": 4}, {"attributes": ["x"]}, FIELDS)["attributes"] == ["x"]
