"""The nodes of a workflow as users create them. They become a DAG file when the workflow is submitted."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar, overload

from anyio.to_thread import run_sync

from prefect_jobs.jobs.condor import local_files, submit_commands
from prefect_jobs.jobs.condor.submit_commands import SubmitCommands
from prefect_jobs.jobs.workflow import node_states
from prefect_jobs.jobs.workflow.graph import WorkflowGraph
from prefect_jobs.jobs.workflow.node_handle import OPTIONS, NodeHandle
from prefect_jobs.records import NodeRecord
from prefect_jobs.schedulers.condor import observation
from prefect_jobs.schedulers.condor.dag import model
from prefect_jobs.schedulers.condor.dag.model import DagError

T = TypeVar("T")
_PATHS = ("pre_script", "post_script", "dir", "dag_file")


class HasNodes(Protocol):
    """A workflow, as its nodes use it."""

    @property
    def graph(self) -> WorkflowGraph:
        """Its nodes."""
        ...

    def object_of(self, node: NodeHandle) -> "CondorWorkflowNode":
        """The object for a node; the same one each time."""
        ...

    def remember(self, node: "CondorWorkflowNode") -> None:
        """Makes an object the only one for its node."""
        ...


class _Option(Generic[T]):
    """An attribute that is kept in the node's spec."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, node: None, owner: type) -> "_Option[T]": ...
    @overload
    def __get__(self, node: "CondorWorkflowNode", owner: type) -> T: ...
    def __get__(self, node: "CondorWorkflowNode | None", owner: type) -> "T | _Option[T]":
        if node is None:
            return self
        value: T = node.spec[self._name]
        return value

    def __set__(self, node: "CondorWorkflowNode", value: T) -> None:
        node.spec[self._name] = _stored(self._name, value)


