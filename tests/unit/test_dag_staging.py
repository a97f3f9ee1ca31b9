"""The folder that is sent to the access point: what is in it, and what the submit files say."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from prefect_jobs.schedulers.condor.dag.model import DagNode
from prefect_jobs.schedulers.condor.dag.staging import DagRequest, stage
from prefect_jobs.schedulers.condor.submit.input_files import DescriptionError


class Site:
    """A workflow's directory, ``job``, in a workspace, and the folder that is staged."""

    def __init__(self, folder: Path) -> None:
        self.workspace = folder / "work space"
        self.directory = self.workspace / "job"
        self.directory.mkdir(parents=True)
        self.stage = folder / "stage"

    def files(self, *names: str) -> None:
        for name in names:
            path = self.workspace / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)

    def send(self, *nodes: DagNode, done: Sequence[str] | None = None) -> None:
        self.stage.mkdir()
        stage(DagRequest(nodes, {}, self.directory, [self.workspace], self.stage, done))

    def commands(self, name: str, folder: str | None = None) -> dict[str, str]:
        """The commands of a node's submit file."""
        text = (self.stage / "dag" / (folder or name) / f"{name}.sub").read_text()
        return dict(line.split(" = ", 1) for line in text.splitlines()[:-1])

    def inputs(self, name: str, folder: str | None = None) -> list[str]:
        return self.commands(name, folder).get("transfer_input_files", "").split(", ")

    def read(self, name: str, path: str) -> str:
        """What is at a path, from a node's directory."""
        return (self.stage / "dag" / name / path).read_text()

    def staged(self, below: str = "") -> set[str]:
        """The files below a folder; links to directories are none, since HTCondor sends none."""
        found: set[str] = set()
        for folder, folders, names in os.walk(self.stage / below):
            assert not any((Path(folder) / name).is_symlink() for name in folders)
            found |= {str((Path(folder) / name).relative_to(self.stage / below)) for name in names}
        return found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def job(name: str, *inputs: str, parents: str = "", files: Sequence[Path] = (), **more: Any) -> DagNode:
    """A node that reads files."""
    attributes = {"executable": "/bin/sh", "transfer_executable": False, **more.pop("attributes", {})}
    if inputs:
        attributes["transfer_input_files"] = list(inputs)
    names = [str(path) for path in files]
    return DagNode(name, attributes=attributes, parents=parents.split(), remote_input_files=names, **more)


# -- local files -------------------------------------------------------------------------------------------


def test_a_file_is_staged_once_however_many_nodes_read_it(site: Site) -> None:
    site.files("big.dat")

    site.send(*(job(f"n{number}", "big.dat") for number in range(100)))

    assert site.staged("inputs") == {"0/big.dat"}
    assert {*site.inputs("n0"), *site.inputs("n99")} == {"../../inputs/0/big.dat"}
    assert (site.stage / "inputs/0/big.dat").is_symlink()
    assert site.read("n99", "../../inputs/0/big.dat") == "big.dat"


def test_files_of_one_name_from_two_folders_are_kept_apart(site: Site) -> None:
    site.files("one/x.txt", "two/x.txt")

    site.send(job("A", "one/x.txt"), job("B", "two/x.txt"))

    assert [site.read(name, site.inputs(name)[0]) for name in "AB"] == ["one/x.txt", "two/x.txt"]


@pytest.mark.parametrize("name", ["ä ß/ü.txt", "a$(b)c/d$e.txt", "with, comma/x.txt"])
def test_odd_paths(site: Site, name: str) -> None:
    site.files(name)

    site.send(job("A", files=[site.workspace / name]))

    path = site.inputs("A")[0].replace("$(DOLLAR)", "$")
    assert site.read("A", path) == name
    assert "$" not in site.inputs("A")[0].replace("$(DOLLAR)", "")


@pytest.mark.parametrize("name", ["a b.txt", "a,b.txt", "a b/"])
def test_names_that_htcondor_splits_are_refused(site: Site, name: str) -> None:
    site.files(f"{name}x" if name.endswith("/") else name)

    with pytest.raises(DescriptionError, match=r"The node 'A': The input file 'a[ ,]b.*' has a space or a comma"):
        site.send(job("A", attributes={"transfer_input_files": [name]}))


@pytest.mark.parametrize("given", ["in.$(Process).txt", "sets/$(ProcId)/in.txt", "$(which).$(Process).txt"])
def test_each_process_may_have_a_file_of_its_own(site: Site, given: str) -> None:
    # given
    names = [f"in.{n}.txt" for n in range(3)] + [f"sets/{n}/in.txt" for n in range(3)]
    site.files(*names)

    # when
    site.send(job("A", given, num_jobs=3, variables={"which": "in"}))

    # then
    path = site.inputs("A")[0]
    for number in range(3):
        name = path.replace("$(Process)", str(number)).replace("$(ProcId)", str(number))
        assert site.read("A", name) in names
    assert len(site.staged("inputs")) == 3


