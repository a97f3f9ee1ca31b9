"""Which states Prefect counts as another run."""

import pytest

from prefect_jobs.projection.states import Face, begins_run

WAITING = ("PENDING", "Submitted")
RUNS = ("RUNNING", "Running")


@pytest.mark.parametrize(
    ("before", "face", "counts"),
    [
        (WAITING, RUNS, True),
        (RUNS, ("RUNNING", "Various"), False),
        (("RUNNING", "Various"), RUNS, False),
        (RUNS, RUNS, False),  # another message
        (RUNS, ("RUNNING", "Results-Ready"), False),
        (RUNS, ("RUNNING", "Submitted"), False),  # evicted
        (("RUNNING", "Submitted"), RUNS, True),  # and started once more
        (("PAUSED", "Paused"), ("RUNNING", "Submitted"), False),
        (("PAUSED", "Held"), RUNS, True),
        (("CANCELLED", "Cancelled"), RUNS, True),
        (None, RUNS, True),
        (RUNS, (None, "custom"), False),
    ],
)
def test_a_state_that_begins_no_run_is_not_counted(
    before: tuple[str, str] | None, face: tuple[str | None, str], counts: bool
) -> None:
    assert begins_run(Face(*face, ""), before, engine=False) is counts


@pytest.mark.parametrize("before", [None, WAITING, RUNS])
def test_an_engine_counts_its_runs_itself(before: tuple[str, str] | None) -> None:
    assert not begins_run(Face("RUNNING", "Various", ""), before, engine=True)


@pytest.mark.parametrize("face", [("PENDING", "Pending"), ("COMPLETED", "Completed"), ("PAUSED", "Held")])
def test_states_of_other_types_are_not_counted_by_prefect_anyway(face: tuple[str, str]) -> None:
    assert begins_run(Face(*face, ""), RUNS, engine=True)
