"""Existing DAG files: what they say, what is refused with file and line, and which files belong to them."""

import os
from pathlib import Path

import pytest

from prefect_jobs.errors import SubmissionError
from prefect_jobs.jobs.workflow import dag_file
from prefect_jobs.jobs.workflow.job import CondorWorkflow
from prefect_jobs.schedulers.condor.dag import existing, existing_files
from prefect_jobs.schedulers.condor.dag.model import DagError

SUB = "executable = run.sh\nqueue\n"


def made(folder: Path, text: str, **beside: str) -> Path:
    """A DAG file, and files beside it (``__`` for a slash and ``_sub`` for an ending)."""
    for name, content in {"a.sub": SUB, "run.sh": "", "d.dag": text, **beside}.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder / "d.dag"


def parents(path: Path) -> dict[str, list[str]]:
    return {spec["name"]: spec["parents"] for spec in dag_file.specs_of(existing.read(path))}


def sent(path: Path, *more: str) -> set[str]:
    return set(existing_files.files_of(existing.read(path), more).files)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("JOB A a.sub\nJOB B a.sub\nPARENT A CHILD B\n", {"A": [], "B": ["A"]}),
        ("\ufeffJOB A a.sub\r\nJOB B a.sub\r\nPARENT A CHILD B\r\n", {"A": [], "B": ["A"]}),
        ("JOB A a.sub\nSPLICE S s\nPARENT A CHILD S\n", {"A": [], "S+X": ["A"], "S+Y": ["S+X"]}),
        ("JOB A a.sub\nSPLICE S s\nPARENT S CHILD A\n", {"S+X": [], "S+Y": ["S+X"], "A": ["S+Y"]}),
        ("SPLICE S s\nSPLICE T s\nPARENT S CHILD T\n", {"S+X": [], "S+Y": ["S+X"], "T+X": ["S+Y"], "T+Y": ["T+X"]}),
        ("JOB A a.sub\nSUBDAG EXTERNAL I s\nPARENT A CHILD I\n", {"A": [], "I": ["A"], "I+X": ["A"], "I+Y": ["I+X"]}),
        ("SUBDAG EXTERNAL I later\nJOB A a.sub\nPARENT A CHILD I\n", {"A": [], "I": ["A"]}),
        ("JOB A {\nPARENT A CHILD B\n}\nJOB B a.sub\n", {"A": [], "B": []}),
        ("JOB A @=end\n}\n@end\n", {"A": []}),
        ("JOB A a.sub\nJOB B a.sub\nPARENT A A CHILD B B\nPARENT A CHILD B\n", {"A": [], "B": ["A"]}),
        ("JOB A a.sub\nPROVISIONER P a.sub\nSERVICE W a.sub\nFINAL F a.sub\n", {"A": [], "P": [], "W": [], "F": []}),
    ],
)
def test_nodes_and_what_comes_before_them(tmp_path: Path, text: str, found: dict[str, list[str]]) -> None:
    path = made(tmp_path, text, s="JOB X a.sub\nJOB Y a.sub\nPARENT X CHILD Y\n")
    assert parents(path) == found


def test_what_is_said_of_nodes(tmp_path: Path) -> None:
    text = (
        "JOB A a.sub NOOP\nRETRY A 3 UNLESS-EXIT 2\nABORT-DAG-ON A 5 RETURN 0\nPRE_SKIP A 7\n"
        'VARS A x="1 2" +y="\\"q\\""\nSCRIPT DEFER 4 60 DEBUG said all PRE A run.sh $JOB\n'
        'CONFIG c\nENV SET A=1;B=2\nENV GET HOME, TERM PATH\nSET_JOB_ATTR My.Site = "north"\nNODE_STATUS_FILE st 9\n'
    )
    dag = existing.read(made(tmp_path, text, c="# no\nDAGMAN_MAX_JOBS_IDLE = 4\n"))
    node = dag.nodes["A"]
    assert node.options == {
        "noop": True, "retry": 3, "retry_unless_exit_value": 2, "abort_dag_on": 5, "abort_dag_on_return_value": 0,
        "pre_skip": 7,
    }  # fmt: skip
    assert node.variables == {"x": "1 2", "+y": '"q"'} and node.scripts == {"PRE": "run.sh"}
    assert dag.config == {"DAGMAN_MAX_JOBS_IDLE": "4"} and dag.environment == {"A": "1", "B": "2"}
    assert dag.inherited == ["HOME", "TERM"] and dag.attributes == {"Site": '"north"'} and dag.status_file == "st"