def test_a_space_between_the_parts_that_processes_have_is_refused(site: Site) -> None:
    site.files("p0/a b/x.txt", "p1/a b/x.txt")

    with pytest.raises(DescriptionError, match="has a space or a comma"):
        site.send(job("A", "p$(Process)/a b/x.txt", num_jobs=2))


def test_directories_are_directories_of_links(site: Site) -> None:
    # given: links to directories in it, one to a directory elsewhere
    site.files("data/a.txt", "data/deep/b.txt", "elsewhere/c.txt", "elsewhere/more/d.txt")
    (site.workspace / "data/empty").mkdir()
    (site.workspace / "data/link").symlink_to("../elsewhere")
    (site.workspace / "data/file").symlink_to("a.txt")
    (site.workspace / "data/dead").symlink_to("nowhere")

    # when
    site.send(job("A", "data"), job("B", "data/"))

    # then
    assert site.inputs("A") == ["../../inputs/0/data"]
    assert site.inputs("B") == ["../../inputs/0/data/"]
    names = {"a.txt", "deep/b.txt", "link/c.txt", "link/more/d.txt", "file"}
    assert site.staged("inputs") == {f"0/data/{name}" for name in names}
    assert (site.stage / "inputs/0/data/empty").is_dir()


@pytest.mark.timeout(20)
def test_links_that_lead_round_in_circles_end(site: Site) -> None:
    # given: up, to itself, and six folders that all lead to each other
    site.files("data/a.txt", *(f"net/{n}/{n}.txt" for n in range(6)))
    (site.workspace / "data/up").symlink_to("../data")
    (site.workspace / "data/self").symlink_to("self")
    for n in range(6):
        for other in range(6):
            (site.workspace / f"net/{n}/to{other}").symlink_to(f"../{other}")

    # when
    site.send(job("A", "data", "net"))

    # then
    assert {name for name in site.staged("inputs") if "data" in name} == {"0/data/a.txt"}
    assert {"0/net/0/0.txt", "0/net/0/to5/5.txt"} <= site.staged("inputs")


# -- what is missing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (job("A", "gone.txt"), "The node 'A': The file 'gone.txt' .*does not exist"),
        (job("A", files=[Path("gone.txt")]), r"The node 'A': .*'gone.txt' \(remote_input_files\) does not exist"),
        (job("A", "in.$(Process)", num_jobs=2), "'in.1'.*does not exist"),
        (DagNode("A", attributes={"executable": "gone.sh"}), "The node 'A': .*'gone.sh'.*does not exist"),
        (DagNode("A", attributes={"executable": "dir"}), "The node 'A': The executable 'dir' is a directory"),
        (DagNode("A"), "The node 'A' has no executable"),
        (DagNode("A", attributes={"executable": "in.0", "argument": 1}), "The node 'A': .*arguments"),
        (job("A", pre_script="gone.sh"), "PRE script of the node 'A', 'gone.sh', does not exist"),
        (job("A", post_script="dir"), "POST script of the node 'A', 'dir', does not exist"),
        (job("A", post_script="s p.sh"), "POST script of the node 'A', 's p.sh', has a space"),
        (job("A", "/gone.txt", pre_script="in.0"), "'/gone.txt'.*does not exist"),
        (DagNode("S", "SUBDAG", dag_file="gone.dag"), "dag_file 'gone.dag' of the node 'S' does not exist"),
        (DagNode("S", "SPLICE", dag_file="in.0", remote_input_files=["gone"]), "'gone' of the node 'S' does not exist"),
        (job("A", "one/x.txt", "two/x.txt"), "The node 'A': .*same name"),
    ],
)
def test_what_is_missing_is_named_with_its_node(site: Site, node: DagNode, text: str) -> None:
    site.files("in.0", "dir/x", "s p.sh", "one/x.txt", "two/x.txt")

    with pytest.raises(DescriptionError, match=text):
        site.send(node)


# -- what other nodes write --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("../A/out.txt", "../A/out.txt"),
        ("A/out.txt", "../A/out.txt"),
        ("./A/../A/out.txt", "../A/out.txt"),
        ("../A", "../A"),
        ("../A/", "../A/"),
        ("../A/out.$(Process)", "../A/out.$(Process)"),
        ("../$(from)/out.txt", "../A/out.txt"),
        ("x/y/z.txt", "../x/y/z.txt"),
    ],
)
def test_what_an_ancestor_writes_is_left_to_be_there(site: Site, given: str, written: str) -> None:
    nodes = [job("A"), job("X", dir="x/y"), job("B", parents="A X")]

    site.send(*nodes, job("C", given, parents="B", variables={"from": "A"}))

    assert site.inputs("C") == [written]
    assert site.staged("inputs") == set()


