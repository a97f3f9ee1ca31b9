"""From a job's submit commands to a submit description. Pure, except that it checks whether files exist.

The rules are condor_submit's (HTCondor manual, "condor_submit"). Arguments and environment are written in the new
quoted syntax, which keeps spaces and quotes.
"""

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from prefect_jobs.naming import slug
from prefect_jobs.schedulers.condor.submit import commands, quantities, streams
from prefect_jobs.schedulers.condor.submit.input_files import (
    SEPARATORS,
    URL,
    DescriptionError,
    InputFiles,
    expand,
    items,
    literal,
)

log = logging.getLogger(__name__)

TEMPLATES: dict[str, dict[str, Any]] = {
    "base": {},
    "vanilla_base": {"universe": "vanilla"},
    "vanilla_transfer_files": {
        "universe": "vanilla",
        "should_transfer_files": "YES",
        "when_to_transfer_output": "ON_EXIT",
    },
    "vanilla_nfs": {"universe": "vanilla", "should_transfer_files": "NO", "transfer_executable": False},
}

_ANY_MACRO = re.compile(r"\$[A-Za-z_]*\(")
#: Macros that are numbers, so that they lead to no other folder.
_NUMBERS = re.compile(r"(?<!\$)\$\((?:Cluster|ClusterId|Process|ProcId|Step|Row)\)", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"^(\+|[Mm][Yy]\.)[A-Za-z_][A-Za-z0-9_.]*$")
_COMMAND = re.compile(r"^[A-Za-z_][A-Za-z0-9_.]*$")


@dataclass(frozen=True)
class Request:
    """What to submit."""

    name: str
    attributes: Mapping[str, Any]
    #: The job directory.
    directory: Path
    #: Folders in which relative names are searched, after the directory.
    search: Sequence[Path] = ()
    input_files: Sequence[str] = ()
    count: int = 1
    token: str = ""
    #: Makes an empty folder, without spaces in its path, for links to files whose path has some.
    links: Callable[[], Path] | None = None
    #: Submit commands for this submission only.
    extra: Mapping[str, Any] = field(default_factory=dict)
    #: Macros besides the commands (a node's ``VARS``).
    variables: Mapping[str, str] = field(default_factory=dict)
    #: The word for it in errors.
    what: str = "job"


@dataclass(frozen=True)
class Description:
    """The description for HTCondor."""

    text: str
    count: int
    #: Whether inputs are spooled and outputs fetched.
    spool: bool
    #: Folders, relative to each proc's own, that must exist for its logs.
    folders: tuple[str, ...]
    #: Paths of ``log``, ``output`` and ``error``, relative to the job directory, with macros.
    logs: Mapping[str, str]


def incoming(directory: Path) -> Path:
    """The folder that receives outputs, in a folder for each proc, before they are moved into ``directory``. Names that
    several procs wrote do not overwrite each other, and no incomplete file is ever visible."""
    return directory / ".incoming"


def check_command(name: str, value: Any) -> None:
    """Refuses what is wrong in any job.

    Raises:
        ValueError: not the name of a command, a refused one, a line break, a value of a wrong kind.
    """
    if not isinstance(name, str) or not (_COMMAND.match(name) or _ATTRIBUTE.match(name)):
        raise ValueError(f"{name!r} is not the name of a submit command.")
    reason = commands.refusal(name)
    if reason is not None:
        raise ValueError(f"The submit command {name!r} is not possible here: {reason}.")
    quantities.check(commands.canonical(name), write_value(name, value))


def write_value(name: str, value: Any) -> str:
    """A value in HTCondor's form.

    Raises:
        ValueError: a line break (a submit description has one command a line), or a value that is neither a
        text, a number, a boolean, nor a list or dict for a command that accepts one.
    """
    key = commands.canonical(name)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if key in ("arguments", "arguments2"):
        text = _arguments(value)
    elif key in ("environment", "environment2"):
        text = write_environment(value)
    elif isinstance(value, bool):
        text = "True" if value else "False"
    elif isinstance(value, Mapping):
        text = '"' + ";".join(f"{one}={other}" for one, other in value.items()) + '"'
    elif isinstance(value, list | tuple | set | frozenset):
        text = ", ".join(write_value(name, item) for item in value)
    elif isinstance(value, str | int | float):
        text = str(value)
    else:
        raise ValueError(
            f"The submit command {name!r} cannot take {value!r}: use a text, a number, a boolean or a list."
        )
    if "\n" in text or "\r" in text or "\0" in text:
        raise ValueError(f"The value of the submit command {name!r} has a line break, which HTCondor cannot read.")
    if text.rstrip().endswith("\\"):
        raise ValueError(
            f"The value of the submit command {name!r} ends with a backslash: HTCondor would read the next command "
            "as a part of it."
        )
    return text


