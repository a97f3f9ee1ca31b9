"""The Dask scheduler block against a real scheduler and worker."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from prefect_jobs import SchedulerConnectionError, create_dask_scheduler
from prefect_jobs.blocks import DaskScheduler
from prefect_jobs.local.processes import free_port
from tests.support import eventually


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a scheduler that has one worker with two threads."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    options = ("--host", "127.0.0.1", "--no-dashboard")
    commands = (
        ("scheduler", *options, "--port", str(port)),
        ("worker", address, *options, "--nworkers", "1", "--nthreads", "2", "--memory-limit", "256MB", "--no-nanny"),
    )
    with contextlib.ExitStack() as stack:
        for command in commands:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "dask", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            )
            stack.callback(process.terminate)
        yield address


def test_check_tells_what_is_there_and_the_client_computes(cluster: str) -> None:
    # given a block, and a cluster that is just coming up
    block = create_dask_scheduler("a_cluster", f"tcp://{cluster}", timeout=30)
    assert isinstance(block, DaskScheduler)
    # when it is checked
    eventually(lambda: "workers:   1 (2 threads" in block.check(), "there is a worker", 60)
    report = block.check()
    # then the report says what there is, the client is one and the same, and it works
    assert report.startswith(f"Dask at tcp://{cluster}: reached")
    client = block.client
    assert client is create_dask_scheduler("another", f"tcp://{cluster}", timeout=30).client
    assert client.submit(sum, [1, 2, 3]).result(timeout=30) == 6
    block.close()
    assert client.status == "closed"
    assert block.client is not client
    block.close()


def test_an_unreachable_scheduler_is_told_within_the_timeout() -> None:
    block = create_dask_scheduler("nowhere", f"127.0.0.1:{free_port()}", timeout=1)
    with pytest.raises(SchedulerConnectionError, match=r"within 1 s.*dask scheduler"):
        block.check()