REFUSED = [
    ("", "has no nodes"),
    ("JOB A a.sub\nJOBB B a.sub\n", "line 2: DAGMan has no command 'JOBB'"),
    ("JOB A\n", "line 1: JOB takes a name and a submit file"),
    ("JOB A a.sub WHERE x\n", "line 1: 'WHERE' is not possible"),
    ("# x\n\nJOB A a.sub\nJOB A a.sub\n", "line 4: there is a node 'A' already, in line 3"),
    ("JOB A a.sub\nPARENT A CHILD B\n", "line 2: PARENT names 'B', which is not a node"),
    ("JOB A a.sub\nPARENT A\n", "line 2: it is PARENT, nodes, CHILD, nodes"),
    ("JOB A a.sub\nFINAL F a.sub\nPARENT A CHILD F\n", "line 3: 'F' is a FINAL node, which has no parents"),
    ("JOB A a.sub\nFINAL F a.sub\nFINAL G a.sub\n", "line 3: 'G' is a second FINAL node"),
    ("FINAL F a.sub\n", "it needs a node that does the work"),
    ("JOB A a.sub\nJOB B a.sub\nPARENT A CHILD B\nPARENT B CHILD A\n", "the nodes form a cycle: A → B → A"),
    ("JOB A a.sub\nPARENT A CHILD A\n", "form a cycle"),
    ("JOB A a.sub\nRETRY A many\n", "line 2: RETRY takes a node and a whole number, not 'many'"),
    ("JOB A a.sub\nRETRY A -1\n", "line 2: RETRY takes a number of times"),
    ("JOB A a.sub\nRETRY\n", "line 2: RETRY says nothing"),
    ("JOB A a.sub\nABORT-DAG-ON A 1 RETURN 300\n", "line 2: .*from 0 to 255"),
    ("JOB A a.sub\nSCRIPT BEFORE A run.sh\n", "line 2: it is SCRIPT, PRE, POST or HOLD"),
    ("JOB A a.sub\nSCRIPT PRE B run.sh\n", "line 2: SCRIPT names 'B'"),
    ("JOB A a.sub\nVARS A\n", "line 2: VARS takes"),
    ("JOB A {\nexecutable = x\n", "line 1: the submit description that begins here has no end"),
    ("JOB A+B a.sub\n", "line 1: 'A\\+B' cannot be the name"),
    ("JOB PARENT a.sub\n", "line 1: 'PARENT' is a reserved word"),
    ("JOB A a.sub\nREJECT\n", "line 2: REJECT"),
    ("DATA D x\n", "line 1: DATA nodes are not possible"),
    ("JOB A a.sub\nDONE A\n", "line 2: DONE is for rescue files"),
    ("INCLUDE none\n", "line 1: the included file 'none' does not exist"),
    ("INCLUDE d.dag\n", "line 1: 'd.dag' includes itself"),
    ("INCLUDE i\n", "/i, line 1: 'd.dag' includes itself"),
    ("SPLICE S none\n", "line 1: the DAG file 'none' of the splice 'S' does not exist"),
    ("SPLICE S d.dag\n", "line 1: the splice 'S' contains itself"),
    ("SPLICE S bad\n", "/bad, line 1: DAGMan has no command 'OOPS'"),
    ("SUBDAG I s\n", "line 1: it is SUBDAG EXTERNAL"),
    ("SUBDAG EXTERNAL I d.dag\n", "line 1: the DAG 'd.dag' contains itself"),
    ("JOB A a.sub\nCONNECT A B\n", "line 2: CONNECT takes two splices"),
    ("CONFIG none\nJOB A a.sub\n", "line 1: the configuration file 'none' does not exist"),
    ("ENV HAVE x\nJOB A a.sub\n", "line 1: ENV takes GET and names"),
    ("SET_JOB_ATTR x\nJOB A a.sub\n", "line 1: SET_JOB_ATTR takes"),
    ("SERVICE W a.sub DONE\nJOB A a.sub\n", "line 1: a SERVICE node cannot be DONE"),
    ("JOB A \0\n", "is no text"),
    ("JOB A a.sub\nABORT-DAG-ON A 1 RETURN 3\n", "line 2: ABORT-DAG-ON with 3 would start DAGMan again"),
    ("JOB A a.sub\nABORT-DAG-ON A 3\n", "line 2: ABORT-DAG-ON with 3"),
    ("JOB A a.sub\nRETRY A 3 UNLES-EXIT 2\n", "line 2: RETRY takes a node, a number, and UNLESS-EXIT"),
    ("JOB A a.sub\nVARS A x=1\n", 'line 2: VARS takes name="value", with quotes'),
    ("JOB A a.sub\nPRIORITY B 1\n", "line 2: PRIORITY names 'B'"),
    ("JOB A a.sub\nPRIORITY A high\n", "line 2: PRIORITY takes a node and a whole number"),
    ("JOB A a.sub\nCATEGORY A\n", "line 2: CATEGORY takes a node and a name"),
    ("JOB A a.sub\nFINAL F a.sub\nRETRY F 1\n", "line 3: 'F' is the FINAL node, which cannot have RETRY"),
    ("SPLICE S s\nRETRY S 1\n", "line 2: 'S' is a splice, which cannot have RETRY"),
    ("INCLUDE n\nSPLICE S s\n", "line 2: DAGMan does not find splices that are declared after an INCLUDE"),
    ("SPLICE S f\n", "/f, line 2: 'S\\+F': a splice cannot have a FINAL node"),
    ("NODE_STATUS_FILE /etc/x\nJOB A a.sub\n", "line 1: NODE_STATUS_FILE '/etc/x' leads out of the folder"),
    ("NODE_STATUS_FILE ../../x\nJOB A a.sub\n", "line 1: NODE_STATUS_FILE '../../x' leads out of the folder"),
    ("ENV GET PREFECT_API_KEY\nJOB A a.sub\n", "line 1: ENV GET PREFECT_API_KEY: what may be a secret"),
]


