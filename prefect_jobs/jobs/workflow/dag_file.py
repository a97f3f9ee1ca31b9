"""The argument ``dag_file``: an existing DAG file becomes the nodes of a workflow, and is sent as it is."""

import os
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect_jobs import graph, statuses
from prefect_jobs.errors import SubmissionError
from prefect_jobs.jobs.condor import submit_commands
from prefect_jobs.jobs.workflow import node_states
from prefect_jobs.jobs.workflow.node_handle import OPTIONS, NodeHandle
from prefect_jobs.records import JobRecord, NodeRecord
from prefect_jobs.schedulers.condor.dag import existing, existing_files, reports
from prefect_jobs.schedulers.condor.dag.existing_files import Sent
from prefect_jobs.schedulers.condor.dag.existing_model import ExistingDag
from prefect_jobs.schedulers.condor.dag.file import STATUS_NAME
from prefect_jobs.schedulers.condor.dag.model import SUBDAG, DagError
from prefect_jobs.schedulers.condor.submit.input_files import items

#: The keyword argument, and the key in a spec.
OPTION = "dag_file"
#: Other files to send.
MORE = "remote_input_files"
#: Key in a workflow's spec: where things are in its directory.
PLACES = "dag"
#: Key in a node's spec: the node that is the inner DAG of which it is a node.
OWNER = "inner_of"
#: Key in a node's spec: it is of no file; it was seen while the DAG ran.
SEEN = "seen"
#: Longest name of a node that can be stored.
LONGEST = 255


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored of the arguments of ``create_job``, nodes included.

    Raises:
        DagError: the file cannot be read, DAGMan would refuse it, or a file that it needs is not there.
    """
    if not given.get(OPTION):
        if given.get(MORE):
            raise DagError(f"{MORE} of a workflow belongs to dag_file; nodes have their own.")
        return {OPTION: "", MORE: []}
    if given.get("nodes"):
        raise DagError("A workflow has nodes or a dag_file, not both.")
    places = portable(given)
    dag = existing.read(Path(places[OPTION]))
    sent = existing_files.files_of(dag, places[MORE])
    return {OPTION: places[OPTION], MORE: places[MORE], PLACES: _places(dag, sent), "nodes": specs_of(dag)}


def portable(given: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments with absolute paths: other files are meant from the folder of the DAG file.

    Raises:
        DagError: as :func:`path_of`.
    """
    if not given.get(OPTION):
        return dict(given)
    path = path_of(given[OPTION])
    more = [os.path.abspath(os.path.expanduser(path.parent / each)) for each in items(given.get(MORE))]  # noqa: PTH100, PTH111
    return {**given, OPTION: str(path), MORE: more}


def path_of(given: str | os.PathLike[str]) -> Path:
    """The absolute path of a DAG file.

    Raises:
        DagError: not a path, or there is no such file.
    """
    if not isinstance(given, str | os.PathLike) or not os.fspath(given) or os.fspath(given) == "-":
        raise DagError(f"dag_file is the path of a DAG file, not {given!r}.")
    path = Path(os.path.abspath(os.path.expanduser(given)))  # noqa: PTH100, PTH111 (links stay; no error for ~x)
    if not path.is_file():
        raise DagError(f"The DAG file {str(path)!r} {'is a directory' if path.is_dir() else 'does not exist'}.")
    return path


def _places(dag: ExistingDag, sent: Sent) -> dict[str, str]:
    status = os.path.normpath(os.path.join(sent.folder, dag.status_file)) if dag.status_file else STATUS_NAME  # noqa: PTH118
    return {"folder": sent.folder, "status": status}


def is_existing(record: JobRecord) -> bool:
    """Whether the DAG of a workflow is an existing one."""
    return bool(record.spec.get(OPTION)) or record.noted.foreign


def places_of(spec: Mapping[str, Any]) -> dict[str, str]:
    """Where things are in the job directory: the ``folder`` of the DAG, and the node ``status`` file."""
    return {"folder": ".", "status": STATUS_NAME, **(spec.get(PLACES) or {})}


def specs_of(dag: ExistingDag) -> list[dict[str, Any]]:
    """The nodes of a DAG as specs with their names, each after its parents where possible."""
    found: list[dict[str, Any]] = []
    for node in dag.nodes.values():
        if len(node.name) > LONGEST:
            raise node.line.error(f"the name {node.name[:50]!r}… is longer than {LONGEST} characters.")
        spec: dict[str, Any] = {
            "name": node.name,
            "kind": node.kind,
            "parents": list(node.parents),
            **{name: node.options[name] for name in node.options if node.options[name] is not None},
        }
        for kind in ("PRE", "POST"):
            if kind in node.scripts:
                spec[f"{kind.lower()}_script"] = str(node.folder / node.scripts[kind])
        if node.kind == SUBDAG:
            spec[OPTION] = str(node.folder / node.names)
        if node.dag:
            spec[OWNER] = node.dag
            if not node.parents:  # it can start when the DAG starts that it is in
                spec["parents"] = list(dag.nodes[node.dag].parents)
        found.append(spec)
    order = {
        name: number for number, name in enumerate(graph.in_order({each["name"]: each["parents"] for each in found}))
    }
    return sorted(found, key=lambda each: order[each["name"]])


