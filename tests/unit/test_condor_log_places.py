"""Where the logs of a proc are: at the access point while it runs, in the job's directory when they were fetched."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prefect_jobs.jobs.condor import logs
from prefect_jobs.records import JobRecord, StatusState
from prefect_jobs.schedulers.condor.submit.description import incoming
from tests.support import draft


def record_of(status: str, **native: Any) -> JobRecord:
    state = StatusState(status=status, attempt=2)
    found = {"total": 1, "spool": True, "in_queue": True, "logs": {"output": "out/put.txt"}, **native}
    return replace(draft(type="CONDOR", state=state), id=1, remote_id="7", native=found)


@pytest.mark.parametrize("status", ["Submitted", "Running", "Held", "Various"])
def test_what_an_earlier_submission_wrote_is_not_that_of_the_one_that_runs(status: str, tmp_path: Path) -> None:
    earlier = tmp_path / "out" / "put.txt"
    earlier.parent.mkdir()
    earlier.write_text("of the first submission\n")
    record = record_of(status)
    assert not logs.paths(record, tmp_path, 0)["output"].exists()
    streamed = incoming(tmp_path) / "0" / "_prefect_jobs_stream_out%2Fput.txt"
    streamed.parent.mkdir(parents=True)
    streamed.write_text("of the second\n")
    assert logs.paths(record, tmp_path, 0)["output"] == streamed


@pytest.mark.parametrize(
    ("status", "native"),
    [("Results-Ready", {}), ("Complete", {"in_queue": None}), ("Running", {"spool": False})],
)
def test_fetched_and_shared_outputs_are_in_the_directory(status: str, native: dict[str, Any], tmp_path: Path) -> None:
    assert logs.paths(record_of(status, **native), tmp_path, 0)["output"] == tmp_path / "out" / "put.txt"
