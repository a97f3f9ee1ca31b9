"""From a job's submit commands to a submit description. Pure, except that it checks whether files exist.

The rules are condor_submit's (HTCondor manual, "condor_submit").
"""

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from prefect_jobs.naming import slug
from prefect_jobs.schedulers.condor.access import Submission
from prefect_jobs.schedulers.condor.submit import commands, item_data, late, quantities, streams
from prefect_jobs.schedulers.condor.submit.input_files import (
    SEPARATORS,
    URL,
    DescriptionError,
    InputFiles,
    expand,
    items,
    literal,
)
from prefect_jobs.schedulers.condor.submit.item_data import Item, uses
from prefect_jobs.schedulers.condor.submit.written import write_value

log = logging.getLogger(__name__)

_VANILLA = {"universe": "vanilla"}
TEMPLATES: dict[str, dict[str, Any]] = {
    "base": {},
    "vanilla_base": _VANILLA,
    "vanilla_transfer_files": _VANILLA | {"should_transfer_files": "YES", "when_to_transfer_output": "ON_EXIT"},
    "vanilla_nfs": {**_VANILLA, "should_transfer_files": "NO", "transfer_executable": False},
}

_ANY_MACRO = re.compile(r"\$[A-Za-z_]*\(")
#: Macros that are numbers, so that they lead to no other folder.
_NUMBERS = re.compile(r"(?<!\$)\$\((?:Cluster|ClusterId|Process|ProcId|Step|Row)\)", re.IGNORECASE)
#: The one that is known before the submission.
_PROC = re.compile(r"(?<!\$)\$\((?:Process|ProcId)\)", re.IGNORECASE)
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
    #: Of each proc, values of more macros; empty: none.
    items: Sequence[Item] = ()


@dataclass(frozen=True)
class Description:
    """The description for HTCondor."""

    text: str
    count: int
    #: Whether inputs are spooled and outputs fetched.
    spool: bool
    #: Folders, relative to each proc's own, that must exist for its logs.
    folders: tuple[str, ...]
    #: Paths of logs and outputs, relative to the same, in folders that differ by proc, with macros.
    places: tuple[str, ...]
    #: Paths of ``log``, ``output`` and ``error``, relative to the job directory, with macros.
    logs: Mapping[str, str]
    #: Of each proc, values of more macros.
    items: Sequence[Item] = ()
    #: Whether HTCondor makes the procs a few at a time.
    late: bool = False

    @property
    def submission(self) -> Submission:
        """The request to an access point."""
        return Submission(self.text, self.count, self.spool, self.items)


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


def describe(request: Request) -> Description:
    """The submit description of a request.

    Raises:
        DescriptionError: no executable, a file that is missing, a path outside the job directory, an unknown
        submit command, a name that HTCondor cannot transfer.
    """
    chosen, macros, transfers = _chosen(request)
    _find_files(request, chosen, _input_files(request, macros), transfers)
    places = _own_files(request, chosen, macros)
    logs = {command: chosen[command] for command in ("log", "output", "error")}
    if transfers:
        streams.flatten(chosen, macros)
        chosen["initialdir"] = f"{literal(incoming(request.directory))}/$(Process)"
        late.without(chosen, f"the {request.what} {request.name!r}")
        # Outputs wait at the access point until they are fetched; then the job is removed from the queue.
        chosen["leave_in_queue"] = "JobStatus == 4"
    else:
        _refuse_folders(places, "without file transfer, HTCondor makes no folders")
        chosen["initialdir"] = literal(request.directory)
    chosen.setdefault("batch_name", slug(request.name))
    if request.token:
        chosen["My.PrefectJobsToken"] = f'"{request.token}"'
    return _finished(request, chosen, transfers, places, logs)


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
    places = _own_files(request, chosen, macros)
    _refuse_folders(places, "DAGMan makes no folders")
    if not transfers:
        chosen["initialdir"] = literal(request.directory)
    logs = {command: chosen[command] for command in ("log", "output", "error")}
    return _finished(request, chosen, transfers, places, logs)


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
    for name in request.items[0] if request.items else ():
        macros.pop(name.lower(), None)  # an item's value wins over a command of this name
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


