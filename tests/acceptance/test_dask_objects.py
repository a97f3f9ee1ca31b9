"""What can be given to a DASK job and what comes back: arrays, data frames, large results, work that others share."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy
import pytest
from dask.delayed import delayed

from prefect_jobs import JobManager
from prefect_jobs.blocks import DaskScheduler
from prefect_jobs.projection import result_storage
from tests.acceptance.conftest import DaskJobs, PrefectView
from tests.support import eventually

# The workers need not have this module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
LIMIT = 60


def until(path: str, value: Any) -> Any:
    """Returns as soon as there is a file."""
    import time

    while not Path(path).exists():
        time.sleep(0.02)
    return value


def well(path: str) -> str:
    """Fails as long as there is no file."""
    if not Path(path).exists():
        raise ValueError("no water")
    return "well"


def test_arrays_and_data_frames(dask_job: DaskJobs) -> None:
    # a second of a core, which each process that collects this file would spend
    import dask.array
    import dask.dataframe
    import pandas

    # given
    array = dask.array.arange(1000, chunks=100)
    frame = dask.dataframe.from_pandas(pandas.DataFrame({"year": [1, 1, 2], "rain": [3.0, 4.0, 5.0]}), npartitions=2)
    job = dask_job()
    # when
    job.execute({"squares": array**2, "sum": array.sum(), "rain": frame.groupby("year").rain.sum()})
    assert job.wait(LIMIT) == "Complete", job.status_message
    # then
    assert numpy.array_equal(job.result["squares"], numpy.arange(1000) ** 2)
    assert job.result["sum"] == 499_500
    pandas.testing.assert_series_equal(
        job.result["rain"], pandas.Series([7.0, 5.0], index=pandas.Index([1, 2], name="year"), name="rain")
    )
    # and once more, from what was kept
    job.resubmit()
    assert job.wait(LIMIT) == "Complete", job.status_message
    assert job.result["sum"] == 499_500


def test_a_result_of_200_megabytes(dask_job: DaskJobs) -> None:
    job = dask_job()
    job.execute(delayed(numpy.ones)(25_000_000))
    assert job.wait(LIMIT) == "Complete", job.status_message
    kept = job.handle.record.native["result"]
    assert kept["where"] == "prefect" and kept["bytes"] > 200_000_000
    assert job.result.shape == (25_000_000,) and job.result.sum() == 25_000_000
    job.delete()


def test_a_large_result_waits_for_prefects_storage(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    # given a storage that takes nothing
    monkeypatch.setenv("PREFECT_JOBS_RESULT_SIZE_LIMIT", "1000")
    make: DaskJobs = request.getfixturevalue("dask_job")
    job = make()
    write: Callable[..., None] = result_storage.write
    full = OSError("No space left on device")

    def refuse(*_: Any) -> None:
        raise full

    monkeypatch.setattr(result_storage, "write", refuse)
    # when
    job.execute(delayed(bytes)(5000))
    # then it is over, and the cluster keeps it
    eventually(lambda: "No space left" in (job.status, job.status_message)[1], "somebody was told")
    assert job.cached_status == "Results-Ready"
    # and when there is space again
    monkeypatch.setattr(result_storage, "write", write)
    assert job.wait(LIMIT) == "Complete" and job.result == bytes(5000)


def test_a_large_result_stays_where_it_was_put(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    # given a storage that the settings name
    from prefect.filesystems import LocalFileSystem
    from prefect.settings import PREFECT_DEFAULT_RESULT_STORAGE_BLOCK, temporary_settings

    monkeypatch.setenv("PREFECT_JOBS_RESULT_SIZE_LIMIT", "1000")
    make: DaskJobs = request.getfixturevalue("dask_job")
    LocalFileSystem(basepath=str(tmp_path / "bucket")).save("bucket", overwrite=True, _sync=True)  # type: ignore[call-arg]
    job = make()
    with temporary_settings({PREFECT_DEFAULT_RESULT_STORAGE_BLOCK: "local-file-system/bucket"}):
        # when
        job.execute(delayed(bytes)(5000))
        assert job.wait(LIMIT) == "Complete", job.status_message
    # then it is there, also where another storage is the default by now
    assert job.handle.record.native["result"]["storage"] == "block:local-file-system/bucket"
    assert [path.stat().st_size > 5000 for path in (tmp_path / "bucket").iterdir()] == [True]
    assert job.result == bytes(5000)


def test_futures_that_failed_are_computed_again(dask_job: DaskJobs, dask: DaskScheduler, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    good, bad = dask.client.submit(pow, 2, 3, pure=False), dask.client.submit(well, str(flag), pure=False)
    job = dask_job()
    job.execute([good, bad])
    assert job.wait(LIMIT) == "Various-Complete" and job.result[0] == 8
    alone = dask_job()
    alone.execute(bad)
    assert alone.wait(LIMIT) == "Error" and "no water" in alone.status_message
    # when
    flag.touch()
    alone.retry()
    # then
    assert alone.wait(LIMIT) == "Complete", alone.status_message
    assert alone.result == "well" and bad.result() == "well"


def test_stopping_a_job_leaves_what_another_needs(dask_job: DaskJobs, tmp_path: Path) -> None:
    # given the same work in two jobs, and as a part of a third
    flag = tmp_path / "flag"
    shared = delayed(until)(str(flag), 5)
    one, other, third = dask_job(), dask_job(), dask_job()
    one.execute(shared)
    other.execute(shared)
    third.execute(delayed(pow)(shared, 2))
    assert one.key == other.key
    # when
    one.stop()
    # then
    assert one.cached_status == "Aborted"
    flag.touch()
    assert other.wait(LIMIT) == "Complete" and other.result == 5
    assert third.wait(LIMIT) == "Complete" and third.result == 25


def test_work_that_waits_for_a_thread_is_submitted_not_running(dask_job: DaskJobs, tmp_path: Path) -> None:
    # given both workers full, with two threads each
    flag = tmp_path / "flag"
    full = dask_job()
    full.execute([delayed(until)(str(flag), number) for number in range(4)])
    eventually(lambda: full.status == "Running", "all threads are at work")
    # when
    jobs = [dask_job() for _ in range(4)]
    for number, job in enumerate(jobs):
        job.execute(delayed(until)(str(flag), -1 - number))
    # then
    assert [job.status for job in jobs] == ["Submitted"] * 4
    flag.touch()
    assert [job.wait(LIMIT) for job in (full, *jobs)] == ["Complete"] * 5


def test_on_a_schedule(manager: JobManager, dask: DaskScheduler, prefect_view: PrefectView) -> None:
    # when
    schedule = manager.schedule_job(
        "powers", "alice", "DASK", interval=3600, scheduler=dask, function="builtins.pow", map_over=[2, 3],
        arguments=[4], timeout=60,
    )  # fmt: skip
    # then
    found = prefect_view.get(f"/deployments/{schedule.deployment_id}")
    assert found["parameters"] == {
        "name": "powers",
        "user": "alice",
        "app": "test_app",
        "scheduler": dask.name,
        "function": "builtins.pow",
        "map_over": [2, 3],
        "arguments": [4],
        "timeout": 60,
    }
    assert found["entrypoint"] == "prefect_jobs.flows.dask_job:dask_job"
    schedule.delete()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "needs a function"),
        ({"function": "no path"}, "module.function"),
        ({"function": lambda: 1}, "lambda"),
        ({"function": "builtins.pow", "arguments": 4}, "arguments must be a list"),
        ({"function": "builtins.pow", "keyword_arguments": [4]}, "keyword_arguments must be a dict"),
        ({"function": "builtins.pow", "map_over": [object()]}, "JSON"),
        ({"function": "builtins.pow", "timeout": -1}, "number of seconds"),
    ],
)
def test_a_schedule_that_could_not_run_is_refused(manager: JobManager, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        manager.schedule_job("x", "alice", "DASK", interval=60, **wrong)


def test_the_dashboard_is_linked(dask_job: DaskJobs, prefect_view: PrefectView) -> None:
    job = dask_job()
    job.execute(delayed(pow)(2, 2))
    assert job.wait(LIMIT) == "Complete"
    prefect_view.run(job)
    (found,) = prefect_view.post("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [job.flow_run_id]}}})
    assert job.client.dashboard_link in found["data"]


@pytest.mark.anyio
async def test_waiting_holds_no_thread_and_notices_the_end(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("PREFECT_JOBS_POLL_INTERVAL", "600")
    job = request.getfixturevalue("dask_job")()
    await job.aexecute(delayed(sum)([1, 2]))
    assert await job.await_completion(LIMIT) == "Complete"
    assert await job.aresult() == 3


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
