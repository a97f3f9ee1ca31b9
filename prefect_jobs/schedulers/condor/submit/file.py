"""A submit file as the arguments of a job: its commands, and the item of each proc."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect_jobs.schedulers.condor.submit import commands, item_data
from prefect_jobs.schedulers.condor.submit.input_files import expand

#: Seconds for one file. It may run a program that makes the items.
TIMEOUT = 120
#: The folder from which the reader imports this package.
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[4])
_LONGEST = 10_000_000
#: Begins the name of a macro that has what differs by ``queue`` statement, or what HTCondor would set.
_OURS = "item_"
#: Macros that HTCondor sets by its own count of items, which is not that of the file.
_COUNTED = {"step": "step", "row": "row", "itemindex": "row"}
#: Commands whose paths are written in another way.
_REWRITTEN = ("executable", "input", "transfer_input_files", "output", "error", "log", "initialdir")
#: Commands of which HTCondor has one value for all procs of a cluster.
_OF_CLUSTER = ("executable", "universe", "should_transfer_files", "max_materialize", "max_idle")


@dataclass(frozen=True)
class SubmitFile:
    """What a submit file says."""

    #: Submit command → its text in the file.
    attributes: Mapping[str, str]
    #: Number of procs; ``None``: the file has no ``queue`` statement.
    count: int | None
    #: Of each proc, values of macros; empty: there are none.
    items: Sequence[Mapping[str, str]] = field(default=())
    #: What only the file itself uses, in its conditions and ``queue`` statements.
    own: Collection[str] = field(default=())


def path_of(given: str | os.PathLike[str]) -> Path:
    """The absolute path of a submit file.

    Raises:
        ValueError: not a path, or there is no such file.
    """
    if not isinstance(given, str | os.PathLike) or not os.fspath(given):
        raise ValueError(f"submit_file is the path of a submit file, not {given!r}.")
    if os.fspath(given) == "-":
        raise ValueError("submit_file is a file, and standard input is not possible: write it to a file.")
    path = Path(os.path.abspath(os.path.expanduser(given)))  # noqa: PTH100, PTH111 (links stay; no error for ~x)
    if not path.is_file():
        raise ValueError(f"The submit file {str(path)!r} {'is a directory' if path.is_dir() else 'does not exist'}.")
    return path


def read(path: Path, most: int, *, queue: Collection[str] | None = None) -> SubmitFile:
    """Reads a submit file as condor_submit would in the folder of the file.

    Args:
        path: of the file.
        most: number of procs, at most.
        queue: the names of the items that are given instead of its ``queue`` statement; ``None``: it counts.

    Raises:
        ValueError: it cannot be read; names the file and the line.
    """
    sections = _ask(path)
    if queue is not None or sections[0]["count"] is None:
        return _without_queue(path, sections, queue or ())
    total = sum(each["count"] * (1 if each["items"] is None else len(each["items"])) for each in sections)
    if total > most:
        raise ValueError(f"{path}, line {sections[-1]['line']}: {item_data.too_many(total, most)}")
    if total == 0:
        raise ValueError(f"{path}, line {sections[-1]['line']}: there is nothing to queue: no process is made.")
    if len(sections) == 1 and sections[0]["items"] is None:
        return _found(sections[0]["commands"], path, total)
    parts = [_Part.of(section) for section in sections if section["count"] and section["items"] != []]
    attributes, items = _together(parts, f"{path}, line {sections[-1]['line']}")
    return _found(attributes, path, total, items)


def _without_queue(path: Path, sections: Sequence[Mapping[str, Any]], given: Collection[str]) -> SubmitFile:
    """
    Raises:
        ValueError: the file has several ``queue`` statements, or uses the values of its own.
    """
    if len(sections) > 1:
        raise ValueError(f"{path} has several queue statements: num_jobs and items are not possible besides them.")
    commands_, items = sections[0]["commands"], sections[0]["items"] or [{}]
    text, known = " ".join(commands_.values()), {name.lower() for name in given}
    for name in items[0]:
        if name.lower() not in known and (commands.is_known(name) or item_data.uses(text, (name,))):
            raise ValueError(
                f"{path}, line {sections[0]['line']}: the values of {name!r} come from this queue statement. Give "
                "items with that name, and no num_jobs."
            )
    return _found(commands_, path, None)


def _together(parts: Sequence["_Part"], where: str) -> tuple[dict[str, str], Sequence[Mapping[str, str]]]:
    """The commands and the items of all ``queue`` statements. What differs by statement becomes a value of the items.

    Raises:
        ValueError: HTCondor makes several clusters of the file.
    """
    names = dict.fromkeys(name for part in parts for name in part.items[0])
    differing: dict[str, str] = {}
    for name in dict.fromkeys(name for part in parts for name in part.commands):
        if len({part.commands.get(name) for part in parts}) > 1:
            differing[name] = _free(name.replace("MY.", "My_"), [*names, *differing.values()])
        if name in differing and commands.canonical(name) in _OF_CLUSTER:
            raise ValueError(
                f"{where}: {name} is another one than at the first queue statement. A job has one; write a file for "
                "each."
            )
    text = " ".join(value for part in parts for value in part.commands.values())
    for name in (f"{_OURS}{word}" for word in _COUNTED.values()):
        if not item_data.uses(text, (name,)):
            names.pop(name, None)
    items = [
        {
            **{name: item[name] if name in item else part.value_of(name) for name in names},
            **{macro: part.commands.get(name, _unset(name)) for name, macro in differing.items()},
        }
        for part in parts
        for item in part.items
    ]
    shared = {name: value for name, value in parts[0].commands.items() if name not in differing}
    return {**shared, **{name: f"$({macro})" for name, macro in differing.items()}}, items if items[0] else ()


@dataclass(frozen=True)
class _Part:
    """One ``queue`` statement: the commands that hold for it, and the item of each of its procs."""

    commands: dict[str, str]
    items: list[dict[str, str]]

    def value_of(self, name: str) -> str:
        """The value of a command or macro; empty: it has none."""
        return next((value for key, value in self.commands.items() if key.lower() == name.lower()), "")

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> "_Part":
        given: dict[str, str] = {name: _recounted(value) for name, value in section["commands"].items()}
        items: list[dict[str, str]] = []
        for row, item in enumerate([{}] if section["items"] is None else section["items"]):
            renamed = {(name if not commands.is_known(name) else f"{_OURS}{name}"): v for name, v in item.items()}
            for step in range(section["count"]):
                items.append({**renamed, f"{_OURS}step": str(step), f"{_OURS}row": str(row)})
        for name in section["items"][0] if section["items"] else ():
            if commands.is_known(name):  # as ``queue arguments from …``: it is the value of the command
                given = {
                    key: text for key, text in given.items() if commands.canonical(key) != commands.canonical(name)
                }
                given[commands.canonical(name)] = f"$({_OURS}{name})"
        return cls(given, items)


def _recounted(text: str) -> str:
    """A text with our macros in the place of those that HTCondor would count by items."""

    def ours(found: "re.Match[str]") -> str:
        return f"{found[1]}{_OURS}{_COUNTED[found[2].lower()]}"

    return re.sub(r"(\$[A-Za-z_]*\(\s*)(Step|Row|ItemIndex)(?=\s*[:,)])", ours, text, flags=re.IGNORECASE)


def _free(name: str, taken: Sequence[str]) -> str:
    """A name for a macro that none of the others has."""
    found = f"{_OURS}{name}"
    while found.lower() in (other.lower() for other in taken):
        found += "_"
    return found


def _unset(name: str) -> str:
    return "undefined" if commands.is_attribute(name) else ""


def _found(
    given: Mapping[str, str], path: Path, count: int | None, items: Sequence[Mapping[str, str]] = ()
) -> SubmitFile:
    """The file, without what only it uses, and with the texts of commands where others use them: those of files get
    other paths later.

    Raises:
        ValueError: a name that looks like a slip of a command; names the line.
    """
    slips, unknown = commands.unknown_commands(given)
    text = path.read_text("utf-8-sig")
    conditions = " ".join(line for line in text.splitlines() if re.match(r"\s*(el)?if\b", line, re.IGNORECASE))
    own = {
        name
        for name in (*slips, *unknown)
        if item_data.uses(text, (name,)) or re.search(rf"\b{re.escape(name)}\b", conditions, re.IGNORECASE)
    }
    for name, problem in slips.items():
        if name not in own:
            raise ValueError(f"{path}, line {line_of(name, path)}: {problem}")
    kept = {name: value for name, value in given.items() if name not in own}
    moved = {name.lower(): value for name, value in kept.items() if commands.canonical(name) in _REWRITTEN}
    renamed = {name.lower(): value for name, value in kept.items() if commands.canonical(name) != name.lower()}
    main = {name.lower() for name in kept if commands.canonical(name) == name.lower()}
    attributes = {
        name: expand(value, {**renamed, **moved})
        for name, value in kept.items()
        if name.lower() in main or commands.canonical(name) not in main
    }
    return SubmitFile(attributes, count, items, own)


def line_of(name: str, path: Path) -> int:
    """The first line of a file that sets a command; 1: it is in a file that is included."""
    bare = re.escape(name.removeprefix("MY."))
    pattern = re.compile(rf"^\s*(\+|MY\.)?{bare}\s*@?=", re.IGNORECASE)
    lines = path.read_text("utf-8-sig").splitlines()
    return next((number for number, line in enumerate(lines, 1) if pattern.match(line)), 1)


def _ask(path: Path) -> list[dict[str, Any]]:
    """
    Raises:
        ValueError: it cannot be read.
    """
    inherited = os.environ.get("PYTHONPATH", "")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in (_PACKAGE_ROOT, inherited) if part)}
    command = [sys.executable, "-m", "prefect_jobs.schedulers.condor.submit.file_reader", str(path), inherited]
    try:
        if path.stat().st_size > _LONGEST:
            raise ValueError(f"{path} has more than {_LONGEST:,} bytes, which no submit file has.")
        # Not in the folder of the file: Python would import modules that lie there.
        with subprocess.Popen(
            command, cwd=_PACKAGE_ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, process_group=0,
        ) as process:  # fmt: skip
            try:
                out, err = process.communicate(timeout=TIMEOUT)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise ValueError(
                    f"{path} was not read after {TIMEOUT} s. Does it run a program that does not end?"
                ) from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}.") from error
    lines = out.decode(errors="replace").splitlines()
    try:
        answer: dict[str, Any] = json.loads(lines[-1])
    except (ValueError, IndexError):
        said = err.decode(errors="replace").strip().splitlines()[-1:]
        raise ValueError(f"{path} cannot be read: HTCondor's parser has ended ({', '.join(said)}).") from None
    if "error" in answer:
        where = f", line {answer['line']}" if answer["line"] else ""
        raise ValueError(f"{path}{where}: {answer['error']}.")
    found: list[dict[str, Any]] = answer["sections"]
    return found