@pytest.mark.parametrize(("text", "said"), REFUSED)
def test_what_dagman_would_refuse_is_refused_with_file_and_line(tmp_path: Path, text: str, said: str) -> None:
    more = {"bad": "OOPS\n", "i": "INCLUDE d.dag\n", "n": "", "s": "JOB X a.sub\n"}
    path = made(tmp_path, text, **more, f="JOB X a.sub\nFINAL F a.sub\n")
    with pytest.raises(DagError, match=said):
        existing.read(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("JOB A none.sub\n", "line 1: the submit file 'none.sub' of the node 'A' does not exist"),
        ("JOB A a.sub\nSCRIPT PRE A none.sh\n", "line 1: the PRE script 'none.sh' of the node 'A' does not exist"),
        ("SUBDAG EXTERNAL I none.dag\n", "line 1: the DAG file 'none.dag' of the node 'I' does not exist"),
        ("JOB A {\nexecutable = none.sh\n}\n", "line 1: the file 'none.sh' of the node 'A' does not exist"),
        ("JOB A {\nexecutable = run.sh\ntransfer_input_files = a.sub, gone\n}\n", "the file 'gone' of the node 'A'"),
        ("JOB A ../../../../../x/far.sub\n", "more than 4 folders above"),
    ],
)
def test_a_file_that_nobody_makes_must_be_there(tmp_path: Path, text: str, said: str) -> None:
    home = tmp_path / "1/2/3/4/5"
    path = made(home, text)
    (tmp_path / "x").mkdir()
    (tmp_path / "x/far.sub").write_text("executable = /bin/true\nqueue\n")
    with pytest.raises(DagError, match=said):
        sent(path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("JOB A a.sub\n", {"a.sub", "run.sh"}),
        ("JOB B later.sub\nJOB A a.sub\nPARENT A CHILD B\n", {"a.sub", "run.sh"}),
        ("JOB B later.sub\nSCRIPT PRE B run.sh\n", {"run.sh"}),
        ("JOB A /some/where.sub\n", set()),
        ("JOB A a.sub DIR sub\n", {"sub/a.sub", "sub/run.sh"}),
        ("JOB A a.sub\nSCRIPT POST A sub/run.sh x\n", {"a.sub", "run.sh", "sub/run.sh"}),
        ('JOB A v.sub\nVARS A f="one"\n', {"v.sub", "run.sh", "one.txt"}),
        ("JOB A p.sub\n", {"p.sub", "run.sh", "one.txt", "two.txt"}),
        ("JOB A q.sub\n", {"q.sub", "run.sh", "list"}),
        ("JOB A m.sub\n", {"m.sub", "run.sh", "one.txt", "two.txt"}),
        ("JOB A i.sub\n", {"i.sub", "run.sh", "common"}),
        ("JOB A {\nexecutable = run.sh\ninitialdir = sub\ntransfer_input_files = x\n}\n", {"run.sh", "sub/x"}),
        ("JOB A {\nexecutable = none\ntransfer_executable = false\n}\n", set()),
        ("JOB A {\nexecutable = run.sh\ntransfer_input_files = sub, http://a/b, osdf:///c\n}\n", {"run.sh", "sub"}),
        ("JOB A a.sub\nJOB N none.sub NOOP\n", {"a.sub", "run.sh"}),
        ("CONFIG c\nJOB A a.sub\n", {"c", "a.sub", "run.sh"}),
    ],
)
def test_the_files_that_belong_to_it(tmp_path: Path, text: str, found: set[str]) -> None:
    more = {
        "sub__a.sub": SUB, "sub__run.sh": "", "sub__x": "", "one.txt": "", "two.txt": "", "list": "1\n", "common": "",
        "v.sub": "executable = run.sh\ntransfer_input_files = $(f).txt\nqueue\n",
        "p.sub": "executable = run.sh\ntransfer_input_files = $(Process).txt\nqueue 2\n",
        "q.sub": "executable = run.sh\nqueue x from list\n",
        "m.sub": "executable = run.sh\nqueue f matching *.txt\n",
        "i.sub": "include : common\nexecutable = run.sh\nqueue\n",
        "c": "A = 1\n",
    }  # fmt: skip
    assert sent(made(tmp_path, text, **more)) == found | {"d.dag"}


