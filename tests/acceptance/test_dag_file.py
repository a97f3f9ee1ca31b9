"""DAG files: what runs is what condor_submit_dag would run."""

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from prefect_jobs import CondorWorkflow, CondorWorkflowJobNode, JobManager, SubmissionError
from prefect_jobs.blocks import CondorScheduler
from prefect_jobs.local.condor_pool import PersonalPool
from prefect_jobs.runtime.wiring import Runtime, get_runtime
from prefect_jobs.settings import get_settings
from tests.acceptance.conftest import PrefectView, TestApp
from tests.acceptance.dag_files import BESIDE, FILES, MORE
from tests.commands import run_command
from tests.support import eventually

#: What DAGs may fetch from the environment of the one who submits.
GIVEN = {"STAR": "sun"}
QUICK = {"DAGMAN_USER_LOG_SCAN_INTERVAL": "1", "DAGMAN_MAX_SUBMIT_ATTEMPTS": "1"}
#: The universe of a DAGMan: "scheduler".
DAGMAN = 7
#: What DAGMan and condor_submit_dag write besides what nodes write.
OF_DAGMAN = (
    ".dagman.out", ".dagman.log", ".lib.out", ".lib.err", ".condor.sub", ".nodes.log", ".metrics", ".lock", ".status",
    "workflow.dag", "workflow.log", "dagman.out", "dagman.err", ".dot", "states.log", ".save", "d-0.log",
)  # fmt: skip


def files_of(name: str) -> dict[str, str]:
    """The files of a case: path → content."""
    text, more = FILES[name]
    return {**BESIDE, **more, "a.dag": text}


def lay_out(folder: Path, name: str) -> Path:
    """Writes the files of a case; returns the DAG file."""
    for path, content in files_of(name).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content.replace("@HERE@", str(folder)))
        target.chmod(0o755)
    for each in (folder, *(each for each in folder.rglob("*") if each.is_dir())):
        each.chmod(0o777)
    return folder / "a.dag"


@dataclass
class Outcome:
    """What became of a DAG."""

    exit_code: int | None
    #: (node, process, exit code, arguments) of each job, tries in their order.
    jobs: list[tuple[str, int, int | None, str]]
    #: What the nodes wrote: path → content.
    files: dict[str, str]


def outcome(ads: Sequence[Mapping[str, Any]], cluster: int, folder: Path, name: str) -> Outcome:
    """What became of a DAG that has ended, by the history of the pool."""
    given = files_of(name)
    found: list[tuple[str, int, int | None, str]] = []
    inner = [(cluster, "")]
    for number, prefix in inner:
        for ad in ads:
            if ad.get("DAGManJobId") != number:
                continue
            node = f"{prefix}{ad['DAGNodeName']}"
            if ad["JobUniverse"] == DAGMAN:
                inner.append((ad["ClusterId"], f"{node}+"))
            arguments = "" if ad["JobUniverse"] == DAGMAN else str(ad.get("Arguments") or ad.get("Args") or "")
            found.append((node, ad["ProcId"], ad.get("ExitCode"), arguments))
    files = {
        str(path.relative_to(folder)): re.sub(r"Completion=\d+", "", path.read_text())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".rescue" not in path.name and not path.name.endswith(OF_DAGMAN)
    }
    files = {
        path: text for path, text in files.items() if given.get(path) != text and "@HERE@" not in given.get(path, "")
    }
    code = next((ad.get("ExitCode") for ad in ads if ad["ClusterId"] == cluster), None)
    return Outcome(code, sorted(found, key=str), files)


def history(pool: PersonalPool, constraint: str = "true") -> list[dict[str, Any]]:
    """The ads that have left the queue."""
    names = "ClusterId,ProcId,DAGManJobId,DAGNodeName,ExitCode,Args,Arguments,JobUniverse"
    asked = ["condor_history", "-json", "-attributes", names, "-constraint", constraint]
    answer = subprocess.run(asked, env=pool.env(), capture_output=True, text=True, check=True, timeout=60)
    found: list[dict[str, Any]] = json.loads(answer.stdout or "[]")
    return found