def describe(request: Request) -> Description:
    """The submit description of a request.

    Raises:
        DescriptionError: no executable, a file that is missing, a path outside the job directory, an unknown
        submit command, a name that HTCondor cannot transfer.
    """
    chosen, macros, transfers = _chosen(request)
    _find_files(request, chosen, _input_files(request, macros), transfers)
    folders = _own_files(request, chosen, macros)
    logs = {command: chosen[command] for command in ("log", "output", "error")}
    if transfers:
        streams.flatten(chosen, macros)
        chosen["initialdir"] = f"{literal(incoming(request.directory))}/$(Process)"
        # Outputs wait at the access point until they are fetched; then the job is removed from the queue.
        chosen["leave_in_queue"] = "JobStatus == 4"
    else:
        chosen["initialdir"] = literal(request.directory)
    chosen.setdefault("batch_name", slug(request.name))
    if request.token:
        chosen["My.PrefectJobsToken"] = f'"{request.token}"'
    return _finished(request, chosen, transfers, folders, logs)


def describe_node(request: Request, staged: Callable[[Mapping[str, str]], InputFiles]) -> Description:
    """The submit description of a node of a workflow, which DAGMan submits in the node's directory.

    Args:
        request: as for :func:`describe`; ``directory`` will contain the node's outputs on this machine.
        staged: finds the files of a node whose files are transferred, for the node's macros.

    Raises:
        DescriptionError: as :func:`describe`.
    """
    chosen, macros, transfers = _chosen(request)
    # Without file transfer, the node runs on a shared file system, in its directory on this machine.
    files = staged(macros) if transfers else _input_files(request, macros)
    _find_files(request, chosen, files, transfers)
    folders = _own_files(request, chosen, macros)
    if not transfers:
        chosen["initialdir"] = literal(request.directory)
    logs = {command: chosen[command] for command in ("log", "output", "error")}
    return _finished(request, chosen, transfers, folders, logs)


def _chosen(request: Request) -> tuple[dict[str, Any], dict[str, str], bool]:
    """The commands of a request, the values of the macros in them, and whether files are transferred."""
    given = {**request.attributes, **request.extra}
    chosen: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        try:
            check_command(name, value)
        except ValueError as error:
            raise DescriptionError(str(error)) from None
        chosen[commands.canonical(name)] = value
    chosen.setdefault("universe", "vanilla")
    macros = {name.lower(): _written(name, value) for name, value in chosen.items()}
    slips, unknown = commands.unknown_commands(macros, request.variables.values())
    if slips:
        raise DescriptionError("; ".join(slips.values()))
    if unknown:
        log.warning(
            "The %s %r: HTCondor knows no submit command %s, and nothing uses it as a macro. It is passed on. For "
            "your own attribute write '+Name'.",
            request.what,
            request.name,
            ", ".join(map(repr, unknown)),
        )
    macros = {**{name.lower(): value for name, value in request.variables.items()}, **macros}
    transfers = _transfers(chosen, macros)
    if transfers:
        chosen.setdefault("when_to_transfer_output", "ON_EXIT")
    executable = chosen.get("executable") or chosen.get("docker_image") or chosen.get("container_image")
    if not executable or not str(executable).strip():
        raise DescriptionError(
            f"The {request.what} {request.name!r} has no executable: "
            "set it with attributes={'executable': …} or set_attribute('executable', …)."
        )
    return chosen, macros, transfers


def _own_files(request: Request, chosen: dict[str, Any], macros: Mapping[str, str]) -> set[str]:
    """Sets the paths of logs; returns the folders that logs and outputs need in the job directory."""
    folders = {"logs"}
    for command, default in default_logs(request.name).items():
        path = _inside(request.directory, str(chosen.get(command) or default), command, macros)
        chosen[command] = path
        folders.add(str(PurePosixPath(path).parent))
    for target in _remap_targets(chosen.get("transfer_output_remaps"), macros):
        path = _inside(request.directory, target, "transfer_output_remaps", macros)
        if not URL.match(path):
            folders.add(str(PurePosixPath(path).parent))
    return folders


def _finished(
    request: Request, chosen: dict[str, Any], transfers: bool, folders: set[str], logs: Mapping[str, str]
) -> Description:
    written = {name: _written(name, value) for name, value in chosen.items()}
    text = "".join(f"{name} = {value}\n" for name, value in written.items())
    return Description(text, request.count, transfers, tuple(sorted(folders)), logs)


def _input_files(request: Request, macros: Mapping[str, str]) -> InputFiles:
    return InputFiles(
        request.input_files,
        [request.directory, *request.search],
        links=request.links,
        count=request.count,
        macros=macros,
    )


def _written(name: str, value: Any) -> str:
    try:
        return write_value(name, value)
    except ValueError as error:
        raise DescriptionError(str(error)) from None


def _transfers(chosen: dict[str, Any], macros: Mapping[str, str]) -> bool:
    """Whether files are transferred; a boolean becomes the word that all versions of HTCondor know."""
    value = chosen.setdefault("should_transfer_files", "YES")
    if isinstance(value, bool):
        chosen["should_transfer_files"] = "YES" if value else "NO"
        return value
    return expand(str(value), macros).strip().upper() not in ("NO", "NEVER", "FALSE")


