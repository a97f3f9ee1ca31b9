"""From a job's submit commands to a submit description. Pure, but for looking whether files are there.

The rules are condor_submit's (HTCondor manual, "condor_submit"); arguments and environment are written in
the new quoted syntax, so that spaces and quotes arrive as they were given.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from prefect_jobs.schedulers.condor import commands

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

#: What HTCondor splits lists of files at; no quoting helps (tried with 23.9 and 25.14).
_SEPARATORS = re.compile(r"[,\s]")
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
_ATTRIBUTE = re.compile(r"^(\+|[Mm][Yy]\.)[A-Za-z_][A-Za-z0-9_.]*$")
_COMMAND = re.compile(r"^[A-Za-z_][A-Za-z0-9_.]*$")


class DescriptionError(ValueError):
    """The job cannot be described to HTCondor as it is; the message says what to change."""


@dataclass(frozen=True)
class Request:
    """What is to be submitted."""

    name: str
    attributes: Mapping[str, Any]
    #: The job's own directory.
    directory: Path
    #: Folders in which relative names are looked for, after the directory.
    search: Sequence[Path] = ()
    input_files: Sequence[str] = ()
    count: int = 1
    token: str = ""
    #: An empty folder, its path free of spaces, for links to files whose path is not.
    links: Path | None = None
    #: Submit commands for this submission only.
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Description:
    """What HTCondor is given."""

    text: str
    count: int
    #: Whether inputs are sent to the access point and outputs fetched from it.
    spool: bool
    #: Folders, relative to each process' own, that must be there for its logs.
    folders: tuple[str, ...]


def incoming(directory: Path) -> Path:
    """Where outputs arrive, in a folder for each process, before they are put into ``directory``: names that
    several processes wrote do not overwrite each other, and no half-written file is ever seen."""
    return directory / ".incoming"


def check_command(name: str, value: Any) -> None:
    """Refuses what can be told to be wrong before the whole job is known.

    Raises:
        ValueError: not the name of a command, a refused one, a line break, a value of a wrong kind.
    """
    if not isinstance(name, str) or not (_COMMAND.match(name) or _ATTRIBUTE.match(name)):
        raise ValueError(f"{name!r} is not the name of a submit command.")
    if name.lower() in commands.REFUSED:
        raise ValueError(f"The submit command {name!r} is not possible here: {commands.REFUSED[name.lower()]}.")
    write_value(name, value)


def write_value(name: str, value: Any) -> str:
    """A value as HTCondor wants it.

    Raises:
        ValueError: a line break (a submit description has one command a line), or a value that is neither
            text, number, boolean, nor a list or dict where the command takes one.
    """
    key = commands.SAME.get(name.lower(), name.lower())
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if key in ("arguments", "arguments2"):
        text = _arguments(value)
    elif key in ("environment", "environment2"):
        text = _environment(value)
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
    return text


def describe(request: Request) -> Description:
    """The submit description of a request.

    Raises:
        DescriptionError: no executable, a file that is missing, a path outside the job's directory, an unknown
            submit command, a name that HTCondor cannot transfer.
    """
    given = {**request.attributes, **request.extra}
    chosen: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        try:
            check_command(name, value)
        except ValueError as error:
            raise DescriptionError(str(error)) from None
        chosen[commands.SAME.get(name.lower(), name if commands.is_attribute(name) else name.lower())] = value
    chosen.setdefault("universe", "vanilla")
    transfers = str(chosen.setdefault("should_transfer_files", "YES")).strip().strip('"').upper() != "NO"
    if transfers:
        chosen.setdefault("when_to_transfer_output", "ON_EXIT")

    files = _Files(request)
    executable = chosen.get("executable") or chosen.get("docker_image") or chosen.get("container_image")
    if not executable or not str(executable).strip():
        raise DescriptionError(
            f"The job {request.name!r} has no executable: "
            "set it with attributes={'executable': …} or set_attribute('executable', …)."
        )
    sends_executable = str(chosen.get("transfer_executable", True)).lower() not in ("false", "0", "no")
    if "executable" in chosen and sends_executable:
        chosen["executable"] = files.executable(str(chosen["executable"]))
    if transfers:
        inputs = files.inputs(chosen.get("transfer_input_files", ()), str(chosen.get("executable", "")))
        if inputs:
            chosen["transfer_input_files"] = ", ".join(inputs)
        _check_output_names(chosen.get("transfer_output_files"))
    if isinstance(chosen.get("input"), str) and transfers:
        chosen["input"] = files.plain(str(chosen["input"]), "standard input")

    base = slug(request.name)
    folders = {"logs"}
    for command, default in (
        ("output", f"logs/{base}.$(Cluster).$(Process).out"),
        ("error", f"logs/{base}.$(Cluster).$(Process).err"),
        ("log", f"logs/{base}.$(Cluster).$(Process).log"),
    ):
        path = _inside(request.directory, str(chosen.get(command, default)), command)
        chosen[command] = path
        folders.add(str(PurePosixPath(path).parent))
    for target in _remap_targets(chosen.get("transfer_output_remaps")):
        folders.add(str(PurePosixPath(_inside(request.directory, target, "transfer_output_remaps")).parent))

    if transfers:
        chosen["initialdir"] = f"{incoming(request.directory)}/$(Process)"
        # Outputs wait at the access point until they are fetched; then the job is removed from the queue.
        chosen["leave_in_queue"] = "JobStatus == 4"
    else:
        chosen["initialdir"] = str(request.directory)
    chosen.setdefault("batch_name", base)
    if request.token:
        chosen["My.PrefectJobsToken"] = f'"{request.token}"'

    written = {name: write_value(name, value) for name, value in chosen.items()}
    unknown = commands.unknown_commands({k: v for k, v in written.items() if k != "initialdir"})
    if unknown:
        raise DescriptionError("; ".join(unknown.values()))
    for name, value in written.items():
        if name == "initialdir" and ("\n" in value or "\r" in value):
            raise DescriptionError(f"The workspace {value!r} has a line break in its name; HTCondor cannot use it.")
    text = "".join(f"{name} = {value}\n" for name, value in written.items())
    return Description(text, request.count, transfers, tuple(sorted(folders)))


def slug(name: str, limit: int = 60) -> str:
    """A name for files made from any text: letters, digits, ``._-``; never empty, never hidden, never ``..``."""
    text = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:limit].strip("-.")
    return text or "job"


class _Files:
    """Finds the local files that a job names, and links those whose path HTCondor would split."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._folders = [request.directory, *request.search]
        self._named: dict[str, Path] = {}
        for given in request.input_files:
            path = self._find(given)
            if path is None:
                raise DescriptionError(f"The input file {given!r} (remote_input_files) does not exist.{self._where()}")
            self._named.setdefault(path.name, path)
            self._named.setdefault(given, path)

    def executable(self, given: str) -> str:
        path = self._look_up(given, "executable")
        if path.is_dir():
            raise DescriptionError(f"The executable {given!r} is a directory; name the program in it.")
        if not os.access(path, os.R_OK):
            raise DescriptionError(f"The executable {str(path)!r} cannot be read by this process.")
        return str(path)

    def plain(self, given: str, what: str) -> str:
        return str(self._look_up(given, what))

    def inputs(self, given: Any, executable: str) -> list[str]:
        """Everything to be sent: what transfer_input_files names, then the other remote_input_files."""
        found: dict[str, None] = {}
        paths: set[str] = {executable}
        for item in _items(given):
            if _URL.match(item):
                found[item] = None
                continue
            path = self._look_up(item, "transfer_input_files")
            # HTCondor's rule: DIR sends the directory, DIR/ what is in it.
            contents = item.endswith("/")
            if contents and not path.is_dir():
                raise DescriptionError(f"The input {item!r} ends with a slash but is not a directory.")
            found[self._sendable(path, contents)] = None
            paths.add(str(path))
        for path in dict.fromkeys(self._named.values()):
            if str(path) not in paths:
                found[self._sendable(path, False)] = None
        return list(found)

    def _sendable(self, path: Path, contents: bool) -> str:
        if not os.access(path, os.R_OK):
            raise DescriptionError(f"The input file {str(path)!r} cannot be read by this process.")
        if not contents and _SEPARATORS.search(path.name):
            raise DescriptionError(
                f"The input file {path.name!r} has a space or a comma in its name, at which HTCondor splits its "
                "lists of files. Rename it, or put it into a directory and send that."
            )
        text = str(path)
        if _SEPARATORS.search(text):
            text = str(self._link(path, contents))
        return text + "/" if contents else text

    def _link(self, path: Path, contents: bool) -> Path:
        folder = self._request.links
        if folder is None or _SEPARATORS.search(str(folder)):
            raise DescriptionError(
                f"The path {str(path)!r} has a space or a comma in it, at which HTCondor splits its lists of files."
            )
        for number in range(10_000):
            link = folder / str(number) / ("contents" if contents else path.name)
            if not link.is_symlink():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(path.absolute())
                return link
        raise DescriptionError("The job has more than 10,000 input files with spaces in their paths.")

    def _look_up(self, given: str, what: str) -> Path:
        bare = given.rstrip("/")
        named = self._named.get(given) or self._named.get(bare)
        if named is None and PurePosixPath(bare).parent in (PurePosixPath(".."), PurePosixPath(".")):
            named = self._named.get(PurePosixPath(bare).name)
        path = named or self._find(bare or given)
        if path is None:
            raise DescriptionError(f"The file {given!r} ({what}) does not exist.{self._where()}")
        return path

    def _find(self, given: str) -> Path | None:
        if "\0" in given:
            return None
        path = Path(given).expanduser()
        candidates = [path] if path.is_absolute() else [folder / path for folder in self._folders]
        for candidate in candidates:
            try:
                if candidate.exists():
                    return Path(os.path.abspath(candidate))
            except OSError:
                continue  # a name too long for this file system is not there
        return None

    def _where(self) -> str:
        return " Looked in: " + ", ".join(str(folder) for folder in self._folders) + "."