@dataclass
class Both:
    """A DAG that was run in both ways."""

    bare: Outcome
    job: CondorWorkflow
    ours: Outcome


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory, prefect_server: object, condor_pool: PersonalPool, alice: CondorScheduler
) -> Iterator[dict[str, Both]]:
    """All DAGs at their end: run by condor_submit_dag, and as jobs."""
    folder = tmp_path_factory.mktemp("dags")
    for path in (folder, *folder.parents):
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_JOBS_DATABASE_URL", f"sqlite:///{folder / 'jobs.db'}")
        patch.setenv("PREFECT_JOBS_WORKSPACE", str(folder / "workspace"))
        patch.setenv("STAR", GIVEN["STAR"])
        get_settings.cache_clear()
        manager = TestApp.get_job_manager()
        runtime = get_runtime()
        # Prefect is not asked to draw some 250 nodes: a test that is about it has a DAG of its own.
        patch.setattr(runtime.projector, "kick_all", lambda job_ids, delay=0.0: None)
        patch.setattr(runtime.projector, "wait", lambda job_ids, patience=0.0: True)
        yield _run_all(manager, condor_pool, alice, folder)
        runtime.close()
    get_settings.cache_clear()


def _run_all(manager: JobManager, pool: PersonalPool, alice: CondorScheduler, folder: Path) -> dict[str, Both]:
    clusters: dict[str, int] = {}
    jobs: dict[str, CondorWorkflow] = {}
    for number, name in enumerate(FILES):
        file = lay_out(folder / f"bare{number}", name)
        clusters[name] = submit_bare(pool, file)
        job = manager.create_job(
            name, "alice", job_type="CONDORWORKFLOW", scheduler=alice,
            dag_file=lay_out(folder / f"ours{number}", name), config=QUICK, remote_input_files=MORE.get(name, ()),
        )  # fmt: skip
        assert isinstance(job, CondorWorkflow)
        job.execute()
        jobs[name] = job

    def over() -> bool:
        for job in jobs.values():
            job.update_status()
        return all(job.handle.record.final for job in jobs.values())

    try:
        eventually(over, "all jobs are over", timeout=200, interval=4)
    except pytest.fail.Exception as error:
        waits = {
            name: f"{job.cached_status} {job.node_statuses}"
            for name, job in jobs.items()
            if not job.handle.record.final
        }
        raise AssertionError(f"not over: {waits}") from error
    names = {cluster: name for name, cluster in clusters.items()}
    wanted = " || ".join(f"ClusterId == {cluster}" for cluster in names)

    def left() -> set[str]:
        return set(clusters) - {names[ad["ClusterId"]] for ad in history(pool, wanted)}

    eventually(lambda: not left(), "all bare DAGs are over", timeout=60, interval=1)
    found: dict[str, Both] = {}
    ads = history(pool)
    for number, name in enumerate(FILES):
        job = jobs[name]
        assert job.cluster_id is not None
        bare = outcome(ads, clusters[name], folder / f"bare{number}", name)
        found[name] = Both(bare, job, outcome(ads, job.cluster_id, Path(job.initial_dir), name))
    return found


