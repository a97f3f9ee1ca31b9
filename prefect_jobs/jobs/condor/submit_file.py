"""The argument ``submit_file``: a submit file becomes the submit commands, the items and the folder of a job."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from prefect_jobs.folders import TemporaryFolder
from prefect_jobs.jobs.condor import local_files
from prefect_jobs.jobs.condor.state import CondorState
from prefect_jobs.jobs.condor.submit_commands import ITEMS
from prefect_jobs.records import JobRecord
from prefect_jobs.schedulers.condor.submit import commands, description, file, item_data
from prefect_jobs.schedulers.condor.submit.input_files import URL, DescriptionError, expand, literal

#: The keyword argument, and the key in a spec.
OPTION = "submit_file"
#: Attribute of the job: the folder in the job directory for outputs, with macros; the file's ``initialdir``.
UNDER = "My.PrefectJobsOutputs"
#: The names of the command, and the commands whose paths are meant from there.
_INITIAL = ("initialdir", "initial_dir", "job_iwd")
_PATHS = ("transfer_input_files", "input", "output", "error", "log")
#: Other commands that name local files.
_FILES = (
    "container_image", "jar_files", "x509userproxy", "public_input_files", "transfer_common_input", "scitokens_file",
    "tool_daemon_cmd", "tool_daemon_input", "ec2_user_data_file", "manifest", "gce_auth_file",
)  # fmt: skip
_NO = ("no", "never", "false")


def merged(given: Mapping[str, Any], most: int) -> dict[str, Any]:
    """The keyword arguments of ``create_job`` with what a submit file says; what is given besides it wins.

    Args:
        given: the arguments, with the path of the file.
        most: number of procs of one job, at most.

    Raises:
        ValueError: the file cannot be read, or says what is not possible; names file and line.
    """
    path = file.path_of(given[OPTION])
    items, count = list(given.get(ITEMS) or ()), given.get("num_jobs", 1)
    replaced = None
    if items or count != 1:
        replaced = [str(name) for name in items[0]] if items and isinstance(items[0], Mapping) else []
    found = file.read(path, most, queue=replaced)
    wanted = dict(given.get("attributes") or {})
    for name in wanted:
        if name.lower() in {each.lower() for each in found.own}:
            raise ValueError(f"{path}: {name!r} decides what the file says, and is not possible besides it.")
    own = {commands.canonical(name) for name in wanted}
    attributes = {name: value for name, value in found.attributes.items() if commands.canonical(name) not in own}
    known = found.items or items[:1]
    under = _initial(attributes, path, known)
    for name, value in attributes.items():
        try:
            description.check_command(name, value)
        except ValueError as error:
            raise ValueError(f"{path}, line {file.line_of(name, path)}: {error}") from None
    _settle(attributes, path.parent, known)
    if under:
        attributes[UNDER] = f'"{under}"'
    if replaced is None:
        items, count = list(found.items), 1 if found.items else found.count or 1
    try:
        items = item_data.check(items, most)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return {**given, OPTION: str(path), "attributes": {**attributes, **wanted}, ITEMS: items, "num_jobs": count}


def _settle(attributes: dict[str, Any], folder: Path, items: Sequence[Mapping[str, Any]]) -> None:
    """Makes the paths of local files absolute, also those with macros."""
    macros = {
        **{name.lower(): str(value) for name, value in attributes.items()},
        **{str(name).lower(): str(value) for name, value in (items[0] if items else {}).items()},
    }
    there = {name for name in ("executable", "input") if _is_false(attributes.get(f"transfer_{name}"))}

    def settled(part: str) -> str:
        if not part or URL.match(part) or expand(part, macros).startswith(("/", "$", "~")):
            return part
        return f"{literal(folder)}/{part}"

    for name, value in attributes.items():
        command = commands.canonical(name)
        if command == "transfer_input_files":
            attributes[name] = ", ".join(settled(part.strip()) for part in value.split(",") if part.strip())
        elif command in ("executable", "input") and command not in there:
            attributes[name] = settled(value)
        elif command in _FILES:
            parts = [part.strip() for part in value.split(",")]
            attributes[name] = ", ".join(settled(part) if (folder / part).exists() else part for part in parts)


def _is_false(value: Any) -> bool:
    return str(value).strip().lower() in ("false", "0", "no")


def _initial(attributes: dict[str, Any], path: Path, items: Sequence[Mapping[str, str]]) -> str:
    """Removes ``initialdir`` from commands, and makes the paths that are meant from there meant from the folder of the
    file; returns it.

    Raises:
        ValueError: it leads out of that folder.
    """
    name = next((name for name in attributes if commands.canonical(name) in _INITIAL), None)
    if name is None:
        return ""
    line, given = file.line_of(name, path), attributes.pop(name).strip()
    transfer = str(attributes.get("should_transfer_files", "")).strip().lower()
    if transfer in _NO:
        raise ValueError(
            f"{path}, line {line}: {name} is possible with file transfer only, and should_transfer_files = {transfer}: "
            "without it the job runs in its job directory."
        )
    macros = {each.lower(): value for each, value in attributes.items()}
    folder = expand(given, macros)
    if folder.startswith("/"):
        folder = os.path.relpath(folder, path.parent)
    folder = os.path.normpath(folder)
    if folder == ".." or folder.startswith("../"):
        raise ValueError(
            f"{path}, line {line}: {name} = {given!r} leads out of the folder of the file. Outputs come back into the "
            "job directory, at the same relative paths; move the file, or leave the command out."
        )
    if folder == ".":
        return ""
    for number in range(len(items)):
        # (what a value may hold is known by item only)
        if not _is_inside(own := expand(folder, {**macros, **item_data.macros_of(items, number)})):
            raise ValueError(
                f"{path}, line {line}: {name} = {given!r} is {own!r} for items[{number}], which leads out of the "
                "folder of the file."
            )
    rest = " ".join(attributes.values())
    for each in [each for each in attributes if item_data.uses(given, (each,)) and not item_data.uses(rest, (each,))]:
        if not commands.is_known(each):
            del attributes[each]  # nothing else uses it
    known = {**macros, **item_data.macros_of(items, 0)}
    for command in [each for each in attributes if commands.canonical(each) in _PATHS]:
        parts = (
            [part.strip() for part in attributes[command].split(",")] if "files" in command else [attributes[command]]
        )
        moved = [
            part if not part or URL.match(part) or expand(part, known).startswith("/") else f"{folder}/{part}"
            for part in parts
        ]
        attributes[command] = ", ".join(moved)
    return folder


def _is_inside(folder: str) -> bool:
    """Whether a path stays in the folder that it is relative to."""
    return bool(folder) and not os.path.normpath(folder).startswith(("/", "../")) and os.path.normpath(folder) != ".."


def place_of(record: JobRecord) -> Callable[[int, str], str] | None:
    """Where the outputs of a job go, by process and path; ``None``: where they are."""
    under, items = str(record.spec["attributes"].get(UNDER) or "").strip('"'), record.spec.get(ITEMS) or ()
    if not under:
        return None
    cluster = {"cluster": str(record.remote_id), "clusterid": str(record.remote_id)}

    def place(proc: int, path: str) -> str:
        macros = {**item_data.of_proc(items, proc), **cluster}
        folder = expand(under, macros)
        whole = path.startswith(f"{folder}/") or path in {
            expand(log, macros) for log in CondorState(record).logs.values()
        }
        # (a job may have any value for this attribute)
        return path if whole or not _is_inside(folder) else f"{folder}/{path}"

    return place


def check_files(spec: Mapping[str, Any]) -> None:
    """Checks that the files are there that the job of a submit file sends.

    Args:
        spec: of the job.

    Raises:
        ValueError: one is not there, or HTCondor cannot take it; names the submit file.
    """
    folder = Path(spec[local_files.FOLDER])
    with ExitStack() as stack:
        request = description.Request(
            name="job",
            attributes=spec["attributes"],
            directory=folder / ".no-such-folder",
            search=[folder],
            input_files=spec["remote_input_files"],
            count=len(spec[ITEMS]) or spec["num_jobs"],
            links=lambda: stack.enter_context(TemporaryFolder("links")),
            items=spec[ITEMS],
        )
        try:
            description.describe(request)
        except DescriptionError as error:
            text = str(error).replace(f"{request.directory}, ", "").replace(f" {str(request.directory)!r}", "")
            raise ValueError(f"{spec[OPTION]}: {text}") from None


def folder_of(spec: Mapping[str, Any]) -> str | None:
    """The folder of the file of a spec, in which its relative paths are meant; ``None``: it is of no file."""
    return str(Path(spec[OPTION]).parent) if spec.get(OPTION) else None