def _items(given: Any) -> list[str]:
    if given is None:
        return []
    if isinstance(given, str):
        return [item for item in (part.strip() for part in given.split(",")) if item]
    if isinstance(given, os.PathLike):
        return [os.fspath(given)]
    if isinstance(given, Iterable):
        return [os.fspath(item) for item in given]
    raise DescriptionError(f"A list of files is needed, not {given!r}.")


def _check_output_names(given: Any) -> None:
    for item in _items(given):
        if _SEPARATORS.search(item):
            raise DescriptionError(
                f"The output {item!r} has a space or a comma in its name, at which HTCondor splits its lists of "
                "files. Leave transfer_output_files out: then every new file comes back, whatever its name."
            )


def _remap_targets(given: Any) -> list[str]:
    if given is None:
        return []
    if isinstance(given, Mapping):
        return [str(target) for target in given.values()]
    pairs = str(given).strip().strip('"').split(";")
    return [pair.partition("=")[2].strip() for pair in pairs if "=" in pair]


def _inside(directory: Path, given: str, command: str) -> str:
    """The path relative to the job's directory.

    Raises:
        DescriptionError: it leads out of it.
    """
    if _URL.match(given):
        return given
    text = given.strip()
    if os.path.isabs(text):
        relative = os.path.relpath(text, directory)
    else:
        relative = os.path.normpath(text)
    if relative == ".." or relative.startswith("../") or os.path.isabs(relative):
        raise DescriptionError(
            f"{command} = {given!r} leads out of the job's directory {str(directory)!r}. Use a path inside it."
        )
    return relative