def _find_files(request: Request, chosen: dict[str, Any], files: InputFiles, transfers: bool) -> None:
    """Sets the paths of local files in the commands that name them."""
    program: Path | None = None
    if "executable" in chosen and _sends(chosen, "transfer_executable"):
        chosen["executable"], program = files.executable(str(chosen["executable"]))
    if transfers:
        inputs = files.inputs(chosen.get("transfer_input_files"), program)
        if inputs:
            chosen["transfer_input_files"] = ", ".join(inputs)
        _check_output_names(chosen.get("transfer_output_files"))
        if isinstance(chosen.get("input"), str | os.PathLike) and _sends(chosen, "transfer_input"):
            chosen["input"] = files.standard_input(os.fspath(chosen["input"]))


def _sends(chosen: Mapping[str, Any], command: str) -> bool:
    """Whether a file is sent: unless this command says no, it is. A file that is not sent is on the job's machine."""
    return str(chosen.get(command, True)).strip().lower() not in ("false", "0", "no")


def default_logs(name: str) -> dict[str, str]:
    """The default paths of the logs of a job of this name."""
    base = f"logs/{slug(name)}.$(Cluster).$(Process)"
    return {"log": f"{base}.log", "output": f"{base}.out", "error": f"{base}.err"}


def _check_output_names(given: Any) -> None:
    for item in items(given):
        if SEPARATORS.search(item):
            raise DescriptionError(
                f"The output {item!r} has a space or a comma in its name, at which HTCondor splits its lists of "
                "files. Leave transfer_output_files out: then every new file is fetched, whatever its name."
            )


def _remap_targets(given: Any, macros: Mapping[str, str]) -> list[str]:
    if given is None:
        return []
    if isinstance(given, Mapping):
        pairs = [f"{name}={target}" for name, target in given.items()]
        if any(";" in pair or pair.count("=") > 1 for pair in pairs):
            raise DescriptionError(f"transfer_output_remaps = {given!r}: no name can have ';' or '=' in it.")
    else:
        pairs = expand(str(given), macros).strip().strip('"').split(";")
    if any("\\" in pair or '"' in pair for pair in pairs):
        raise DescriptionError(f"transfer_output_remaps = {given!r}: no name can have a backslash or a quote in it.")
    return [pair.partition("=")[2].strip() for pair in pairs if "=" in pair]


def _inside(directory: Path, given: str, command: str, macros: Mapping[str, str]) -> str:
    """The path relative to the job directory, with the job's own macros resolved.

    Raises:
        DescriptionError: it leads out of the directory, or that cannot be determined.
    """
    text = expand(given, macros).strip()
    if URL.match(text):
        return text
    relative = os.path.relpath(text, directory) if Path(text).is_absolute() else os.path.normpath(text)
    if relative in (".", "..") or relative.startswith("../"):
        raise DescriptionError(
            f"{command} = {given!r} leads out of the job directory {str(directory)!r}. Use the path of a file in it."
        )
    if _ANY_MACRO.search(_NUMBERS.sub("", relative)) or _ANY_MACRO.search(str(PurePosixPath(relative).parent)):
        raise DescriptionError(
            f"{command} = {given!r}: use only $(Cluster) and $(Process), and only in the name of the file."
        )
    return relative


def _arguments(value: Any) -> str:
    if isinstance(value, str):
        stripped = value.strip()
        if stripped.startswith('"'):
            return stripped  # the user wrote the new syntax
        # HTCondor's old syntax: words between white space, \" for a quote, nothing else special.
        words: list[Any] = [word.replace('\\"', '"') for word in re.findall(r"\S+", value, re.ASCII)]
    elif isinstance(value, list | tuple):
        words = list(value)
    elif isinstance(value, int | float):
        words = [value]
    else:
        raise ValueError(f"arguments must be a text or a list, not {value!r}.")
    return '"' + " ".join(_quoted(str(word)) for word in words) + '"'


def write_environment(value: Any) -> str:
    """Environment variables in the new quoted syntax.

    Raises:
        ValueError: not a dict, a list or a text, or an invalid name.
    """
    if isinstance(value, Mapping):
        pairs = [(str(name), str(item)) for name, item in value.items()]
    elif isinstance(value, list | tuple):
        pairs = [_pair(str(item)) for item in value]
    elif isinstance(value, str):
        stripped = value.strip()
        if stripped.startswith('"') or not stripped:
            return stripped or '""'
        # The old syntax: NAME=value;NAME=value.
        pairs = [_pair(item.strip()) for item in stripped.split(";") if item.strip()]
    else:
        raise ValueError(f"environment must be a dict, a list or a text, not {value!r}.")
    for name, _ in pairs:
        if not re.fullmatch(r"[^\s=;'\"]+", name):
            raise ValueError(f"{name!r} cannot be the name of an environment variable.")
    return '"' + " ".join(f"{name}={_quoted(item)}" for name, item in pairs) + '"'


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise ValueError(f"environment: {text!r} is not NAME=value.")
    return name.strip(), value


def _quoted(word: str) -> str:
    """A word in the new syntax: white space and single quotes need single quotes, double ones are doubled."""
    text = word.replace('"', '""')
    if not text or re.search(r"[\s']", text):
        text = "'" + text.replace("'", "''") + "'"
    return text