class CondorWorkflowNode(SubmitCommands):
    """A node of a workflow. Create one of its subclasses below; ``save()`` adds it to the workflow.

    The fields are DAGMan's, with their usual names:

    - ``pre_script``, ``post_script``: a local program run at the access point, in the node's directory, before and
      after the node's job; ``…_args``: its arguments, a text or a list, in which ``$JOB``, ``$RETRY``, ``$RETURN``, …
      are DAGMan's. With a post script, its exit code is the node's outcome.
    - ``pre_skip``: the exit code of the pre script that means that the node is done and its job is skipped.
    - ``variables``: macros for the submit commands, ``$(name)``.
    - ``retry``: how often a failed node is tried again; never after the exit code ``retry_unless_exit_value``.
    - ``priority``: a higher one starts earlier. ``category``: the name for ``workflow.add_max_jobs_throttle``.
    - ``abort_dag_on``: the exit code that ends the whole workflow, with ``abort_dag_on_return_value`` (0: a
    success) or the node's own exit code.
    - ``dir``: the node's directory in the workflow's; the node's name if not given. Nodes may share one.
    - ``noop``: only the scripts are run, no job. ``done``: the node is done from the start.
    """

    kind: ClassVar[str] = model.JOB

    pre_script: _Option[str | None] = _Option()
    pre_script_args: _Option[Any] = _Option()
    post_script: _Option[str | None] = _Option()
    post_script_args: _Option[Any] = _Option()
    variables: _Option[dict[str, Any]] = _Option()
    priority: _Option[int | None] = _Option()
    category: _Option[str | None] = _Option()
    retry: _Option[int | None] = _Option()
    retry_unless_exit_value: _Option[int | None] = _Option()
    pre_skip: _Option[int | None] = _Option()
    abort_dag_on: _Option[int | None] = _Option()
    abort_dag_on_return_value: _Option[int | None] = _Option()
    dir: _Option[str | None] = _Option()
    noop: _Option[bool] = _Option()
    done: _Option[bool] = _Option()
    dag_file: _Option[str | None] = _Option()

    def __init__(self, name: str, workflow: HasNodes, **given: Any) -> None:
        """
        Args:
            name: letters, digits, ``_`` and ``-``; also the name in DAGMan and of the node's directory.
            workflow: the workflow that it belongs to.
            **given: the fields.

        Raises:
            ValueError: a bad name, or a bad value of a field.
            TypeError: an unknown field.
        """
        if type(self) is CondorWorkflowNode:
            raise TypeError("Create a CondorWorkflowJobNode, or another subclass of CondorWorkflowNode.")
        model.check_name(name)
        valid = (*submit_commands.DEFAULTS, *OPTIONS, "dag_file")
        unknown = sorted(set(given) - set(valid))
        if unknown:
            raise TypeError(
                f"A node takes no {', '.join(map(repr, unknown))}. Valid: {', '.join(valid)}; parents by add_parent()."
            )
        options = {**OPTIONS, "dag_file": None}
        spec = {
            "kind": self.kind,
            "parents": [],
            **submit_commands.check({key: given[key] for key in submit_commands.DEFAULTS if key in given}),
            **{key: _stored(key, given.get(key, default)) for key, default in options.items()},
        }
        self.bind(workflow, NodeHandle(NodeRecord(name), spec))
        self.handle.check()
        self.handle.settle(workflow.graph.places(self.handle))

    def bind(self, workflow: HasNodes, handle: NodeHandle) -> None:
        """Makes this the object for a node."""
        self._workflow = workflow
        #: The node's spec, stored and observed values; for code that extends this package.
        self.handle = handle

    @classmethod
    def of(cls, workflow: HasNodes, handle: NodeHandle) -> "CondorWorkflowNode":
        """The object for a node that is a part of a workflow."""
        node = cls.__new__(_CLASSES[handle.kind])
        node.bind(workflow, handle)
        return node

    @property
    def spec(self) -> dict[str, Any]:
        """The values of the fields."""
        return self.handle.spec

    @property
    def name(self) -> str:
        """The node's name."""
        return self.handle.name

    @property
    def workflow(self) -> Any:
        """The workflow that it belongs to."""
        return self._workflow

    @property
    def parents(self) -> list["CondorWorkflowNode"]:
        """The nodes that must be done before this one starts."""
        found = (self._workflow.graph.get(name) for name in self.handle.parents)
        return [self._workflow.object_of(node) for node in found if node is not None]

    def add_parent(self, parent: "CondorWorkflowNode") -> None:
        """Makes this node start only after another one is done.

        Raises:
            ValueError: the parent is of another workflow, not saved, a descendant of this node, or a FINAL or SERVICE
            node.
        """
        if not isinstance(parent, CondorWorkflowNode):
            raise DagError(f"The parent of the node {self.name!r} must be a node, not {parent!r}.")
        mine, theirs = self._workflow.graph, parent.workflow.graph
        if not mine.is_of(theirs):
            raise DagError(
                f"{parent.name!r} is a node of {theirs.title} and cannot be a parent of {self.name!r}, "
                f"which is one of {mine.title}."
            )
        if mine.get(parent.name) is None:
            raise DagError(f"The parent {parent.name!r} of the node {self.name!r} is not saved. Call save() first.")
        model.check_edge(parent.handle.dag_node(), self.handle.dag_node())
        mine.add_parent(self.handle, parent.handle)

    def save(self) -> None:
        """Adds the node to its workflow, and writes it if the workflow is saved; otherwise it is written with the
        workflow.

        Raises:
            ValueError: the workflow has a node of this name, or a field has a bad value.
            JobStateError: the workflow was deleted.
        """
        self.handle.check()
        self._workflow.graph.keep(self.handle)
        self._workflow.remember(self)

    async def asave(self) -> None:
        """As :meth:`save`."""
        await run_sync(self.save)

    def delete(self) -> None:
        """Removes the node from its workflow.

        Raises:
            ValueError: the node has children.
        """
        self._workflow.graph.remove(self.handle)

    async def adelete(self) -> None:
        """As :meth:`delete`."""
        await run_sync(self.delete)

    # -- as last seen -----------------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """The node's status, as the workflow object knows it."""
        return self._state().status

    @property
    def status_message(self) -> str:
        """The reason of the status, for people."""
        return self._state().message

    @property
    def tries(self) -> int:
        """The number of its submissions in the present run of the workflow."""
        return node_states.tries_of(self._state())

    @property
    def exit_codes(self) -> dict[int, int | None]:
        """The exit code of each proc that has ended, by proc number; ``None``: ended by a signal."""
        procs = node_states.procs_of(self._state())
        return {proc.proc: proc.exit_code for proc in procs if proc.state == observation.COMPLETED}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} of {self._workflow.graph.title}: {self.status}>"

    def _state(self) -> NodeRecord:
        return self._workflow.graph.states().get(self.name, self.handle.record)


class CondorWorkflowJobNode(CondorWorkflowNode):
    """A node that runs a job of ``num_jobs`` procs."""

    def __init__(
        self,
        name: str,
        workflow: HasNodes,
        attributes: Mapping[str, Any] | None = None,
        condorpy_template_name: str | None = None,
        remote_input_files: Sequence[str | os.PathLike[str]] = (),
        num_jobs: int = 1,
        **options: Any,
    ) -> None:
        """
        Args:
            name: see :class:`CondorWorkflowNode`, as for all fields that are not listed here.
            workflow: the workflow that it belongs to.
            attributes: submit commands. Relative paths are searched in the node's directory, the workflow's, the
            workspace and the working directory; ``../<other node>/<file>`` is a file that another node writes.
            condorpy_template_name: a template of submit commands, as for CONDOR jobs.
            remote_input_files: local files that the node needs.
            num_jobs: number of procs.
            **options: the other fields.
        """
        super().__init__(
            name,
            workflow,
            attributes=attributes or {},
            condorpy_template_name=condorpy_template_name,
            remote_input_files=remote_input_files,
            num_jobs=num_jobs,
            **options,
        )


