"""Work that was submitted without us: taken over, followed and steered, never removed unasked or run again."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prefect_jobs import CondorJob, CondorWorkflow, JobManager, JobStateError, SubmissionError
from prefect_jobs.blocks import CondorScheduler, create_condor_scheduler
from prefect_jobs.jobs.log_file import ForeignLog
from prefect_jobs.local.condor_pool import PersonalPool
from prefect_jobs.local.prefect_server import PrefectServerInfo
from prefect_jobs.monitor import Monitor
from prefect_jobs.monitor.adoptions import Adoptions
from prefect_jobs.runtime.wiring import Runtime
from prefect_jobs.schedulers.condor.client import CondorClient
from prefect_jobs.store.filters import JobQuery
from tests.acceptance.conftest import PrefectView, read
from tests.acceptance.test_dag_file import lay_out, submit_bare
from tests.acceptance.test_monitor import becomes, monitor, press, running
from tests.commands import run_command
from tests.support import eventually

__all__ = ["monitor", "press"]

SUB = "universe = local\nexecutable = /bin/sh\ntransfer_executable = false\n"


@pytest.fixture(scope="session")
def owner(condor_pool: PersonalPool, prefect_server: PrefectServerInfo) -> CondorScheduler:
    """The pool, with a token of the user as whom its own tools submit."""
    info = condor_pool.status().info
    assert info is not None
    token = condor_pool.token(info.identity)
    block = create_condor_scheduler("pool_of_its_user", info.host, port=info.port, token=token)
    block.save(overwrite=True)
    read(block)
    return block


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in which jobs of another user may write."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


def submit(pool: PersonalPool, folder: Path, line: str, count: int = 1, more: str = "") -> int:
    """Submits by condor_submit; returns the cluster."""
    arguments = f"arguments = \"-c '{line}'\"\noutput = out.$(Process)\nlog = its.log\n"
    (folder / "job.sub").write_text(f"{SUB}{arguments}{more}queue {count}\n")
    asked = ["condor_submit", "job.sub"]
    answer = subprocess.run(asked, cwd=folder, env=pool.env(), capture_output=True, text=True, timeout=60, check=True)
    return int(re.findall(r"cluster (\d+)", answer.stdout)[0])


def _until_go(folder: Path) -> str:
    """A line that waits for a file, and ends with its folder."""
    return f"until [ -e {folder}/go ] || [ ! -d {folder} ]; do sleep 0.1; done"


def queued(pool: PersonalPool, cluster: int) -> int:
    """The number of procs in the queue."""
    asked = ["condor_q", "-all", str(cluster), "-af", "ProcId"]
    answer = subprocess.run(asked, env=pool.env(), capture_output=True, text=True, timeout=60, check=True)
    return len(answer.stdout.split())


def test_a_running_cluster_is_followed_to_its_end(
    manager: JobManager, condor_pool: PersonalPool, owner: CondorScheduler, folder: Path, prefect_view: PrefectView
) -> None:
    # given
    line = f"echo hello; until [ -e {folder}/go ]; do sleep 0.1; done; exit $(Process)"
    cluster = submit(condor_pool, folder, line, 2)
    # when
    job = manager.adopt_job("", "bob", owner, f"{cluster}.0", description="a guest")
    # then
    assert isinstance(job, CondorJob)
    assert (job.user, job.name, job.cluster_id, job.description) == ("bob", "sh", cluster, "a guest")
    assert job.cached_status == "Submitted" and f"Taken over as cluster {cluster}; " in job.status_message
    assert manager.adopt_job("another", "carol", owner, cluster).id == job.id
    eventually(lambda: job.status == "Running", "it runs")
    with pytest.raises(JobStateError, match="was submitted without prefect-jobs"):
        job.execute()
    # when
    (folder / "go").touch()
    job.wait(60)
    # then
    assert job.cached_status == "Various-Complete", job.status_message
    logs = job.get_logs()
    assert logs["Process 0"]["output"] == "hello\n" and "Job submitted from host" in logs["Process 1"]["log"]
    assert (folder / "out.0").read_text() == "hello\n"  # left where it is wanted
    with pytest.raises(JobStateError, match="is not run again from here"):
        job.resubmit()
    run = prefect_view.run(job)
    assert (run["state"]["type"], run["state"]["name"]) == ("FAILED", "Various-Complete")


def test_among_the_clusters_of_others(
    monitor: Monitor,
    manager: JobManager,
    runtime: Runtime,
    condor_pool: PersonalPool,
    owner: CondorScheduler,
    folder: Path,
) -> None:
    # given two that are close together, and one far from them, with others in between
    clusters = [submit(condor_pool, folder, _until_go(folder)) for _ in range(9)]
    jobs = [manager.adopt_job("", "bob", owner, clusters[number]) for number in (0, 2, 8)]
    for job in jobs:
        becomes(job, "Running")
    # when
    (folder / "go").touch()
    # then
    for job in jobs:
        becomes(job, "Complete")
    assert len(runtime.store.find(JobQuery())) == len(jobs)


def test_what_is_in_the_history_and_what_cannot_be_taken_over(
    manager: JobManager, condor_pool: PersonalPool, owner: CondorScheduler, alice: CondorScheduler, folder: Path
) -> None:
    # given
    cluster = submit(condor_pool, folder, "exit 3")
    eventually(lambda: not queued(condor_pool, cluster), "it has left the queue")
    # when
    job = manager.adopt_job("late", "bob", owner, cluster)
    job.wait(60)
    # then
    assert job.cached_status == "Error" and "3" in job.status_message
    ours = manager.create_job("ours", "bob", job_type="CONDOR", scheduler=owner, attributes={"executable": "/bin/true"})
    ours.execute()
    assert manager.adopt_job("", "bob", owner, ours.remote_id or "").id == ours.id
    ours.stop()
    waiting = submit(condor_pool, folder, "sleep 300", more="hold = true\n")
    for scheduler, remote_id, error, words in (
        (owner, "999999", SubmissionError, "is in neither the queue nor the history"),
        (alice, waiting, SubmissionError, "and the scheduler lets us in as alice@"),
        (owner, "seven", ValueError, "is not the id of a cluster"),
        (owner, "7.1", ValueError, "is not the id of a cluster"),
        (owner, True, ValueError, "is not the id of a cluster"),
        (owner, 0, ValueError, "is not the id of a cluster"),
    ):
        with pytest.raises(error, match=words):
            manager.adopt_job("", "bob", scheduler, remote_id)
    with pytest.raises(TypeError, match="takes no keyword 'attributes'"):
        manager.adopt_job("", "bob", owner, waiting, attributes={})
    # when
    taken = manager.adopt_job("", "bob", owner, waiting)
    eventually(lambda: taken.status == "Paused", "its hold is seen")
    taken.delete()
    # then
    assert queued(condor_pool, waiting) == 1
    # when
    again = manager.adopt_job("", "bob", owner, waiting)
    eventually(lambda: again.status == "Paused", "its hold is seen")
    again.resume()
    again.stop()
    # then
    assert again.cached_status == "Aborted"
    eventually(lambda: not queued(condor_pool, waiting), "it has left the queue, which takes a moment if it ran")


def test_running_dags_are_drawn(
    manager: JobManager, condor_pool: PersonalPool, owner: CondorScheduler, folder: Path
) -> None:
    # given one whose file can be read here, since it is a file of its owner, and one whose file is not
    info = condor_pool.status().info
    assert info is not None
    wait = f"until [ -e {folder}/go ]; do sleep 0.1; done; echo $(JOB)"
    jobs: dict[bool, CondorWorkflow] = {}
    for is_readable in (True, False):
        file = lay_out(folder / str(is_readable), "an inner DAG")
        (file.parent / "n.sub").write_text(f"{SUB}arguments = \"-c '{wait}'\"\noutput = out.$(JOB)\nqueue\n")
        if is_readable:
            for path in file.parent.rglob("*"):
                shutil.chown(path, str(info.user))
        # when
        job = manager.adopt_job("a guest", "bob", owner, submit_bare(condor_pool, file))
        # then
        assert isinstance(job, CondorWorkflow)
        assert set(job.node_statuses) == ({"A", "B", "I", "I+P", "I+Q"} if is_readable else set())
        jobs[is_readable] = job
    for job in jobs.values():
        eventually(lambda job=job: job.status == "Various" and job.node_statuses["A"] == "Running", "A runs")  # type: ignore[misc]
    (folder / "go").touch()
    for job in jobs.values():
        job.wait(120)
        assert job.cached_status == "Complete", job.status_message
        assert job.node_statuses == dict.fromkeys(("A", "B", "I", "I+P", "I+Q"), "Complete")
        assert job.get_logs()["I+P"]["output"]() == "P\n"
        with pytest.raises(JobStateError, match="is not run again from here"):
            job.resubmit()


@pytest.fixture
def taking(owner: CondorScheduler) -> Iterator[CondorScheduler]:
    """The pool, of whose queue the monitor takes over all."""
    owner.adopt = "mine"
    owner.save(overwrite=True)
    yield owner
    owner.adopt = "none"
    owner.save(overwrite=True)


def test_monitors_take_over_a_whole_queue(
    taking: CondorScheduler,
    on_postgres: Runtime,
    monitor: Monitor,
    condor_pool: PersonalPool,
    folder: Path,
    press: Callable[..., None],
    prefect_view: PrefectView,
) -> None:
    with running(Monitor()):  # beside another one
        _is_taken_over(on_postgres, condor_pool, folder, press, prefect_view)


def _is_taken_over(
    runtime: Runtime, condor_pool: PersonalPool, folder: Path, press: Callable[..., None], prefect_view: PrefectView
) -> None:
    # given
    line = _until_go(folder)
    clusters = {str(submit(condor_pool, folder, line)) for _ in range(3)}

    def taken() -> list[Any]:
        found = runtime.store.find(JobQuery())
        return found if {record.remote_id for record in found} >= clusters else []

    # when
    found = eventually(taken, "the monitor follows them", timeout=90)
    # then
    assert {record.label for record in found} == {"default"} and len(found) == len({each.remote_id for each in found})
    jobs = [runtime.job(record) for record in found if record.remote_id in clusters]
    for job in jobs:
        becomes(job, "Running")
    # when one is deleted, its work goes on, and it does not come back
    jobs[0].delete()
    late = str(submit(condor_pool, folder, line))
    eventually(
        lambda: {record.remote_id for record in runtime.store.find(JobQuery())} >= {late}, "the next round is over"
    )
    assert jobs[0].remote_id not in {record.remote_id for record in runtime.store.find(JobQuery())}
    # when the buttons of Prefect are pressed
    press(jobs[1], "PAUSED", "Suspended")
    becomes(jobs[1], "Paused")
    prefect_view.run(jobs[1])  # shown as such: a button that is pressed before that may be lost
    prefect_view.post(f"/flow_runs/{jobs[1].flow_run_id}/resume", {})
    becomes(jobs[1], "Running")
    press(jobs[2], "CANCELLING")
    becomes(jobs[2], "Aborted")
    # then
    (folder / "go").touch()
    becomes(jobs[1], "Complete")


def test_only_what_is_new_in_a_queue_is_asked_for(
    taking: CondorScheduler, runtime: Runtime, condor_pool: PersonalPool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    query = CondorClient.query

    def noted(client: CondorClient, which: str, *more: Any) -> Any:
        asked.append(which)
        return query(client, which, *more)

    def followed() -> set[str | None]:
        return {record.remote_id for record in runtime.store.find(JobQuery())}

    line, adoptions = _until_go(folder), Adoptions(runtime)
    first = str(submit(condor_pool, folder, line))
    adoptions.round()
    assert first in followed()
    # when more has come
    monkeypatch.setattr(CondorClient, "query", noted)
    late = str(submit(condor_pool, folder, line))
    adoptions.round()
    # then it is found, and the schedd was not asked for all that is there
    assert late in followed()
    assert asked and asked[0].startswith("QDate >= ")
    (folder / "go").touch()


def test_adopt_by_the_command(
    runtime: Runtime, condor_pool: PersonalPool, owner: CondorScheduler, folder: Path, tmp_path: Path
) -> None:
    cluster = submit(condor_pool, folder, "exit 0")
    code, out, err = run_command(["adopt", str(owner.name), str(cluster), "--json"], cwd=tmp_path)
    assert code == 0, err
    assert json.loads(out)["app"] == "default" and f": cluster {cluster} is taken over; it is " in err
    code, out, err = run_command(["adopt", str(owner.name), "x"], cwd=tmp_path)
    assert code == 1 and "is not the id of a cluster" in err and not out


def test_only_files_of_the_owner_are_read(folder: Path) -> None:
    # given
    secret = folder / "secret"
    secret.write_text("a secret")
    secret.chmod(0o600)
    (folder / "link").symlink_to(secret)
    os.mkfifo(folder / "pipe")
    # when, then
    for path in (secret, folder / "link", folder / "pipe", folder, folder / "none"):
        for user in ("nobody", "no-such-user"):
            log = ForeignLog(path, user)
            said = f"This log is at {path}, in the folder of {user}. It cannot be read here.\n"
            assert (log(), log.part(1000).text) == (said, said)
            with pytest.raises(OSError):
                log.text(100)
    mine = Path("/proc/self").owner()
    assert ForeignLog(secret, mine)() == "a secret"
    assert "cannot be read here" in ForeignLog(secret, mine, here=False)()