def test_files_above_the_folder_are_sent_with_their_folders(tmp_path: Path) -> None:
    path = made(tmp_path / "dags", "JOB A ../common/a.sub\n", **{"..__common__a.sub": "executable = ../bin/x\nqueue\n"})
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/x").write_text("")
    found = existing_files.files_of(existing.read(path))
    assert found.folder == "dags" and set(found.files) == {"dags/d.dag", "common/a.sub", "bin/x"}


def test_more_files_may_be_named(tmp_path: Path) -> None:
    path = made(tmp_path, "JOB A a.sub\n", data__x="")
    assert sent(path, "data") == {"d.dag", "a.sub", "run.sh", "data"}
    with pytest.raises(DagError, match="'none', of remote_input_files, does not exist"):
        sent(path, "none")


def test_what_is_sent(tmp_path: Path) -> None:
    # given
    path = made(tmp_path / "home", "JOB A a.sub\n", data__x="1", data__workflow__out="")
    (tmp_path / "earlier/data").mkdir(parents=True)
    (tmp_path / "earlier/data/made").write_text("made")
    (tmp_path / "earlier/a.sub").write_text("old")
    os.utime(tmp_path / "earlier/a.sub", (1, 1))
    (tmp_path / "earlier/workflow.dag.rescue001").write_text("DONE A\n")
    (tmp_path / "stage").mkdir()
    dag = existing.read(path)
    found = existing_files.files_of(dag, ["data"])
    # when
    existing_files.stage(dag, found, tmp_path / "stage", {"big": 2}, earlier=tmp_path / "earlier", done=["A"])
    # then
    root = tmp_path / "stage/dag"
    assert (root / "workflow.dag").read_text() == "JOB A a.sub\nMAXJOBS big 2\nNODE_STATUS_FILE workflow.status 30\n"
    assert path.read_text() == "JOB A a.sub\n"
    assert (root / "workflow.dag.rescue001").read_text() == "DONE A\n"
    assert (root / "a.sub").read_text() == SUB and (root / "data/made").read_text() == "made"


def test_outputs_of_an_earlier_run_win_over_older_files_beside_the_dag(tmp_path: Path) -> None:
    # given
    path = made(
        tmp_path / "home", "SUBDAG EXTERNAL I in.dag\n", **{"in.dag": "JOB A a.sub\n", "a.txt": "stale", "b.txt": "new"}
    )
    old, new = tmp_path / "earlier", tmp_path / "stage"
    old.mkdir()
    new.mkdir()
    for name in ("a.txt", "b.txt", "in.dag.rescue001", "in.dag.lock", "poetry.lock"):
        (old / name).write_text("earlier")
    os.utime(tmp_path / "home/a.txt", (1, 1))
    os.utime(old / "b.txt", (1, 1))
    dag = existing.read(path)
    # when
    existing_files.stage(dag, existing_files.files_of(dag, ["a.txt", "b.txt"]), new, {}, earlier=old, done=[])
    # then
    found = {each.name: each.read_text() for each in (new / "dag").iterdir()}
    assert (found["a.txt"], found["b.txt"], found["in.dag.rescue001"]) == ("earlier", "new", "earlier")
    assert "in.dag.lock" not in found and found["poetry.lock"] == "earlier"