class CondorWorkflowFinalNode(CondorWorkflowJobNode):
    """The node that runs after all others, even if they failed or were removed. A workflow has at most one."""

    kind: ClassVar[str] = model.FINAL


class CondorWorkflowServiceNode(CondorWorkflowJobNode):
    """A node that runs beside all others, to watch or serve them, and is ended with the workflow."""

    kind: ClassVar[str] = model.SERVICE


class CondorWorkflowSubdagNode(CondorWorkflowNode):
    """A node that is another DAG, with its own DAGMan.

    ``dag_file`` is a local DAG file. It is sent with the files that it names by relative paths, and with
    ``remote_input_files``.
    """

    kind: ClassVar[str] = model.SUBDAG

    def __init__(
        self,
        name: str,
        workflow: HasNodes,
        dag_file: str | os.PathLike[str],
        remote_input_files: Sequence[str | os.PathLike[str]] = (),
        **options: Any,
    ) -> None:
        """
        Args:
            name: see :class:`CondorWorkflowNode`, as for the options.
            workflow: the workflow that it belongs to.
            dag_file: a local DAG file.
            remote_input_files: local files that it needs besides those that it names.
            **options: the other fields.
        """
        super().__init__(name, workflow, dag_file=dag_file, remote_input_files=remote_input_files, **options)


class CondorWorkflowSpliceNode(CondorWorkflowSubdagNode):
    """A DAG that is inserted into this one: its nodes are named ``<this node>+<its node>``, one DAGMan runs all."""

    kind: ClassVar[str] = model.SPLICE


class CondorWorkflowProvisionerNode(CondorWorkflowJobNode):
    """The node of an existing DAG file that makes machines ready before others start."""

    kind: ClassVar[str] = model.PROVISIONER


_CLASSES: dict[str, type[CondorWorkflowNode]] = {
    cls.kind: cls
    for cls in (
        CondorWorkflowJobNode,
        CondorWorkflowFinalNode,
        CondorWorkflowServiceNode,
        CondorWorkflowProvisionerNode,
        CondorWorkflowSubdagNode,
        CondorWorkflowSpliceNode,
    )
}


def nodes_of(workflow: HasNodes, given: Any) -> list[CondorWorkflowNode]:
    """Nodes from a list of dicts, as in the parameters of flows: ``name``, ``kind`` (JOB if not given),
    ``parents`` (names), and the fields.

    Raises:
        ValueError: a node is not valid; the message names it.
    """
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise DagError(f"nodes must be a list of dicts, not {given!r}.")
    found: list[CondorWorkflowNode] = []
    for item in given:
        if not isinstance(item, Mapping) or "name" not in item:
            raise DagError(f"A node must be a dict with a name, not {item!r}.")
        fields = {key: value for key, value in item.items() if key not in ("name", "kind", "parents")}
        cls = _CLASSES[model.check_kind(item.get("kind", model.JOB))]
        try:
            node = cls(str(item["name"]), workflow, **fields)
        except TypeError as error:
            raise DagError(f"The node {item['name']!r}: {error}") from error
        parents = item.get("parents") or ()
        given_names = [parents] if isinstance(parents, str) else [str(name) for name in parents]
        node.handle.spec["parents"] = list(dict.fromkeys(given_names))
        found.append(node)
    model.check_graph([node.handle.dag_node() for node in found]) if found else None
    return found


def parameters_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The opposite of :func:`nodes_of`, for the spec of one node with its name."""
    defaults = {**submit_commands.DEFAULTS, **OPTIONS, "parents": [], "kind": model.JOB}
    changed = [key for key, value in spec.items() if value != defaults.get(key) and value not in ([], {})]
    return local_files.found_again(spec, [key for key in changed if key != local_files.FOLDER])


def _stored(name: str, value: Any) -> Any:
    if name in _PATHS and value is not None:
        return os.fspath(value)
    if name == "variables":
        if not isinstance(value or {}, Mapping):
            raise DagError(f"variables must be a dict, not {value!r}.")
        return {str(key): str(item) for key, item in (value or {}).items()}
    if name in ("noop", "done"):
        return bool(value)
    return submit_commands.plain(value)