def submit_bare(pool: PersonalPool, file: Path) -> int:
    """Runs a DAG by condor_submit_dag; returns DAGMan's cluster."""
    environment = {**pool.env(), **GIVEN, **{f"_CONDOR_{name}": value for name, value in QUICK.items()}}
    answer = subprocess.run(
        ["condor_submit_dag", file.name], cwd=file.parent, env=environment, capture_output=True, text=True, timeout=60
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return int(answer.stdout.rpartition("cluster ")[2].split(".")[0])


@pytest.mark.parametrize("name", list(FILES))
def test_it_runs_as_by_condor_submit_dag(both: Mapping[str, Both], name: str) -> None:
    bare, ours = both[name].bare, both[name].ours
    assert ours.jobs == bare.jobs
    if name != "a service":  # a DAGMan that still reads that the service was removed counts that as a failure
        assert ours.exit_code == bare.exit_code
    assert ours.files == bare.files


#: DAG → the status of the job, and of nodes.
STATUSES = {
    "diamond": ("Complete", {"A": "Complete", "B": "Complete", "C": "Complete", "D": "Complete"}),
    "tried again": ("Complete", {"A": "Complete"}),
    "some fail": ("Various-Complete", {"A": "Complete", "B": "Error", "C": "Pending"}),
    "a post script saves it": ("Complete", {"A": "Complete", "B": "Complete"}),
    "a pre script fails": ("Error", {"A": "Error", "B": "Pending"}),
    "skipped": ("Complete", {"A": "Complete", "B": "Complete"}),
    "ended early, well": ("Complete", {"A": "Error", "B": "Pending"}),
    "no job": ("Complete", {"N": "Complete", "A": "Complete", "B": "Complete"}),
    "a final node after a failure": ("Complete", {"A": "Error", "F": "Complete"}),
    "a final node that fails": ("Various-Complete", {"A": "Complete", "B": "Complete", "F": "Error"}),
    "splices in splices": (
        "Complete",
        {"S+I+X": "Complete", "S+I+Y": "Complete", "S+O": "Complete", "T+X": "Complete", "T+Y": "Complete"},
    ),
    "an inner DAG that fails": (
        "Various-Complete",
        {"I": "Error", "I+P": "Complete", "I+Q": "Error", "I+R": "Pending", "B": "Pending"},
    ),
    "an inner DAG that a script makes": ("Complete", {"I": "Complete", "I+P": "Complete", "I+Q": "Complete"}),
    "an inner DAG with a splice": (
        "Complete",
        {"I": "Complete", "I+S+X": "Complete", "I+S+Y": "Complete", "I+Q": "Complete"},
    ),
    "rescued": ("Complete", {"A": "Complete", "B": "Complete"}),
    "a service": ("Complete", {"A": "Complete", "W": "Complete"}),
}


@pytest.mark.parametrize("name", list(STATUSES))
def test_its_nodes_are_followed(both: Mapping[str, Both], name: str) -> None:
    job = both[name].job
    assert (job.cached_status, job.node_statuses) == STATUSES[name], job.status_message


def test_messages_name_inner_nodes(both: Mapping[str, Both]) -> None:
    failed, well = both["an inner DAG that fails"].job, both["a final node after a failure"].job
    assert "I+Q: Exit code 6" in failed.status_message
    assert (
        well.status_message == "DAGMan ended with success: 0 of 1 nodes are done. Failed all the same: A: Exit code 1."
    )


def test_each_node_has_its_logs(both: Mapping[str, Both]) -> None:
    inner, twice = both["an inner DAG with a splice"].job.get_logs(), both["tried again"].job.get_logs()
    assert inner["I+S+X"]["output"]() == "says S+X\n" and inner["I+Q"]["output"]() == "says Q\n"
    assert "Job terminated" in inner["the workflow"]["log"]
    assert both["two processes"].job.get_logs()["A"]["output of process 1"]() == "says 1\n"
    assert twice["A"]["output"]() == "A\n"


def test_prefect_draws_inner_nodes(
    manager: JobManager, alice: CondorScheduler, tmp_path: Path, prefect_view: PrefectView
) -> None:
    file = lay_out(tmp_path / "dag", "an inner DAG")
    job = manager.create_job("drawn", "alice", job_type="CONDORWORKFLOW", scheduler=alice, dag_file=file, config=QUICK)
    assert isinstance(job, CondorWorkflow)
    job.execute()
    job.wait(120)

    def drawn() -> dict[str, str]:
        found = prefect_view.post("/task_runs/filter", {"task_runs": {"flow_run_id": {"any_": [job.flow_run_id]}}})
        shown = {run["name"]: run["state_type"] for run in found}
        return shown if set(shown.values()) == {"COMPLETED"} and len(shown) == len(job.nodes) else {}

    assert set(eventually(drawn, "Prefect shows all nodes")) == {"A", "I", "I+P", "I+Q", "B"}


def test_it_goes_on_where_it_failed(both: Mapping[str, Both], condor_pool: PersonalPool) -> None:
    # given
    done = {
        "some fail": {"A"},
        "an inner DAG that fails": {"I+P"},
        "a final node after a failure": set[str](),
        "an inner DAG that a script makes": set[str](),
    }
    jobs = {name: both[name].job for name in done}
    for name, job in jobs.items():
        corrected = BESIDE["end.sub"].replace("$(code)", "0")
        (Path(job.spec["dag_file"]).parent / "end.sub").write_text(corrected)
        # when
        job.resubmit(**({"fresh": True} if name == "an inner DAG that a script makes" else {}))
    for job in jobs.values():
        job.wait(120)
    # then
    ads = history(condor_pool)
    for name, job in jobs.items():
        assert job.cached_status == "Complete", job.status_message
        assert set(job.node_statuses.values()) == {"Complete"}
        assert job.cluster_id is not None
        ran = {each[0] for each in outcome(ads, job.cluster_id, Path(job.initial_dir), name).jobs}
        assert ran == set(job.node_statuses) - done[name]
        for node in done[name]:
            assert job.get_logs()[node]["output"]() == f"says {node.rpartition('+')[2]}\n"


def test_it_runs_from_the_start_if_wanted_and_can_be_stopped(
    manager: JobManager, alice: CondorScheduler, tmp_path: Path, flag: Path
) -> None:
    # given
    file = lay_out(tmp_path / "dag", "chain")
    go = flag.with_name("go")
    (file.parent / "n.sub").write_text(
        "universe = local\nexecutable = /bin/sh\ntransfer_executable = false\n"
        f"arguments = \"-c 'until [ -e {go} ]; do sleep 0.1; done'\"\nqueue\n"
    )
    job = manager.create_job("waits", "alice", job_type="CONDORWORKFLOW", scheduler=alice, dag_file=file, config=QUICK)
    assert isinstance(job, CondorWorkflow)
    job.execute()
    eventually(lambda: job.status == "Various" and job.node_statuses["A"] == "Running", "A runs")
    # when
    job.stop()
    # then
    assert job.cached_status == "Aborted" and job.node_statuses == {"A": "Aborted", "B": "Pending"}
    # when
    go.touch()
    job.resubmit(fresh=True)
    job.wait(120)
    # then
    assert job.cached_status == "Complete", job.status_message


def test_nodes_of_a_file_are_not_edited(both: Mapping[str, Both]) -> None:
    job = both["one"].job
    with pytest.raises(ValueError, match=r"The nodes of .* are those of '.*a\.dag': change the file"):
        CondorWorkflowJobNode("Z", job, {"executable": "/bin/true"}).save()
    with pytest.raises(ValueError, match="change the file"):
        job.nodes[0].delete()


def test_a_file_that_was_changed_is_not_run_as_the_old_one(
    manager: JobManager, alice: CondorScheduler, tmp_path: Path
) -> None:
    file = lay_out(tmp_path / "dag", "chain")
    job = manager.create_job("changed", "alice", job_type="CONDORWORKFLOW", scheduler=alice, dag_file=file)
    file.write_text("JOB A n.sub\n")
    with pytest.raises(SubmissionError, match="has other nodes or dependencies than when the job was created"):
        job.execute()


def test_by_the_command(runtime: Runtime, alice: CondorScheduler, tmp_path: Path) -> None:
    # given
    file = lay_out(tmp_path / "dag", "chain")
    options = ["--scheduler", str(alice.name), "--set", "DAGMAN_USER_LOG_SCAN_INTERVAL=1", "--wait", "--json"]
    # when
    code, out, err = run_command(["submit", str(file), *options], cwd=tmp_path)
    # then
    assert code == 0, err
    said = json.loads(out)
    assert (said["status"], said["name"], said["app"], said["type"]) == ("Complete", "a", "default", "CondorWorkflow")
    assert f"job {said['id']}: 2 nodes in cluster" in err
    # and what is wrong is said in a sentence, with the line
    file.write_text("JOB A n.sub\nPARENT A CHILD B\n")
    code, out, err = run_command(["submit", str(file)], cwd=tmp_path)
    assert code == 1 and "a.dag, line 2: PARENT names 'B', which is not a node" in err and not out
