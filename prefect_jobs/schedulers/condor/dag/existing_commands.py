"""The commands of an existing DAG file that say something about nodes, or about DAGMan."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prefect_jobs.schedulers.condor.dag import lines
from prefect_jobs.schedulers.condor.dag.existing_model import ALL, PROGRAMS, FileNode, Scope
from prefect_jobs.schedulers.condor.dag.lines import Line
from prefect_jobs.schedulers.condor.dag.model import FINAL, PROVISIONER, SERVICE, SUBDAG

_VARIABLE = re.compile(r'([A-Za-z_+][\w.]*)\s*=\s*"((?:[^"\\]|\\.)*)"')
#: Commands that say nothing about what runs: DAGMan reads them.
_PASSED = ("DOT", "JOBSTATE_LOG", "MAXJOBS", "INCLUDE", "CATEGORY", "PRIORITY", "SAVE_POINT_FILE")
_NO_DATA = "DATA nodes are not possible: HTCondor removed them, with Stork. Use transfer_input_files, or a JOB."


def apply(scope: Scope, line: Line) -> None:
    """Applies a command that is not itself a node.

    Raises:
        DagError: DAGMan would refuse it.
    """
    words, command = line.words, line.command
    if command in (*PROGRAMS, SUBDAG, "SPLICE", "SUBMIT-DESCRIPTION", *_PASSED):
        if command == "INCLUDE":
            scope.dag.files.append(scope.folder / words[0])
        if command in PROGRAMS and line.body is None and words[1] in scope.described:
            scope.own[words[0]].body = scope.described[words[1]]
        return
    if command == "DATA":
        raise line.error(_NO_DATA)
    if command == "REJECT":
        raise line.error("REJECT: the DAG says that it is not to be run. It was made for condor_submit_dag -no_submit.")
    if command in _APPLIED:
        if not words:
            raise line.error(f"{command} says nothing: something must follow it.")
        _APPLIED[command](scope, line, words)
        return
    raise line.error(f"DAGMan has no command {command!r}.")


def _each(scope: Scope, line: Line, name: str) -> Iterable[FileNode]:
    """The nodes that a command is about."""
    if name.upper() == ALL:
        return list(scope.all().values())
    if name in scope.own:
        return (scope.own[name],)
    if name in scope.splices or "+" in name:
        return ()  # DAGMan has its own opinion
    raise line.error(f"{line.command} names {name!r}, which is not a node of this DAG.")


def _parent(scope: Scope, line: Line, words: list[str]) -> None:
    upper = [word.upper() for word in words]
    at = upper.index("CHILD") if "CHILD" in upper else -1
    above, below = words[: max(at, 0)], words[at + 1 :]
    if at < 1 or not below:
        raise line.error("it is PARENT, nodes, CHILD, nodes.")
    for name in (*above, *below):
        if name not in scope.own and name not in scope.splices:
            raise line.error(f"PARENT names {name!r}, which is not a node of this DAG.")
        if name in scope.own and (kind := scope.own[name].kind) in (FINAL, SERVICE, PROVISIONER):
            raise line.error(f"{name!r} is a {kind} node, which has no parents and no children.")
    sources = [each for name in above for each in scope.ends(name, first=False)]
    nodes = scope.all()
    for child in [each for name in below for each in scope.ends(name, first=True)]:
        known = set(nodes[child].parents)
        nodes[child].parents.extend(each for each in dict.fromkeys(sources) if each not in known)


def _script(scope: Scope, line: Line, words: list[str]) -> None:
    rest = list(words)
    while rest and rest[0].upper() in ("DEFER", "DEBUG"):
        rest = rest[3:]
    if len(rest) < 3 or rest[0].upper() not in ("PRE", "POST", "HOLD"):
        raise line.error("it is SCRIPT, PRE, POST or HOLD, a node, and a program with its arguments.")
    for node in _each(scope, line, rest[1]):
        node.scripts[rest[0].upper()] = rest[2]


def _number(line: Line, words: Sequence[str], at: int) -> int:
    try:
        return int(words[at])
    except (IndexError, ValueError):
        given = f", not {words[at]!r}" if len(words) > at else ""
        raise line.error(f"{line.command} takes a node and a whole number{given}.") from None


def _retry(scope: Scope, line: Line, words: list[str]) -> None:
    number = _number(line, words, 1)
    if number < 0:
        raise line.error(f"RETRY takes a number of times, not {number}.")
    unless = _number(line, words, 3) if len(words) > 3 and words[2].upper() == "UNLESS-EXIT" else None
    for node in _each(scope, line, words[0]):
        node.options.update(retry=number, retry_unless_exit_value=unless)


def _abort(scope: Scope, line: Line, words: list[str]) -> None:
    code = _number(line, words, 1)
    answer = _number(line, words, 3) if len(words) > 3 and words[2].upper() == "RETURN" else None
    if answer is not None and not 0 <= answer <= 255:
        raise line.error(f"ABORT-DAG-ON: RETURN takes an exit code from 0 to 255, not {answer}.")
    for node in _each(scope, line, words[0]):
        node.options.update(abort_dag_on=code, abort_dag_on_return_value=answer)


def _pre_skip(scope: Scope, line: Line, words: list[str]) -> None:
    code = _number(line, words, 1)
    for node in _each(scope, line, words[0]):
        node.options["pre_skip"] = code


def _vars(scope: Scope, line: Line, words: list[str]) -> None:
    if len(words) < 2:
        raise line.error('VARS takes a node, and name="value".')
    for node in _each(scope, line, words[0]):
        for name, value in _VARIABLE.findall(line.rest):
            node.variables[name.lower()] = value.replace('\\"', '"').replace("\\\\", "\\")


def _done(scope: Scope, line: Line, words: list[str]) -> None:
    raise line.error(
        "DONE is for rescue files: DAGMan ends with an error. Write DONE at the end of the line of the node: "
        f"JOB {words[0] if words else 'name'} … DONE."
    )


def _pin(scope: Scope, line: Line, words: list[str]) -> None:
    number = _number(line, words, 1)
    scope.pins.setdefault((line.command, number), []).extend(node.name for node in _each(scope, line, words[0]))


def _connect(scope: Scope, line: Line, words: list[str]) -> None:
    if len(words) != 2 or any(word not in scope.splices for word in words):
        raise line.error("CONNECT takes two splices of this DAG.")
    above, below, nodes = scope.splices[words[0]], scope.splices[words[1]], scope.all()
    for (kind, number), names in above.pins.items():
        for child in below.pins.get(("PIN_IN", number), ()) if kind == "PIN_OUT" else ():
            nodes[child].parents.extend(each for each in names if each not in nodes[child].parents)


def _config(scope: Scope, line: Line, words: list[str]) -> None:
    file = scope.folder / line.rest
    if not file.is_file():
        raise line.error(f"the configuration file {line.rest!r} does not exist. Looked in: {scope.folder}.")
    scope.dag.files.append(file)
    if scope.owner or scope.is_splice:
        return  # an inner DAG reads its own; DAGMan ignores that of a splice
    text = re.sub(r"\\\r?\n", " ", lines.read(file))
    for each in text.splitlines():
        name, separator, value = each.partition("=")
        if separator and not each.lstrip().startswith("#"):
            scope.dag.config[name.strip().upper()] = value.strip()


def _env(scope: Scope, line: Line, words: list[str]) -> None:
    what, _, rest = line.rest.partition(" ")
    if what.upper() == "GET" and rest.strip():
        scope.dag.inherited.extend(re.split(r"[\s,]+", rest.strip()))
    elif what.upper() == "SET" and "=" in rest:
        separator = rest.strip()[0] if not re.match(r"[\w\"']", rest.strip()) else ";"
        for pair in rest.strip().strip("\"'").split(separator):
            name, found, value = pair.partition("=")
            if found:
                scope.dag.environment[name.strip()] = value
    else:
        raise line.error("ENV takes GET and names, or SET and name=value with ';' between.")


def _attribute(scope: Scope, line: Line, words: list[str]) -> None:
    name, separator, value = line.rest.partition("=")
    if not separator or not re.fullmatch(r"[A-Za-z_][\w.]*", name.strip()):
        raise line.error("SET_JOB_ATTR takes an attribute, '=' and an expression.")
    if not (scope.owner or scope.is_splice):
        scope.dag.attributes[name.strip().removeprefix("My.")] = value.strip()


def _status_file(scope: Scope, line: Line, words: list[str]) -> None:
    if not (scope.owner or scope.is_splice or scope.dag.status_file):
        scope.dag.status_file = words[0]


_APPLIED: Mapping[str, Any] = {
    "PARENT": _parent,
    "SCRIPT": _script,
    "RETRY": _retry,
    "ABORT-DAG-ON": _abort,
    "PRE_SKIP": _pre_skip,
    "VARS": _vars,
    "DONE": _done,
    "PIN_IN": _pin,
    "PIN_OUT": _pin,
    "CONNECT": _connect,
    "CONFIG": _config,
    "ENV": _env,
    "SET_JOB_ATTR": _attribute,
    "NODE_STATUS_FILE": _status_file,
}
