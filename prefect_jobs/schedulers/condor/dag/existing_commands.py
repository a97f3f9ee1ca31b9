"""The commands of an existing DAG file that say something about nodes, or about DAGMan."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prefect_jobs.schedulers.condor.dag.existing_model import ALL, PROGRAMS, FileNode, Scope
from prefect_jobs.schedulers.condor.dag.lines import Line
from prefect_jobs.schedulers.condor.dag.model import FINAL, PROVISIONER, SERVICE, SUBDAG

_SECRET = re.compile(r"SECRET|TOKEN|PASS|KEY|CREDENTIAL|AUTH|_URL|^PREFECT|DATABASE", re.IGNORECASE)
_VARIABLE = re.compile(r'([A-Za-z_+][\w.]*)\s*=\s*"((?:[^"\\]|\\.)*)"')
#: Commands that say nothing about what runs: DAGMan reads them.
_PASSED = ("DOT", "JOBSTATE_LOG", "MAXJOBS", "INCLUDE", "SAVE_POINT_FILE")
#: Commands that a FINAL node cannot have.
_NOT_OF_FINAL = ("RETRY", "PRIORITY", "CATEGORY", "ABORT-DAG-ON")
#: The exit code by which DAGMan asks to be started again.
_RESTART = 3
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
        found = list(scope.all().values())
        return [node for node in found if node.kind != FINAL] if line.command in _NOT_OF_FINAL else found
    if name in scope.own:
        node = scope.own[name]
        if node.kind == FINAL and line.command in _NOT_OF_FINAL:
            raise line.error(f"{name!r} is the FINAL node, which cannot have {line.command}.")
        return (node,)
    if name in scope.splices:
        raise line.error(f"{name!r} is a splice, which cannot have {line.command}. Say it of its nodes, in its file.")
    if name.partition("+")[0] in scope.splices:
        return ()  # of a node of a splice: left to DAGMan
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


def _option(line: Line, words: Sequence[str], name: str) -> int | None:
    """The number of an option after a node and a number."""
    if len(words) == 2:
        return None
    if words[2].upper() != name or len(words) != 4:
        raise line.error(f"{line.command} takes a node, a number, and {name} with a number if wanted.")
    return _number(line, words, 3)


def _priority(scope: Scope, line: Line, words: list[str]) -> None:
    _number(line, words, 1)
    _each(scope, line, words[0])


def _category(scope: Scope, line: Line, words: list[str]) -> None:
    if len(words) != 2:
        raise line.error("CATEGORY takes a node and a name.")
    _each(scope, line, words[0])


def _retry(scope: Scope, line: Line, words: list[str]) -> None:
    number = _number(line, words, 1)
    if number < 0:
        raise line.error(f"RETRY takes a number of times, not {number}.")
    unless = _option(line, words, "UNLESS-EXIT")
    for node in _each(scope, line, words[0]):
        node.options.update(retry=number, retry_unless_exit_value=unless)


def _abort(scope: Scope, line: Line, words: list[str]) -> None:
    code = _number(line, words, 1)
    answer = _option(line, words, "RETURN")
    if (code if answer is None else answer) == _RESTART:
        raise line.error("ABORT-DAG-ON with 3 would start DAGMan again, for ever. Use RETURN with another code.")
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
    pairs = _VARIABLE.findall(line.rest)
    if not pairs:
        raise line.error(f'VARS takes name="value", with quotes, not {words[1]!r}.')
    for node in _each(scope, line, words[0]):
        for name, value in pairs:
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
    if not line.rest.startswith("/"):
        scope.dag.files.append(file)
    if scope.owner or scope.is_splice:
        return  # an inner DAG reads its own; DAGMan ignores that of a splice
    text = re.sub(r"\\\r?\n", " ", scope.reading(file))
    for each in text.splitlines():
        name, separator, value = each.partition("=")
        if separator and not each.lstrip().startswith("#"):
            scope.dag.config[name.strip().upper()] = value.strip()


def _env(scope: Scope, line: Line, words: list[str]) -> None:
    what, _, rest = line.rest.partition(" ")
    if what.upper() == "GET" and rest.strip():
        for name in re.split(r"[\s,]+", rest.strip()):
            if _SECRET.search(name):
                raise line.error(
                    f"ENV GET {name}: what may be a secret is not taken from the environment. Use ENV SET."
                )
            if name != "PATH":  # DAGMan has its own, by which it finds HTCondor's programs
                scope.dag.inherited.append(name)
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
    if scope.owner or scope.is_splice or scope.dag.status_file:
        return
    if words[0].startswith("/") or os.path.normpath(words[0]).startswith(".."):
        raise line.error(f"NODE_STATUS_FILE {words[0]!r} leads out of the folder of the DAG. Use a path in it.")
    scope.dag.status_file = words[0]


_APPLIED: Mapping[str, Any] = {
    "PARENT": _parent,
    "SCRIPT": _script,
    "RETRY": _retry,
    "PRIORITY": _priority,
    "CATEGORY": _category,
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
