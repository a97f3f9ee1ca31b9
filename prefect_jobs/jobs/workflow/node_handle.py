"""A node of a workflow as this process knows it: its spec, the stored spec, and what was observed."""

import copy
from collections.abc import Mapping
from typing import Any

from prefect_jobs.jobs.condor import local_files
from prefect_jobs.jobs.condor.local_files import Places
from prefect_jobs.records import NodeRecord
from prefect_jobs.schedulers.condor.dag import model
from prefect_jobs.schedulers.condor.dag.model import DagNode

#: The fields of a node besides its submit commands, with their defaults.
OPTIONS: dict[str, Any] = {
    "pre_script": None,
    "pre_script_args": None,
    "post_script": None,
    "post_script_args": None,
    "variables": {},
    "priority": None,
    "category": None,
    "retry": None,
    "retry_unless_exit_value": None,
    "pre_skip": None,
    "abort_dag_on": None,
    "abort_dag_on_return_value": None,
    "dir": None,
    "noop": False,
    "done": False,
}


class NodeHandle:
    """One node."""

    def __init__(self, record: NodeRecord, spec: Mapping[str, Any]) -> None:
        """
        Args:
            record: as stored or as first observed.
            spec: the present spec.
        """
        self.record = record
        self.spec = dict(spec)
        self._stored: dict[str, Any] = {}

    @classmethod
    def of(cls, record: NodeRecord) -> "NodeHandle":
        """A stored node."""
        found = cls(record, {})
        found.take(record)
        return found

    @property
    def name(self) -> str:
        """The node's name."""
        return self.record.name

    @property
    def kind(self) -> str:
        """``JOB``, ``FINAL``, ``SERVICE``, ``SUBDAG`` or ``SPLICE``."""
        return str(self.spec["kind"])

    @property
    def parents(self) -> list[str]:
        """The names of the nodes that must be done before this one starts."""
        found: list[str] = self.spec["parents"]
        return found

    @property
    def folder(self) -> str:
        """The node's directory, in the workflow's."""
        return str(self.spec.get("dir") or self.name)

    @property
    def num_jobs(self) -> int:
        """The number of procs."""
        return int(self.spec["num_jobs"])

    @property
    def done(self) -> bool:
        """Whether it is done from the start."""
        return bool(self.spec["done"])

    @property
    def touched(self) -> bool:
        """Whether the spec was changed and not stored."""
        return self.spec != self._stored

    def take(self, record: NodeRecord) -> None:
        """Replaces the record by ``record``."""
        self.record = record
        self.spec = {**copy.deepcopy(OPTIONS), "dag_file": None, **copy.deepcopy(record.spec)}
        self.saved()

    def saved(self) -> None:
        """Notes that the present spec is stored."""
        self._stored = copy.deepcopy(self.spec)

    def settle(self, places: Places) -> None:
        """Makes relative paths absolute, before they are stored."""
        local_files.settle(self.spec, self._stored, places)

    def dag_node(self) -> DagNode:
        """The node for a DAG file."""
        return DagNode(self.name, **{key: value for key, value in self.spec.items() if key != "condorpy_template_name"})

    def check(self) -> None:
        """
        Raises:
            ValueError: a field has a bad value.
        """
        model.check_node(self.dag_node())
