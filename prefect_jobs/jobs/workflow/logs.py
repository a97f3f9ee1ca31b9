"""The logs of a workflow and of its nodes: where they are, and their texts."""

import logging
import re
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from prefect_jobs import statuses
from prefect_jobs.jobs.condor.logs import tail_line
from prefect_jobs.jobs.log_file import ForeignLog, LogFile
from prefect_jobs.jobs.workflow import node_states
from prefect_jobs.records import NodeRecord
from prefect_jobs.schedulers.condor import observation
from prefect_jobs.schedulers.condor.dag.file import DAG_NAME
from prefect_jobs.schedulers.condor.dag.model import JOB, PROGRAMS
from prefect_jobs.schedulers.condor.submit import outputs
from prefect_jobs.schedulers.condor.submit.description import default_logs, incoming

#: The workflow's entry in the result of :func:`files`. No node can have this name.
WORKFLOW = "the workflow"
#: Number of logs that are fetched while a workflow runs.
_MOST = 500
#: Number of nodes whose standard output and error are shown on the Logs tab.
_SHOWN = 10
#: Names of the logs of each node.
KINDS = ("log", "output", "error")
#: DAGMan's own files, by their names in the result.
_OWN = {
    "log": "workflow.log",
    "dagman": f"{DAG_NAME}.dagman.out",
    "output": "dagman.out",
    "error": "dagman.err",
}


def files(nodes: Iterable[NodeRecord], directory: Path) -> dict[str, Any]:
    """The workflow's logs, and each node's."""
    found: dict[str, Any] = {
        WORKFLOW: {name: LogFile(directory / file) for name, file in _OWN.items() if (directory / file).is_file()}
    }
    for node in nodes:
        found[node.name] = _files(node, directory)
    return found


def tails(nodes: Iterable[NodeRecord], directory: Path) -> list[tuple[int, str]]:
    """The ends of the logs of the first few nodes that failed, as lines with their level."""
    lines: list[tuple[int, str]] = []
    failed = [node for node in nodes if node.status == statuses.ERROR]
    for node in failed[:_SHOWN]:
        files = last(node, directory)
        for kind, level in (("output", logging.INFO), ("error", logging.WARNING)):
            text = "\n".join(filter(None, (outputs.tail(path) for path in files[kind][:_SHOWN])))
            if text:
                lines.append((level, tail_line(kind, f" of node {node.name}", text)))
    return lines


def foreign_files(nodes: Iterable[NodeRecord], *, here: bool) -> dict[str, dict[str, LogFile]]:
    """The logs of the nodes of a DAG that was submitted without us, in the folders of their owner.

    Args:
        nodes: of the DAG.
        here: whether the access point is this machine.
    """
    found: dict[str, dict[str, LogFile]] = {}
    for node in nodes:
        mine: dict[str, LogFile] = {}
        for run in node.native.get("runs", {}).values():
            said: dict[str, dict[str, str]] = run.get("logs", {})
            for number, paths in said.items():
                which = f" of process {number}" if len(said) > 1 else ""
                for kind in KINDS:
                    if kind in paths:
                        mine[f"{kind}{which}"] = ForeignLog(Path(paths[kind]), paths.get("owner", ""), here=here)
        found[node.name] = mine
    return found


def written(nodes: Iterable[NodeRecord]) -> list[str]:
    """The outputs and errors of procs that have ended, of nodes of an existing DAG; one for each name of a file, since
    HTCondor transfers them in one folder."""
    found: dict[str, str] = {}
    for node in nodes:
        over = {str(proc.proc) for proc in node_states.procs_of(node) if proc.state == observation.COMPLETED}
        for run in node.native.get("runs", {}).values():
            for number in over & set(run.get("logs", {})):
                paths = run["logs"][number]
                for kind in ("error", "output"):
                    if kind in paths:
                        found.setdefault(PurePosixPath(paths[kind]).name, paths[kind])
    return list(found.values())[:_MOST]


def sort_in(nodes: Collection[NodeRecord], directory: Path) -> None:
    """Moves logs that were fetched alone to the nodes' directories: HTCondor transfers them in one folder."""
    arrived = incoming(directory) / "0"
    for name in written(nodes):
        fetched = arrived / PurePosixPath(name).name
        if fetched.is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            fetched.replace(directory / name)
    owners = {str(cluster): node for node in nodes for cluster in _clusters(node)}
    for path in (arrived / "logs").glob("*"):
        owner = next((owners[part] for part in path.name.split(".") if part in owners), None)
        if owner is not None:
            target = directory / folder_of(owner) / "logs" / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
    for name in _OWN.values():
        if (arrived / name).is_file():
            (arrived / name).replace(directory / name)
    outputs.clear(directory)


def _files(node: NodeRecord, directory: Path) -> dict[str, LogFile]:
    """Name of the log → where it is. The plain name is the log of the last try, with all of its procs,
    empty if there is none yet; if there are several tries or procs, each also has its own."""
    found = {kind: LogFile(*paths) for kind, paths in last(node, directory).items()}
    clusters, numbers = _clusters(node), _proc_numbers(node)
    for number, cluster in enumerate(clusters, 1):
        for proc in numbers:
            for kind, path in _paths(node, directory, cluster, proc).items():
                name = kind + (f" of try {number}" if len(clusters) > 1 else "")
                name += f" of process {proc}" if len(numbers) > 1 else ""
                if path.is_file() and name != kind:
                    found[name] = LogFile(path)
    return dict(sorted(found.items()))


def last(node: NodeRecord, directory: Path) -> dict[str, list[Path]]:
    """Name of the log → the files of the last try."""
    found: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    clusters = _clusters(node)
    for proc in _proc_numbers(node) if clusters else ():
        for kind, path in _paths(node, directory, clusters[-1], proc).items():
            if path not in found[kind]:  # several procs may write one log
                found[kind].append(path)
    return found


def _paths(node: NodeRecord, directory: Path, cluster: int, proc: int) -> dict[str, Path]:
    """Name of the log → its file, for a proc of a try."""
    found: dict[str, Path] = {}
    for run in node.native.get("runs", {}).values():
        if "logs" in run:  # its ads said where it writes
            said = run["logs"].get(str(proc), {}) if cluster == run["clusters"][-1] else {}
            return {kind: directory / path for kind, path in said.items()}
    macros = {"cluster": cluster, "clusterid": cluster, "process": proc, "procid": proc}
    for kind, template in _templates(node).items():
        text = template
        for macro, value in macros.items():
            text = re.sub(rf"\$\({macro}\)", str(value), text, flags=re.IGNORECASE)
        found[kind] = directory / folder_of(node) / text
    return found


def _proc_numbers(node: NodeRecord) -> range:
    return range(max((proc.proc for proc in node_states.procs_of(node)), default=0) + 1)


def _templates(node: NodeRecord) -> dict[str, str]:
    """The paths of the node's logs in its directory, as in its submit file."""
    if node.spec.get("kind", JOB) not in PROGRAMS:
        return {}
    given = {str(key).lower(): str(value) for key, value in (node.spec.get("attributes") or {}).items()}
    same = {"output": "stdout", "error": "stderr", "log": "log"}
    return {name: given.get(name) or given.get(same[name]) or path for name, path in default_logs(node.name).items()}


def folder_of(node: NodeRecord) -> str:
    """The node's directory, in the workflow's."""
    return str(node.spec.get("dir") or node.name)


def _clusters(node: NodeRecord) -> list[int]:
    return sorted({cluster for run in node.native.get("runs", {}).values() for cluster in run["clusters"]})