def handles_of(specs: Sequence[Mapping[str, Any]]) -> list[NodeHandle]:
    """The nodes for :func:`specs_of`."""
    found: list[NodeHandle] = []
    plain = submit_commands.check({})
    for given in specs:
        # Each has lists and dicts of its own.
        spec = {**{name: copy(value) for name, value in plain.items()}, **OPTIONS, OPTION: None, **given}
        name = spec.pop("name")
        found.append(NodeHandle(NodeRecord(name), spec))
    return found


def read_again(spec: Mapping[str, Any], nodes: Sequence[NodeHandle]) -> tuple[ExistingDag, Sent]:
    """The DAG and its files as they are now.

    Raises:
        SubmissionError: its nodes are no longer those of the workflow.
        DagError: as :func:`checked`.
    """
    dag = existing.read(path_of(spec[OPTION]))
    now = {each["name"]: each["parents"] for each in specs_of(dag)}
    known = {node.name: node.parents for node in nodes if not node.spec.get(SEEN)}
    seen = {node.name for node in nodes if node.spec.get(SEEN)}
    if {name: above for name, above in now.items() if name not in seen} != known:
        raise SubmissionError(
            f"The DAG file {spec[OPTION]!r} has other nodes or dependencies than when the job was created. "
            "Create a new job for it."
        )
    return dag, existing_files.files_of(dag, spec.get(MORE) or ())


def done_before(nodes: Sequence[NodeHandle], states: Mapping[str, NodeRecord], folder: Path) -> list[str]:
    """The nodes that are done: those of the rescue DAG, or else those that are known to be done; those of inner DAGs
    by their own rescue DAGs.

    Args:
        nodes: of the workflow.
        states: their last states.
        folder: the folder of the DAG in the job directory.
    """
    rescued = reports.read_rescue(folder)
    over = set(rescued or ())
    if rescued is None:
        over = {name for name, state in states.items() if state.status == statuses.COMPLETE}
    found: list[str] = []
    for node in nodes:
        if node.kind not in node_states.WORK:
            continue
        owner = node.spec.get(OWNER)
        state = states.get(node.name, node.record)
        inside = owner is not None and (owner in over or state.status == statuses.COMPLETE)
        if inside or (owner is None and node.name in over):
            found.append(node.name)
    return found


def finish_inner(spec: Mapping[str, Any], nodes: Sequence[NodeRecord], directory: Path) -> list[NodeRecord]:
    """The nodes of inner DAGs at the end, of which the report of DAGMan says nothing: done with their DAG, or as the
    log and the rescue DAG of its own DAGMan say.

    Args:
        spec: of the workflow.
        nodes: at the end.
        directory: of the job.
    """
    if not any(OWNER in node.spec for node in nodes):
        return list(nodes)
    home = Path(spec[OPTION]).parent
    base = home.parents[len(Path(places_of(spec)["folder"]).parts) - 1] if places_of(spec)["folder"] != "." else home
    found: dict[str, NodeRecord] = {}
    said: dict[str, tuple[set[str], dict[str, str]]] = {}
    for node in sorted(nodes, key=lambda each: each.name.count("+")):
        owner = found.get(str(node.spec.get(OWNER)))
        if owner is not None and owner.name not in said and not owner.spec.get(OPTION):
            said[owner.name] = (set(), {})
        if owner is not None and owner.name not in said:
            file = directory / os.path.relpath(owner.spec[OPTION], base)
            done = reports.read_rescue(file.parent, file.name) or ()
            said[owner.name] = (set(done), reports.failures(file.with_name(f"{file.name}.dagman.out")))
        found[node.name] = node if owner is None else _with_owner(node, owner, *said[owner.name])
    return [found[node.name] for node in nodes]


def finish_foreign(nodes: Sequence[NodeRecord], *, well: bool) -> list[NodeRecord]:
    """The nodes at the end of a DAG that was submitted without us, of which there is no report: after a good end, those
    are done that could begin and have not failed."""
    found = {node.name: node for node in nodes}
    for name in graph.in_order({node.name: node.spec.get("parents", ()) for node in nodes}):
        node = found[name]
        before = [found[each] for each in node.spec.get("parents", ()) if each in found]
        begun = node_states.procs_of(node) or all(each.status == statuses.COMPLETE for each in before)
        if well and begun and node.status not in (statuses.COMPLETE, statuses.ERROR):
            message = node.message if node_states.procs_of(node) else "Done without a job."
            found[name] = replace(node, status=statuses.COMPLETE, message=message)
    return list(found.values())


def _with_owner(node: NodeRecord, owner: NodeRecord, done: set[str], failed: Mapping[str, str]) -> NodeRecord:
    name = node.name.removeprefix(f"{owner.name}+")
    message = node.message.replace(" Its post script is run.", "")
    if name in failed and owner.status != statuses.COMPLETE:
        is_said = node.status == statuses.ERROR and message
        return replace(node, status=statuses.ERROR, message=message if is_said else f"{failed[name].rstrip('.')}.")
    if node.status in (statuses.COMPLETE, statuses.ERROR):
        return node
    if name in done or owner.status == statuses.COMPLETE:
        ran = node_states.procs_of(node)
        return replace(node, status=statuses.COMPLETE, message=message if ran else "Done with its DAG.")
    return node