def test_it_is_relative_to_a_nested_directory(site: Site) -> None:
    site.files("x.txt", "s.sh")

    site.send(job("A"), job("B", "A/out.txt", "x.txt", parents="A", dir="b/c", pre_script="s.sh"))

    assert site.inputs("B", "b/c") == ["../../A/out.txt", "../../../inputs/0/x.txt"]
    assert site.read("b/c", "../../../inputs/0/x.txt") == "x.txt"
    assert "SCRIPT PRE B ../../../inputs/1/s.sh" in (site.stage / "dag/workflow.dag").read_text()


@pytest.mark.parametrize("given", ["../A/out.txt", "A/out.txt", "../A"])
def test_what_a_node_writes_that_is_no_ancestor_is_refused(site: Site, given: str) -> None:
    with pytest.raises(DescriptionError, match=r"^The node 'B' reads .*, which the node 'A' writes.*add_parent\(\)"):
        site.send(job("A"), job("B", given))


def test_the_final_node_may_read_what_any_node_writes(site: Site) -> None:
    site.send(job("A"), job("F", "../A/out.txt", kind="FINAL"))

    assert site.inputs("F") == ["../A/out.txt"]


def test_outputs_of_one_name_of_two_nodes_are_refused(site: Site) -> None:
    with pytest.raises(DescriptionError, match=r"The node 'C': .*'\.\./A/out' and '\.\./B/out' have the same name"):
        site.send(job("A"), job("B"), job("C", "../A/out", "../B/out", parents="A B"))


def test_standard_input_and_executable_may_be_what_an_ancestor_writes(site: Site) -> None:
    node = DagNode("B", parents=["A"], attributes={"executable": "../A/prog", "input": "../A/in"})

    site.send(job("A"), node)

    assert (site.commands("B")["executable"], site.commands("B")["input"]) == ("../A/prog", "../A/in")


@pytest.mark.parametrize("here", [False, True])
def test_a_file_that_a_script_or_a_node_makes_in_the_nodes_directory(site: Site, here: bool) -> None:
    """Where it is here from an earlier run, it is sent to where it is made anew."""
    # given
    site.files("s.sh", *(("job/B/made.txt", "job/d/made.txt") if here else ()))

    # when
    site.send(
        job("B", "made.txt", pre_script="s.sh"),
        job("C", dir="d"),
        job("D", "made.txt", dir="d", parents="C"),
        job("F", "made.txt", dir="d", kind="FINAL"),
    )

    # then
    assert [site.inputs("B"), site.inputs("D", "d"), site.inputs("F", "d")] == [["made.txt"]] * 3
    assert (site.stage / "dag/B/made.txt").exists() == here
    assert (site.stage / "dag/d/made.txt").exists() == here


@pytest.mark.parametrize("given", ["beside.txt", "$(what).txt", "in.$(Process).txt"])
def test_a_file_that_is_elsewhere_is_sent_though_there_is_a_script(site: Site, given: str) -> None:
    site.files("s.sh", "beside.txt", "in.0.txt")

    site.send(job("A", given, pre_script="s.sh", variables={"what": "beside"}))

    assert site.inputs("A")[0].startswith("../../inputs/")


# -- nodes of other kinds ----------------------------------------------------------------------------------


def test_without_file_transfer_a_node_works_in_its_own_directory(site: Site) -> None:
    attributes = {"should_transfer_files": "NO", "output": "sub/out.txt"}

    site.send(job("A", attributes=attributes, dir="x/y"))

    commands = site.commands("A", "x/y")
    assert commands["initialdir"] == str(site.directory / "x/y")
    assert "transfer_input_files" not in commands
    assert site.staged("inputs") == set()
    assert (site.directory / "x/y/sub").is_dir()


def test_scripts_are_copies_that_can_be_executed_also_of_nodes_that_run_nothing_else(site: Site) -> None:
    # given
    site.files("s.sh", "job/A/s.sh")

    # when: the node's own comes first; the same file as data is a link
    site.send(job("A", "../s.sh", pre_script="s.sh"), DagNode("B", noop=True, post_script="s.sh", post_script_args="1"))

    # then
    lines = [line.split() for line in (site.stage / "dag/workflow.dag").read_text().splitlines() if "SCRIPT" in line]
    assert [line[1:3] for line in lines] == [["PRE", "A"], ["POST", "B"]]
    for line, text in zip(lines, ("job/A/s.sh", "s.sh"), strict=True):
        path = site.stage / "dag" / line[2] / line[3]
        assert path.read_text() == text
        assert not path.is_symlink()
        assert os.access(path, os.X_OK)
    assert not (site.stage / "dag/B/B.sub").exists()


