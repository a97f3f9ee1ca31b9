"""Which Prefect state shows a node."""

import pytest

from prefect_jobs import statuses
from prefect_jobs.projection.states import Face, node_face
from prefect_jobs.records import NodeRecord


@pytest.mark.parametrize(
    ("status", "kind", "name"),
    [
        ("Pending", "PENDING", "Pending"),
        ("Submitted", "PENDING", "Submitted"),
        ("Running", "RUNNING", "Running"),
        ("Various", "RUNNING", "Various"),
        ("Paused", "PAUSED", "Paused"),
        ("Held", "PAUSED", "Held"),
        ("Complete", "COMPLETED", "Completed"),
        ("Error", "FAILED", "Failed"),
        ("Aborted", "CANCELLED", "Cancelled"),
        ("Waiting for rain", "PENDING", "Waiting for rain"),
    ],
)
def test_a_node_is_shown_as_a_job_is(status: str, kind: str, name: str) -> None:
    for over in (False, True):
        if over and status == statuses.PENDING:
            continue
        assert node_face(NodeRecord("a", status=status, message="why"), job_final=over) == Face(kind, name, "why")


def test_what_still_waits_when_the_workflow_is_over_will_not_run() -> None:
    assert node_face(NodeRecord("a"), job_final=True) == Face("PENDING", "NotReady", "")


def test_long_messages_are_cut() -> None:
    assert len(node_face(NodeRecord("a", message="x" * 9000), job_final=False).message) < 4100
