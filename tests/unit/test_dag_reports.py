"""The files that DAGMan leaves behind."""

from pathlib import Path

import pytest

from prefect_jobs.schedulers.condor.dag.reports import complaints, read_rescue, read_status, rescue_files

STATUS = r"""[
  Type = "DagStatus";
  DagFiles = {
    "dag/workflow.dag"
  };
  Timestamp = 1700000000; /* "Tue Nov 14 22:13:20 2023" */
  DagStatus = 6; /* "STATUS_ERROR ([x])" */
  NodesTotal = 3;
]
[
  Type = "NodeStatus";
  Node = "A";
  NodeStatus = 5; /* "STATUS_DONE" */
  StatusDetails = "";
  RetryCount = 0;
]
[
  Type = "NodeStatus";
  Node = "S+X";
  NodeStatus = 6; /* "STATUS_ERROR" */
  StatusDetails = "Job said \"no [1] \\ ]\"";
]
[
  Type = "NodeStatus";
  Node = "B";
  NodeStatus = 7; /* "STATUS_FUTILE" */
]
[
  Type = "StatusEnd";
  EndTime = 1700000000; /* "Tue Nov 14 22:13:20 2023" */
  NextUpdate = 0; /* "none" */
]
"""


def test_the_node_status_file(tmp_path: Path) -> None:
    (tmp_path / "workflow.status").write_text(STATUS)

    assert read_status(tmp_path) == {"A": (5, ""), "S+X": (6, 'Job said "no [1] \\ ]"'), "B": (7, "")}


@pytest.mark.parametrize("text", [None, "", '[\n  Node = "A";\n', '[\n  Node = "A";\n]\n', "\0\xff]["])
def test_a_node_status_file_that_says_nothing(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "workflow.status").write_text(text)

    assert read_status(tmp_path) == {}


def test_the_newest_rescue_dag_counts(tmp_path: Path) -> None:
    # given
    for name in ("rescue001", "rescue002", "rescue010", "rescue002.old", "rescue"):
        (tmp_path / f"workflow.dag.{name}").write_text(f"DONE {name}\n")
    (tmp_path / "workflow.dag.rescue010").write_text("# DONE X\n\nDONE A\n  DONE S+X  \nRESET_DONE B\nDONE\nDONE a b\n")

    # when, then
    names = [path.name.rpartition(".")[2] for path in rescue_files(tmp_path)]
    assert names == ["rescue001", "rescue002", "rescue010"]
    assert read_rescue(tmp_path) == ["A", "S+X"]


def test_without_a_rescue_dag_nothing_is_known(tmp_path: Path) -> None:
    assert read_rescue(tmp_path) is None
    (tmp_path / "workflow.dag.rescue001").write_text("# nothing\n")
    assert read_rescue(tmp_path) == []


T = "11/14/23 22:13:20 "


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([f"{T}All is well", f"{T}ERROR: the following job(s) failed:"], ""),
        ([f"{T}ERROR: no such file", f"{T}x", f"{T}ERROR: no such file"], "ERROR: no such file"),
        (
            [f"{T}dag/workflow.dag (line 3): ERROR: bad", f"{T}Failed to parse it"],
            "dag/workflow.dag (line 3): ERROR: bad Failed to parse it",
        ),
        (
            [f"{T}Warning: one", f"{T}Warning: two", f"{T}ERROR: Warning is fatal"],
            "Warning: two ERROR: Warning is fatal",
        ),
        ([f"{T}ERROR: Warning is fatal"], "ERROR: Warning is fatal"),
    ],
)
def test_what_dagman_complained_of(tmp_path: Path, lines: list[str], said: str) -> None:
    assert complaints(tmp_path) == ""

    (tmp_path / "workflow.dag.dagman.out").write_text("\n".join(lines))

    assert complaints(tmp_path) == said


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    text = (
        f"{T}ERROR: long ago\n" + f"{T}busy\n" * 10_000 + "".join(f"{T}ERROR: {number:0200}\n" for number in range(9))
    )
    (tmp_path / "workflow.dag.dagman.out").write_text(text)

    assert complaints(tmp_path).startswith("ERROR: 000")
    assert len(complaints(tmp_path)) == 1000