def test_rescue_dags_of_inner_dags_count_only_where_the_dag_goes_on(tmp_path: Path) -> None:
    path = made(
        tmp_path / "home", "SUBDAG EXTERNAL I in.dag\n", **{"in.dag": "JOB A a.sub\n", "in.dag.rescue001": "DONE A\n"}
    )
    dag = existing.read(path)
    found = existing_files.files_of(dag)
    for number, rescues in enumerate((True, False)):
        (tmp_path / str(number)).mkdir()
        existing_files.stage(dag, found, tmp_path / str(number), {}, rescues=rescues)
        assert (tmp_path / str(number) / "dag/in.dag.rescue001").exists() is rescues


def test_bytes_that_are_no_text_stay(tmp_path: Path) -> None:
    path = made(tmp_path, "")
    path.write_bytes('JOB A a.sub\nVARS A x="Zürich"\n'.encode("latin-1"))
    (tmp_path / "stage").mkdir()
    dag = existing.read(path)
    existing_files.stage(dag, existing_files.files_of(dag), tmp_path / "stage", {})
    assert "Zürich".encode("latin-1") in (tmp_path / "stage/dag/workflow.dag").read_bytes()


def test_what_includes_too_much_is_refused(tmp_path: Path) -> None:
    names = [f"f{number}" for number in range(60)]
    path = made(tmp_path, "INCLUDE f0\n", **{name: f"INCLUDE f{number + 1}\n" for number, name in enumerate(names)})
    with pytest.raises(DagError, match="more than 50 files include each other"):
        existing.read(path)
    levels = {f"s{number}": f"SPLICE A s{number + 1}\nSPLICE B s{number + 1}\n" for number in range(16)}
    path = made(tmp_path, "SPLICE S s0\n", **levels, s16="JOB A a.sub\n")
    with pytest.raises(DagError, match="consists of more than 10,000 DAG files"):
        existing.read(path)


def test_nodes_that_were_seen_do_not_hinder_a_resubmission(tmp_path: Path) -> None:
    path = made(tmp_path, "JOB A a.sub\nSUBDAG EXTERNAL I later\nPARENT A CHILD I\n")
    checked = dag_file.checked({"dag_file": path})
    nodes = dag_file.handles_of([*checked["nodes"], {"name": "I+P", "kind": "JOB", "parents": [], dag_file.SEEN: True}])
    dag_file.read_again(checked, nodes)
    (tmp_path / "later").write_text("JOB P a.sub\n")
    dag_file.read_again(checked, nodes)
    path.write_text("JOB A a.sub\n")
    with pytest.raises(SubmissionError, match="other nodes or dependencies"):
        dag_file.read_again(checked, nodes)


def test_a_file_with_the_name_of_the_copy(tmp_path: Path) -> None:
    (tmp_path / "stage").mkdir()
    path = made(tmp_path, "SPLICE S workflow.dag\n", **{"workflow.dag": "JOB A a.sub\n"})
    dag = existing.read(path)
    with pytest.raises(DagError, match="cannot have this name"):
        existing_files.stage(dag, existing_files.files_of(dag), tmp_path / "stage", {})


def test_arguments_that_do_not_go_with_it(tmp_path: Path) -> None:
    path = made(tmp_path, "JOB A a.sub\n")
    for given, said in (
        ({"dag_file": path, "nodes": [{"name": "A"}]}, "not both"),
        ({"remote_input_files": ["x"]}, "belongs to dag_file"),
        ({"dag_file": tmp_path}, "is a directory"),
        ({"dag_file": tmp_path / "none"}, "does not exist"),
        ({"dag_file": "-"}, "the path of a DAG file"),
        ({"dag_file": 3}, "the path of a DAG file"),
    ):
        with pytest.raises(DagError, match=said):
            dag_file.checked(given)


def test_paths_are_meant_from_the_folder_of_the_file_wherever_the_job_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(tmp_path / "home", "JOB A a.sub\n", data="right")
    (tmp_path / "data").write_text("wrong")
    monkeypatch.chdir(tmp_path)
    found = CondorWorkflow.portable({"dag_file": "home/d.dag", "remote_input_files": ["data"]})
    assert (found["dag_file"], found["remote_input_files"]) == (str(path), [str(path.with_name("data"))])