def _arguments(value: Any) -> str:
    if isinstance(value, str):
        stripped = value.strip()
        if stripped.startswith('"'):
            return stripped  # the user wrote the new syntax
        # HTCondor's old syntax: words between white space, \" for a quote, nothing else special.
        words: list[Any] = [word.replace('\\"', '"') for word in stripped.split()]
    elif isinstance(value, list | tuple):
        words = list(value)
    elif isinstance(value, int | float):
        words = [value]
    else:
        raise ValueError(f"arguments are a text or a list, not {value!r}.")
    return '"' + " ".join(_quoted(str(word)) for word in words) + '"'


def _environment(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = [(str(name), str(item)) for name, item in value.items()]
    elif isinstance(value, list | tuple):
        pairs = [_pair(str(item)) for item in value]
    elif isinstance(value, str):
        stripped = value.strip()
        if stripped.startswith('"') or not stripped:
            return stripped or '""'
        # The old syntax: NAME=value;NAME=value.
        pairs = [_pair(item) for item in stripped.split(";") if item.strip()]
    else:
        raise ValueError(f"environment is a dict, a list or a text, not {value!r}.")
    for name, _ in pairs:
        if not re.fullmatch(r"[^\s=;'\"]+", name):
            raise ValueError(f"{name!r} cannot be the name of an environment variable.")
    return '"' + " ".join(f"{name}={_quoted(item)}" for name, item in pairs) + '"'


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.strip().partition("=")
    if not separator:
        raise ValueError(f"environment: {text!r} is not NAME=value.")
    return name, value


def _quoted(word: str) -> str:
    """A word of the new syntax: white space and single quotes need single quotes, double ones are doubled."""
    text = word.replace('"', '""')
    if not text or re.search(r"[\s']", text):
        text = "'" + text.replace("'", "''") + "'"
    return text
