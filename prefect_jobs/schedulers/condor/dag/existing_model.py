"""An existing DAG file as it is known: its nodes, and what it asks of DAGMan. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect_jobs.schedulers.condor.dag.lines import Line
from prefect_jobs.schedulers.condor.dag.model import FINAL, JOB, PROVISIONER, SERVICE, SUBDAG

PROGRAMS = (JOB, FINAL, SERVICE, PROVISIONER)
#: A word that means all nodes.
ALL = "ALL_NODES"


@dataclass
class FileNode:
    """A node of a DAG file."""

    name: str
    kind: str
    line: Line
    #: The folder from which its paths are meant.
    folder: Path
    #: Its submit file, or the file of its DAG, as it is named.
    names: str = ""
    #: The submit description that stands in the DAG file.
    body: str | None = None
    parents: list[str] = field(default_factory=list)
    scripts: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    #: The DAG, of which it is a node: empty, or the name of the node that is that DAG.
    dag: str = ""

    @property
    def is_first(self) -> bool:
        """Whether nothing runs before it that could make its files."""
        return not self.parents and "PRE" not in self.scripts and not self.dag


@dataclass
class ExistingDag:
    """A DAG file, with all that it includes."""

    path: Path
    nodes: dict[str, FileNode] = field(default_factory=dict)
    #: DAGMan's configuration, from the file that CONFIG names.
    config: dict[str, str] = field(default_factory=dict)
    #: ENV SET: name → value.
    environment: dict[str, str] = field(default_factory=dict)
    #: ENV GET: names of variables of the one who submits.
    inherited: list[str] = field(default_factory=list)
    #: SET_JOB_ATTR: attribute of DAGMan's job → expression.
    attributes: dict[str, str] = field(default_factory=dict)
    #: The file that NODE_STATUS_FILE names.
    status_file: str = ""
    #: Other files that belong to it.
    files: list[Path] = field(default_factory=list)
    #: The number of DAG files that were read.
    read: int = 0


@dataclass
class Scope:
    """One DAG file while it is read."""

    dag: ExistingDag
    #: Reads a file.
    reading: Callable[[Path], str]
    folder: Path
    #: Before the names of its nodes.
    prefix: str
    depth: int
    #: The node that is this inner DAG.
    owner: str = ""
    #: The file is that of a splice, whose nodes run in the DAG around it.
    is_splice: bool = False
    own: dict[str, FileNode] = field(default_factory=dict)
    splices: dict[str, "Scope"] = field(default_factory=dict)
    described: dict[str, str] = field(default_factory=dict)
    pins: dict[tuple[str, int], list[str]] = field(default_factory=dict)
    #: All nodes, once they are declared.
    nodes: dict[str, FileNode] = field(default_factory=dict)

    def all(self) -> dict[str, FileNode]:
        """Its nodes, and those of its splices, by their whole names."""
        if self.nodes:
            return self.nodes
        found = {node.name: node for node in self.own.values()}
        for splice in self.splices.values():
            found.update(splice.all())
        return found

    def ends(self, name: str, *, first: bool) -> list[str]:
        """The nodes that a name means as a child (``first``) or a parent."""
        if name in self.own:
            return [self.own[name].name]
        nodes = {key: node for key, node in self.splices[name].all().items() if node.kind in (JOB, SUBDAG)}
        if first:
            return [key for key, node in nodes.items() if not any(parent in nodes for parent in node.parents)]
        above = {parent for node in nodes.values() for parent in node.parents}
        return [key for key in nodes if key not in above]
