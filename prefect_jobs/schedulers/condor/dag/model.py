"""The model of a DAG: its nodes, and the rules for each of them and for all together. Pure.

The rules are DAGMan's (HTCondor manual, "DAGMan Workflows").
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from prefect_jobs import graph

JOB, FINAL, SERVICE, SUBDAG, SPLICE = KINDS = ("JOB", "FINAL", "SERVICE", "SUBDAG", "SPLICE")
#: A kind of existing DAG files alone.
PROVISIONER = "PROVISIONER"
#: Kinds that run their own program.
PROGRAMS = (JOB, FINAL, SERVICE)
#: Words with another meaning in a DAG file, in upper or lower case.
RESERVED = frozenset({"PARENT", "CHILD", "ALL_NODES"})
MAX_NAME_LENGTH = 200

# DAGMan accepts more, but '.' and '+' have a meaning in it, and the name is also that of the node's directory.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_WORD = re.compile(r"[^\s\0]+\Z")
_CONFIG = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
_FOLDER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")


class DagError(ValueError):
    """The DAG cannot be run; the message says what to change."""


@dataclass(frozen=True)
class DagNode:
    """A node of the DAG file. The fields are DAGMan's commands, with their usual names."""

    name: str
    kind: str = JOB
    parents: Sequence[str] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    remote_input_files: Sequence[str] = ()
    num_jobs: int = 1
    pre_script: str | None = None
    pre_script_args: Any = None
    post_script: str | None = None
    post_script_args: Any = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    priority: int | None = None
    category: str | None = None
    retry: int | None = None
    retry_unless_exit_value: int | None = None
    pre_skip: int | None = None
    abort_dag_on: int | None = None
    abort_dag_on_return_value: int | None = None
    #: The node's directory, relative to the workflow's; none: the node's name.
    dir: str | None = None
    noop: bool = False
    done: bool = False
    #: The DAG of a SUBDAG or SPLICE.
    dag_file: str | None = None
    #: The folder in which the node was created, where its relative names are searched.
    folder: str | None = None

    @property
    def directory(self) -> str:
        """The node's directory, relative to the workflow's."""
        return self.dir or self.name

    @property
    def title(self) -> str:
        """The node's name in messages."""
        return f"node {self.name!r}"


def check_name(name: Any) -> str:
    """A node's name.

    Raises:
        DagError: DAGMan does not accept it, or it is reserved.
    """
    if not isinstance(name, str) or not _NAME.match(name) or len(name) > MAX_NAME_LENGTH:
        raise DagError(
            f"{name!r} cannot be the name of a node: use letters, digits, '_' and '-' (not first), "
            f"at most {MAX_NAME_LENGTH} of them."
        )
    if name.upper() in RESERVED:
        raise DagError(f"{name!r} is a reserved word of DAGMan and cannot be the name of a node.")
    return name


def check_kind(kind: Any) -> str:
    """A node's kind.

    Raises:
        DagError: there is no such kind.
    """
    text = str(kind).upper()
    if text == "DATA":
        raise DagError(
            "DATA nodes are not possible: HTCondor removed them, with Stork. Move files with transfer_input_files, "
            "a PRE or POST script, or a JOB node."
        )
    if text not in KINDS:
        raise DagError(f"There is no kind of node {kind!r}. Valid: {', '.join(KINDS)}.")
    return text


def check_node(node: DagNode) -> None:
    """Checks a node by itself.

    Raises:
        DagError: the first problem.
    """
    check_name(node.name)
    check_kind(node.kind)
    _check_numbers(node)
    for which, script, words in (
        ("pre_script", node.pre_script, node.pre_script_args),
        ("post_script", node.post_script, node.post_script_args),
    ):
        if script is None and words not in (None, "", [], ()):
            raise DagError(f"The {node.title} has {which}_args but no {which}.")
        script_arguments(node, which, words)
    if node.pre_skip is not None and node.pre_script is None:
        raise DagError(f"The {node.title} has pre_skip but no pre_script.")
    if node.retry_unless_exit_value is not None and node.retry is None:
        raise DagError(f"The {node.title} has retry_unless_exit_value but no retry.")
    if node.abort_dag_on_return_value is not None and node.abort_dag_on is None:
        raise DagError(f"The {node.title} has abort_dag_on_return_value but no abort_dag_on.")
    if node.category is not None:
        check_category(node.category)
    for name in node.variables:
        if not isinstance(name, str) or not _VARIABLE.match(name) or name.lower().startswith("queue"):
            raise DagError(
                f"{name!r} cannot be a variable of the {node.title}: use letters, digits and '_', not a digit first, "
                "and not 'queue' (HTCondor would read it as its command)."
            )
    for name, value in node.variables.items():
        if "\n" in str(value) or "\r" in str(value):
            raise DagError(f"The variable {name!r} of the {node.title} has a line break, which a DAG file cannot have.")
    if node.dir is not None:
        _check_dir(node)
    _check_kind_fields(node)


