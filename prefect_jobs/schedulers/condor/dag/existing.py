"""An existing DAG file as nodes: what runs in it, in what order, and where each command stands.

Splices and inner DAGs are read too. A node of theirs has DAGMan's name, ``<splice>+<node>``.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from prefect_jobs import graph
from prefect_jobs.schedulers.condor.dag import existing_commands, lines, own_paths
from prefect_jobs.schedulers.condor.dag.existing_model import ALL, PROGRAMS, ExistingDag, FileNode, Scope
from prefect_jobs.schedulers.condor.dag.lines import Line
from prefect_jobs.schedulers.condor.dag.model import FINAL, PROVISIONER, SERVICE, SUBDAG, DagError

#: How many DAGs may be inside each other.
_DEPTH = 20
#: How many DAG files may belong to one.
_FILES = 10_000


def read(path: Path, reading: Callable[[Path], str] = lines.read) -> ExistingDag:
    """Reads a DAG file as condor_submit_dag would in its folder.

    Args:
        path: of the file.
        reading: reads a file, this one and those that it includes.

    Raises:
        DagError: DAGMan would refuse it, or its nodes form a cycle; names the file and the line.
    """
    dag = ExistingDag(path)

    def read_relative(file: Path) -> str:
        return own_paths.in_dag(reading(file), path.parent)

    _read_into(Scope(dag, read_relative, path.parent, "", 0), path)
    if not dag.nodes:
        raise DagError(f"The DAG file {str(path)!r} has no nodes.")
    return dag


def _read_into(scope: Scope, path: Path, above: tuple[Path, ...] = ()) -> None:
    if scope.depth > _DEPTH:
        raise DagError(f"{path}: more than {_DEPTH} DAGs are inside each other.")
    scope.dag.files.append(path)
    scope.dag.read += 1
    if scope.dag.read > _FILES:
        raise DagError(f"{scope.dag.path}: it consists of more than {_FILES:,} DAG files.")
    found = list(lines.lines_of(path, scope.folder, reading=scope.reading))
    for line in found:
        _declare(scope, line, (path, *above))
    scope.nodes = scope.all()
    for line in found:
        existing_commands.apply(scope, line)
    finals = [node for node in scope.own.values() if node.kind == FINAL]
    for kind in (FINAL, PROVISIONER):
        same = [node for node in scope.own.values() if node.kind == kind]
        if same and kind == FINAL and scope.is_splice:
            raise same[0].line.error(f"{same[0].name!r}: a splice cannot have a FINAL node.")
        if len(same) > 1:
            raise same[1].line.error(f"{same[1].name!r} is a second {kind} node; a DAG has one.")
    if not scope.is_splice:
        _check_order(scope, finals)
    scope.dag.nodes.update({name: node for name, node in scope.all().items() if name not in scope.dag.nodes})


def _check_order(scope: Scope, finals: Sequence[FileNode]) -> None:
    nodes = scope.all()
    circle = graph.find_circle({name: [each for each in node.parents if each in nodes] for name, node in nodes.items()})
    if circle:
        line = nodes[circle[0]].line
        raise line.error(f"the nodes form a cycle: {' → '.join(circle)}. Remove one of these dependencies.")
    if finals and len(nodes) == len(finals):
        raise finals[0].line.error("the DAG has a FINAL node only; it needs a node that does the work.")


# -- nodes -----------------------------------------------------------------------------------------------------


def _declare(scope: Scope, line: Line, above: tuple[Path, ...]) -> None:
    """Notes the node, splice or description of a line."""
    words = line.words
    if line.command == "SUBMIT-DESCRIPTION":
        if len(words) != 1 or line.body is None:
            raise line.error("SUBMIT-DESCRIPTION takes a name, and a description in braces.")
        scope.described[words[0]] = line.body
    elif line.command in PROGRAMS:
        _declare_program(scope, line, words)
    elif line.command == SUBDAG:
        if len(words) < 3 or words[0].upper() != "EXTERNAL":
            raise line.error("it is SUBDAG EXTERNAL, then a name and a DAG file.")
        node = _node(scope, line, words[1], words[2], words[3:])
        _inner(scope, node, above)
    elif line.command == "SPLICE":
        _splice(scope, line, words, above)


def _declare_program(scope: Scope, line: Line, words: list[str]) -> None:
    if line.body is not None:
        if len(words) != 1:
            raise line.error(f"{line.command} takes a name before a description in braces.")
        _node(scope, line, words[0], "", lines.options_after(line.body)).body = line.body
    elif len(words) < 2:
        raise line.error(f"{line.command} takes a name and a submit file.")
    else:
        _node(scope, line, words[0], words[1], words[2:])


def _node(scope: Scope, line: Line, name: str, names: str, options: Sequence[str]) -> FileNode:
    _check_new(scope, line, name)
    node = FileNode(scope.prefix + name, line.command, line, scope.folder, names, dag=scope.owner)
    rest = list(options)
    while rest:
        option = rest.pop(0).upper()
        if option == "DIR" and rest:
            node.folder = scope.folder / rest.pop(0)
        elif option in ("NOOP", "DONE"):
            node.options[option.lower()] = True
        else:
            raise line.error(f"{option!r} is not possible after the file of a node: DIR with a folder, NOOP or DONE.")
    if node.kind in (FINAL, SERVICE) and node.options.get("done"):
        raise line.error(f"a {node.kind} node cannot be DONE from the start.")
    scope.own[name] = node
    return node


def _check_new(scope: Scope, line: Line, name: str) -> None:
    if name in scope.own or name in scope.splices:
        first = (scope.own[name].line if name in scope.own else None) or line
        raise line.error(f"there is a node {name!r} already" + (f", in line {first.number}." if first != line else "."))
    if name.upper() in ("PARENT", "CHILD", ALL):
        raise line.error(f"{name!r} is a reserved word of DAGMan and cannot be the name of a node.")
    if "+" in name:
        raise line.error(f"{name!r} cannot be the name of a node: '+' is for nodes of splices.")


def _splice(scope: Scope, line: Line, words: list[str], above: tuple[Path, ...]) -> None:
    if len(words) not in (2, 4) or (len(words) == 4 and words[2].upper() != "DIR"):
        raise line.error("SPLICE takes a name and a DAG file, then DIR and a folder if wanted.")
    _check_new(scope, line, words[0])
    folder = scope.folder / words[3] if len(words) == 4 else scope.folder
    file = folder / words[1]
    if file in above:
        raise line.error(f"the splice {words[0]!r} contains itself.")
    if not file.is_file():
        raise line.error(f"the DAG file {words[1]!r} of the splice {words[0]!r} does not exist. Looked in: {folder}.")
    inner = Scope(
        scope.dag,
        scope.reading,
        folder,
        f"{scope.prefix}{words[0]}+",
        scope.depth + 1,
        owner=scope.owner,
        is_splice=True,
    )
    _read_into(inner, file, above)
    scope.splices[words[0]] = inner


def _inner(scope: Scope, node: FileNode, above: tuple[Path, ...]) -> None:
    """Reads the file of an inner DAG. One that does not exist yet has nodes that are not known yet."""
    file = node.folder / node.names
    if file in above:
        raise node.line.error(f"the DAG {node.names!r} contains itself.")
    if file.is_file():
        _read_into(
            Scope(scope.dag, scope.reading, node.folder, f"{node.name}+", scope.depth + 1, owner=node.name), file, above
        )
