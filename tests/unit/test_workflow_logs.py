"""The logs of a workflow's nodes, by what they are."""

from pathlib import Path
from typing import Any

from prefect_jobs.jobs.workflow.logs import files, tails
from prefect_jobs.records import NodeRecord
from prefect_jobs.schedulers.condor import observation


def proc(number: int) -> observation.Proc:
    return observation.Proc(number, observation.COMPLETED, exit_code=1)


def node(*clusters: int, procs: int = 1, **more: Any) -> NodeRecord:
    """A node that was submitted as these clusters, one after the other."""
    run = {
        "clusters": list(clusters),
        "procs": [proc(number).encode() for number in range(procs)],
        "total": procs,
    }
    native = {"runs": {"A": run}} if clusters else {}
    return NodeRecord("A", spec={"kind": "JOB", **more}, status="Error", native=native)


def wrote(folder: Path, text: str) -> None:
    """Standard output of a process, where HTCondor leaves it."""
    path = folder / "A/logs" / text.replace(" ", ".")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def called(nodes: list[NodeRecord], folder: Path) -> dict[str, str]:
    return {name: text() for name, text in files(nodes, folder)["A"].items()}


def test_the_plain_keys_are_there_before_anything_is_written(tmp_path: Path) -> None:
    for each in (node(), node(7), node(kind="SUBDAG", dag_file="x.dag")):
        assert called([each], tmp_path) == {"error": "", "log": "", "output": ""}


def test_the_plain_keys_mean_the_last_try(tmp_path: Path) -> None:
    clusters = range(1, 12)  # as a text, 9 comes after 11
    for cluster in clusters:
        wrote(tmp_path, f"A {cluster} 0 out")
    found = called([node(*clusters)], tmp_path)
    assert found["output"] == found["output of try 11"] == "A 11 0 out\n"
    assert found["output of try 9"] == "A 9 0 out\n" and found["error"] == ""
    assert [text for _, text in tails([node(*clusters)], tmp_path)] == [
        "Standard output of node A (its end):\nA 11 0 out"
    ]


def test_a_try_that_has_written_nothing_yet_is_the_last_one(tmp_path: Path) -> None:
    wrote(tmp_path, "A 1 0 out")
    found = called([node(1, 2)], tmp_path)
    assert found["output"] == "" and found["output of try 1"] == "A 1 0 out\n"


def test_several_processes_are_read_one_after_the_other(tmp_path: Path) -> None:
    for number in (0, 1):
        wrote(tmp_path, f"A 5 {number} out")
    found = called([node(5, procs=2)], tmp_path)
    assert found["output"] == "A 5 0 out\nA 5 1 out\n"
    assert found["output of process 1"] == "A 5 1 out\n"