def _check_numbers(node: DagNode) -> None:
    for name in (
        "priority",
        "retry",
        "retry_unless_exit_value",
        "pre_skip",
        "abort_dag_on",
        "abort_dag_on_return_value",
    ):
        value = getattr(node, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise DagError(f"{name} of the {node.title} is a whole number, not {value!r}.")
    if node.retry is not None and node.retry < 0:
        raise DagError(f"retry of the {node.title} is a number of times, not {node.retry}.")
    value = node.abort_dag_on_return_value
    if value is not None and not 0 <= value <= 255:
        raise DagError(f"abort_dag_on_return_value of the {node.title} is an exit code from 0 to 255, not {value}.")
    if node.pre_skip is not None and not 1 <= node.pre_skip <= 255:
        raise DagError(f"pre_skip of the {node.title} is an exit code from 1 to 255, not {node.pre_skip}.")


def _check_dir(node: DagNode) -> None:
    path = PurePosixPath(str(node.dir))
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise DagError(f"dir of the {node.title} is a folder in the workflow's directory, not {node.dir!r}.")
    if not all(_FOLDER.match(part) for part in path.parts):
        raise DagError(f"dir = {node.dir!r} of the {node.title}: use letters, digits and '_.-' only.")
    if path.parts[0].startswith("workflow."):
        raise DagError(
            f"dir = {node.dir!r} of the {node.title}: names that begin with 'workflow.' are reserved for DAGMan."
        )


def _check_kind_fields(node: DagNode) -> None:
    """Checks the fields that DAGMan does not accept for a kind, or that a kind needs."""
    if node.kind in (SUBDAG, SPLICE):
        if not node.dag_file:
            raise DagError(f"The {node.title} is a {node.kind} and needs its dag_file.")
        if re.search(r"\s", PurePosixPath(node.dag_file).name):
            raise DagError(
                f"dag_file = {node.dag_file!r} of the {node.title}: a DAG file cannot name a file with white space in "
                "its name. Rename it."
            )
        if node.attributes:
            raise DagError(f"The {node.title} is a {node.kind}: it has no submit commands.")
    elif node.dag_file:
        raise DagError(f"The {node.title} is a {node.kind} and takes no dag_file; that is for SUBDAG and SPLICE.")
    names: tuple[str, ...] = ()
    if node.kind == SPLICE:
        names = (
            "pre_script",
            "post_script",
            "variables",
            "priority",
            "category",
            "retry",
            "pre_skip",
            "abort_dag_on",
            "noop",
            "done",
        )
    elif node.kind == FINAL:
        names = ("done", "category", "priority", "retry", "abort_dag_on")
    elif node.kind == SERVICE:
        names = ("done", "noop", "abort_dag_on")
    for name in names:
        value = getattr(node, name)
        if value is not None and value is not False and value != {}:  # 0 is a value
            raise DagError(f"The {node.title} is a {node.kind}, which cannot have {name}.")


def check_category(category: Any) -> str:
    """A category's name.

    Raises:
        DagError: it is not a valid name.
    """
    if not isinstance(category, str) or not _WORD.match(category) or "+" in category or category.startswith("#"):
        raise DagError(f"{category!r} cannot be a category: use a word without '+'.")
    return category


def check_max_jobs(max_jobs: Mapping[Any, Any]) -> dict[str, int]:
    """Throttles: category → how many of its nodes may run at the same time.

    Raises:
        DagError: not the name of a category, or not a number.
    """
    if not isinstance(max_jobs, Mapping):
        raise DagError(f"max_jobs is a dict from category to number, not {max_jobs!r}.")
    for category, number in max_jobs.items():
        check_category(category)
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise DagError(f"max_jobs of the category {category!r} is a number from 1, not {number!r}.")
    return dict(max_jobs)


def check_config(config: Any) -> dict[str, str]:
    """DAGMan's configuration: macro → value as text.

    Raises:
        DagError: not a dict, not the name of a macro, or a value with a line break.
    """
    if config is None:
        return {}
    if not isinstance(config, Mapping):
        raise DagError(f"config is a dict from DAGMan's configuration macros to values, not {config!r}.")
    found: dict[str, str] = {}
    for name, value in config.items():
        if not isinstance(name, str) or not _CONFIG.match(name):
            raise DagError(f"{name!r} cannot be a configuration macro; they look like DAGMAN_MAX_JOBS_SUBMITTED.")
        if not isinstance(value, str | int | float):
            raise DagError(f"config[{name!r}] is a text, a number or a boolean, not {value!r}.")
        text = str(value)
        if "\n" in text or "\r" in text or "\0" in text:
            raise DagError(f"config[{name!r}] has a line break, which HTCondor cannot read.")
        found[name.upper()] = text
    return found


def script_arguments(node: DagNode, which: str, words: Any) -> list[str]:
    """The arguments of a script. DAGMan splits them at white space and has no quotes.

    Raises:
        DagError: an argument with white space.
    """
    if words is None:
        return []
    if isinstance(words, str):
        if "\n" in words or "\r" in words:
            raise DagError(f"{which}_args of the {node.title} have a line break, which a DAG file cannot contain.")
        return words.split()
    if not isinstance(words, list | tuple):
        raise DagError(f"{which}_args of the {node.title} are a text or a list, not {words!r}.")
    found = [str(word) for word in words]
    for word in found:
        if not _WORD.match(word):
            raise DagError(
                f"{which}_args of the {node.title}: DAGMan splits arguments at white space, even in quotes, so "
                f"{word!r} cannot be one. Put it into a file, or into the script."
            )
    return found


def check_graph(nodes: Sequence[DagNode]) -> None:
    """Checks all nodes together.

    Raises:
        DagError: the first problem.
    """
    if not nodes:
        raise DagError("The workflow has no nodes. Create some and call their save().")
    by_name: dict[str, DagNode] = {}
    for node in nodes:
        check_node(node)
        if node.name in by_name:
            raise DagError(f"Two nodes are named {node.name!r}.")
        by_name[node.name] = node
    finals = [node.name for node in nodes if node.kind == FINAL]
    if len(finals) > 1:
        raise DagError(f"There is more than one FINAL node: {', '.join(finals)}. A workflow can have only one.")
    for node in nodes:
        for parent in node.parents:
            if parent not in by_name:
                raise DagError(f"{parent!r}, a parent of the {node.title}, is not a node of this workflow.")
            check_edge(by_name[parent], node)
    if all(node.kind in (FINAL, SERVICE) for node in nodes):
        raise DagError("The workflow has FINAL or SERVICE nodes only; it needs a node that does the work.")
    circle = graph.find_circle({node.name: node.parents for node in nodes})
    if circle:
        raise DagError(f"The nodes form a cycle: {' → '.join(circle)}. Remove one of these dependencies.")
    _check_directories(nodes)


def check_edge(parent: DagNode, child: DagNode) -> None:
    """Checks that one node may be the parent of another.

    Raises:
        DagError: it may not.
    """
    if parent.name == child.name:
        raise DagError(f"The {parent.title} cannot be its own parent.")
    for node, what in ((parent, "children"), (child, "parents")):
        if node.kind == FINAL:
            raise DagError(f"The {node.title} is the FINAL one: it runs after all others and has no {what}.")
        if node.kind == SERVICE:
            raise DagError(f"The {node.title} is a SERVICE, which runs beside all others and has no {what}.")


def _check_directories(nodes: Sequence[DagNode]) -> None:
    """Checks that no node's directory is inside another's: their outputs would be mixed."""
    owners: dict[PurePosixPath, str] = {PurePosixPath(node.directory): node.name for node in nodes}
    for node in nodes:
        path = PurePosixPath(node.directory)
        for above in path.parents:
            if above in owners:
                raise DagError(
                    f"The directory {node.directory!r} of the {node.title} is inside that of the node "
                    f"{owners[above]!r}. Give it another dir."
                )
