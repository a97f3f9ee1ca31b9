"""What the results function returns becomes the result of a DASK job."""

import os
import sys
import threading
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from dask.delayed import delayed

from prefect_jobs import DaskJob, ResultUnavailable
from prefect_jobs.jobs.dask.engine import DaskEngine
from tests.acceptance.conftest import DaskJobs

# The workers need not have this module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
LIMIT = 60
SEEN: list[Any] = []


def ten_times(result: Any) -> Any:
    SEEN.append(result)
    return result * 10


def with_a_lock(result: Any) -> Any:
    return threading.Lock()


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()


def kept(job: DaskJob, kind: str) -> bytes | None:
    return job.handle.backend.results.get_blob(job.id or 0, kind)


def test_it_replaces_the_result_of_the_work(dask_job: DaskJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    # given a process that ends after it has stored what the function returned, and before it says so
    job = dask_job(process_results_function=ten_times)
    keep = DaskEngine.keep_returned

    def stored_only(self: DaskEngine, value: Any) -> dict[str, Any]:
        keep(self, value)
        raise KeyboardInterrupt

    monkeypatch.setattr(DaskEngine, "keep_returned", stored_only)
    job.execute(delayed(int)(4))
    with pytest.raises(KeyboardInterrupt):
        job.wait(LIMIT)
    # when another one goes on
    monkeypatch.setattr(DaskEngine, "keep_returned", keep)
    assert job.wait(LIMIT) == "Complete", job.status_message
    # then the function has had the result of the work both times, and only its own is left
    assert (SEEN, job.result) == ([4, 4], 40)
    assert (kept(job, "result"), kept(job, "returned") is None) == (None, False)
    # and a second submission begins again
    job.resubmit()
    assert job.wait(LIMIT) == "Complete"
    assert (SEEN, job.result) == ([4, 4, 4], 40)
    job.delete()


def test_a_large_one_leaves_nothing_in_the_storage(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("PREFECT_JOBS_RESULT_SIZE_LIMIT", "1000")
    make: DaskJobs = request.getfixturevalue("dask_job")
    folder = Path(os.environ["PREFECT_HOME"]) / "storage"
    before = set(folder.iterdir()) if folder.exists() else set[Path]()  # what other tests have left
    job = make(process_results_function=ten_times)
    job.execute(delayed(bytes)(5_000))
    assert job.wait(LIMIT) == "Complete" and job.result == bytes(50_000)
    mine = [each.name for each in set(folder.iterdir()) - before]
    assert len(mine) == 1 and mine[0].endswith(f"-{job.id}-returned")
    job.delete()
    assert not (folder / mine[0]).exists()


def test_what_cannot_be_stored_is_an_error_and_the_result_of_the_work_stays(dask_job: DaskJobs) -> None:
    job = dask_job(process_results_function=with_a_lock)
    job.execute(delayed(int)(4))
    assert job.wait(LIMIT) == "Error"
    assert "with_a_lock returned could not be stored; the outputs are kept" in job.status_message
    assert job.result == 4
    # and one that is not kept is not stored
    forgotten = dask_job(process_results_function=ten_times, forget=True)
    forgotten.execute(delayed(int)(4))
    assert forgotten.wait(LIMIT) == "Complete" and SEEN == [4]
    with pytest.raises(ResultUnavailable, match="forget=True"):
        _ = forgotten.result
    assert (kept(forgotten, "result"), kept(forgotten, "returned")) == (None, None)