@pytest.mark.parametrize("name", ["check.sh", "../check.sh"])
def test_a_script_may_be_one_of_the_input_files_of_its_node(site: Site, name: str) -> None:
    site.files("in.0", "far/check.sh", "far/other.sh")
    site.send(job("A", pre_script=name, post_script="in.0", files=[Path("far/other.sh"), Path("far/check.sh")]))
    lines = [line.split() for line in (site.stage / "dag/workflow.dag").read_text().splitlines() if "SCRIPT" in line]
    assert [(site.stage / "dag" / line[2] / line[3]).read_text() for line in lines] == ["far/check.sh", "in.0"]


@pytest.mark.parametrize("kind", ["SUBDAG", "SPLICE"])
def test_a_dag_in_the_dag_comes_with_what_it_names(site: Site, kind: str) -> None:
    # given
    site.files("inner/a.sub", "more data/x y.txt", "set/1", "set/2")
    (site.workspace / "inner/in.dag").write_text("JOB A a.sub")

    # when
    site.send(DagNode("S", kind, dag_file="inner/in.dag", remote_input_files=["more data/x y.txt", "set/"]))

    # then
    assert site.staged("dag/S") == {"in.dag", "a.sub", "x y.txt", "set/1", "set/2"}


# -- going on ----------------------------------------------------------------------------------------------


def test_outputs_of_done_nodes_are_sent_where_a_later_node_may_need_them(site: Site) -> None:
    # given: A → B → C, with C still to be done; X → Y done on a branch of their own
    site.files("job/A/out.txt", "job/B/logs/B.out", "job/X/out.txt", "job/C/old.txt")
    (site.directory / "B/to").symlink_to(site.directory / "A")
    chain = [job("A"), job("B", parents="A"), job("C", parents="B"), job("X"), job("Y", parents="X")]

    # when
    site.send(*chain, done=["A", "B", "X", "Y", "GONE", "T+gone"])

    # then
    assert site.read("", "workflow.dag.rescue001") == "DONE A\nDONE B\nDONE X\nDONE Y\n"
    dags = {"workflow.dag", "workflow.dag.rescue001", *(f"{name}/{name}.sub" for name in "ABCXY")}
    assert site.staged("dag") == dags | {"A/out.txt", "B/logs/B.out", "B/to/out.txt"}


def test_the_final_node_gets_the_outputs_of_all(site: Site) -> None:
    site.files("job/A/out.txt")

    site.send(job("A"), job("F", "../A/out.txt", kind="FINAL"), done=["A"])

    assert site.read("A", "out.txt") == "job/A/out.txt"


def test_a_run_that_starts_over_sends_no_outputs_but_of_nodes_done_from_the_start(site: Site) -> None:
    site.files("job/A/out.txt", "job/B/out.txt", "job/S/x")
    (site.workspace / "in.dag").write_text("")

    inner = DagNode("S", "SUBDAG", dag_file="in.dag")
    site.send(job("A", done=True), job("B", "../A/out.txt", parents="A"), job("C", parents="B"), inner)

    assert not (site.stage / "dag/workflow.dag.rescue001").exists()
    assert site.staged("dag/A") == {"A.sub", "out.txt"}
    assert site.staged("dag/B") == {"B.sub"}
    assert site.staged("dag/S") == {"in.dag"}


def test_a_dag_in_the_dag_goes_on_without_what_says_that_it_runs(site: Site) -> None:
    # given
    site.files(*(f"job/S/in.dag{end}" for end in ("", ".rescue001", ".lock", ".nodes.log", ".condor.sub", ".metrics")))
    site.files("job/S/in.dag.dagman.out", "job/S/in.dag.dagman.log", "job/S/out/x.txt", "in.dag")

    # when
    site.send(DagNode("S", "SUBDAG", dag_file="in.dag"), done=[])

    # then
    assert site.staged("dag/S") == {"in.dag", "in.dag.rescue001", "out/x.txt"}


def test_names_in_a_splice_are_kept(site: Site) -> None:
    site.files("in.dag", "job/S/x.txt")

    site.send(job("A"), DagNode("S", "SPLICE", dag_file="in.dag", parents=["A"]), done=["A", "S+X", "S+T+Y"])

    assert site.read("", "workflow.dag.rescue001") == "DONE A\nDONE S+X\nDONE S+T+Y\n"
    assert site.staged("dag/S") == {"in.dag", "x.txt"}