def _own_files(request: Request, chosen: dict[str, Any], macros: Mapping[str, str]) -> list[str]:
    """Sets the paths of logs; returns the paths of logs and outputs in the job directory."""
    places: list[str] = []
    for command, default in default_logs(request.name).items():
        path = _inside(request.directory, str(chosen.get(command) or default), command, macros, request.items)
        chosen[command] = path
        if not URL.match(path):
            places.append(path)
    for target in _remap_targets(chosen.get("transfer_output_remaps"), macros):
        path = _inside(request.directory, target, "transfer_output_remaps", macros, request.items)
        if not URL.match(path):
            places.append(path)
    return places


def _by_proc(path: str) -> bool:
    """Whether the folder of a path may be another one for each proc."""
    return _ANY_MACRO.search(_NUMBERS.sub("", path)) is not None or _ANY_MACRO.search(_parent(path)) is not None


def _parent(path: str) -> str:
    return str(PurePosixPath(path).parent)


def _refuse_folders(places: Sequence[str], why: str) -> None:
    """
    Raises:
        DescriptionError: the folder of a path is another one for each proc.
    """
    for path in places:
        if _ANY_MACRO.search(_parent(path)):
            raise DescriptionError(f"{path!r}: {why} for each process. Use macros only in the name of the file.")


def _finished(
    request: Request, chosen: dict[str, Any], transfers: bool, places: Sequence[str], logs: Mapping[str, str]
) -> Description:
    written = {name: _written(name, value) for name, value in chosen.items()}
    for name in ("arguments", "arguments2", "environment", "environment2"):
        if request.items and not isinstance(chosen.get(name, ""), str):
            _check_quotes(name, written[name], request.items)
            written[name] = write_value(name, chosen[name], request.items[0])
    if request.items:
        _check_remaps(written.get("transfer_output_remaps", ""), request.items)
    text = "".join(f"{name} = {value}\n" for name, value in written.items())
    folders = {"logs", *(_parent(path) for path in places if not _ANY_MACRO.search(_parent(path)))}
    own = tuple(path for path in places if _by_proc(path))
    late_too = late.is_late(chosen)
    return Description(text, request.count, transfers, tuple(sorted(folders)), own, logs, request.items, late_too)


def _check_remaps(text: str, items: Sequence[Item]) -> None:
    """
    Raises:
        DescriptionError: a value has a character that separates names there.
    """
    for number, item in enumerate(items):
        for name, value in item.items():
            if uses(text, (name,)) and re.search(r"[;=\"\\]", value):
                raise DescriptionError(
                    f'transfer_output_remaps uses $({name}), and its value in items[{number}] has one of ; = " and \\: '
                    f"{value!r}. No name can have these in it."
                )


def _check_quotes(name: str, text: str, items: Sequence[Item]) -> None:
    """
    Raises:
        DescriptionError: a value in arguments or environment, which are given as a list or dict, has a quote: HTCondor
        would read it as the end of the word.
    """
    for macro in items[0]:
        if not uses(text, (macro,)):
            continue
        number, value = next(
            ((number, item[macro]) for number, item in enumerate(items) if "'" in item[macro] or '"' in item[macro]),
            (0, ""),
        )
        if value:
            raise DescriptionError(
                f"{name} uses $({macro}), and its value in items[{number}] has a quote: {value!r}. HTCondor has no way "
                "to write that. Put it into a file, and send that."
            )


def _input_files(request: Request, macros: Mapping[str, str]) -> InputFiles:
    return InputFiles(
        request.input_files,
        [request.directory, *request.search],
        links=request.links,
        count=request.count,
        macros=macros,
        items=request.items,
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


def _inside(directory: Path, given: str, command: str, macros: Mapping[str, str], items: Sequence[Item] = ()) -> str:
    """The path relative to the job directory, with the job's own macros resolved, but those of items.

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
    for number in range(len(items) or 1):
        _check_place(given, relative, command, items, number)
    return relative


def _check_place(given: str, relative: str, command: str, items: Sequence[Item], number: int) -> None:
    """
    Raises:
        DescriptionError: a path is none for a proc, or leads elsewhere.
    """
    own = expand(relative, item_data.macros_of(items, number))
    folder, _, name = own.rpartition("/")
    if _ANY_MACRO.search(_PROC.sub("", folder)) or _ANY_MACRO.search(_NUMBERS.sub("", name)):
        of_items = ", the names of items" if items else ""
        raise DescriptionError(
            f"{command} = {given!r}: use only $(Process){of_items}, and $(Cluster) in the name of the file."
        )
    if items and (name in ("", ".", "..") or os.path.normpath(own).startswith(("/", "../"))):
        raise DescriptionError(
            f"{command} = {given!r} is {own!r} for items[{number}], which is no path of a file in the job directory."
        )
