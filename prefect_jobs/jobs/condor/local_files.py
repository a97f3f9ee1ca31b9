"""Relative paths of local files keep the meaning that they had when they were set, in any process that submits the job.

A job stores the folder in which it was created, and the files that its submit commands name are searched there. Fields
that contain only paths become absolute at once, and so do submit commands that are set in another folder later.
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from prefect_jobs import folders
from prefect_jobs.schedulers.condor.submit import description
from prefect_jobs.schedulers.condor.submit.input_files import URL, items

#: Key in a spec: the folder in which it was created.
FOLDER = "folder"
#: Fields that are paths, or lists of them.
PATHS = ("remote_input_files", "pre_script", "post_script", "dag_file")
#: Submit commands that name local files.
COMMANDS = ("executable", "cmd", "transfer_input_files", "input", "stdin")
#: Values that HTCondor reads as false.
_FALSE = ("false", "f", "no", "0")


@dataclass(frozen=True)
class Places:
    """Where the relative names of a job, or of a node, are searched."""

    #: Its own folders: names of files there stay unchanged.
    own: Sequence[Path] = ()
    #: Folders that are searched after these, before the working directory.
    others: Sequence[Path] = ()
    #: Whether a name is that of a folder that nodes write: paths that begin with it are not local files.
    is_written: Callable[[str], bool] = lambda name: False

    def settle(self, given: str) -> str:
        """The absolute path of a local file. Returned unchanged if there is no such file, or if it is in one of the own
        folders."""
        bare = given.rstrip("/")
        if not bare or "\0" in given or "$(" in given or URL.match(given) or Path(given).is_absolute():
            return given
        path = Path(os.path.expanduser(bare))  # noqa: PTH111 (Path's raises for a name that is no user's)
        if _any_has(self.own, path):
            return given
        here = folders.lasting_folder()
        for folder in [*self.others, *([here] if here else [])]:
            if _any_has([folder], path):
                return os.path.normpath(folder / path) + given[len(bare) :]
        return given

    def is_foreign(self, given: str) -> bool:
        """Whether a path leads into the folder of another node."""
        parts = PurePosixPath(os.path.normpath(given)).parts
        return self.is_written(next((part for part in parts if part != ".."), ""))


def here() -> str | None:
    """The folder to store in a spec that is created now; ``None``: the working directory does not last."""
    folder = folders.lasting_folder()
    return None if folder is None else str(folder)


def search(folder: str | None) -> tuple[Path, ...]:
    """The folders to search last: the one in which the spec was created, and the working directory."""
    present = folders.working_folder()
    found = [Path(folder)] if folder else []
    return tuple(dict.fromkeys([*found, *([present] if present else [])]))


def settle(spec: dict[str, Any], base: Mapping[str, Any], places: Places) -> None:
    """Makes relative paths that were set in this process absolute, in place.

    Args:
        spec: the present spec.
        base: the stored spec.
        places: where files are searched.
    """
    for name in PATHS:
        if spec.get(name) and spec[name] != base.get(name):
            spec[name] = _settled(spec[name], places)
    before = base.get("attributes")
    if before is None or spec.get(FOLDER) == here():
        return  # they are searched in the right folder already
    attributes = spec["attributes"]
    changed = {name: value for name, value in attributes.items() if value != before.get(name)}
    attributes.update(_commands(changed, attributes, spec.get("remote_input_files") or (), places))


def settled(given: Mapping[str, Any], places: Places) -> dict[str, Any]:
    """Keyword arguments of ``create_job`` with absolute paths of local files, for a job that another process creates,
    in another folder."""
    found = dict(given)
    for name in PATHS:
        if found.get(name):
            found[name] = _settled(found[name], places)
    if isinstance(found.get("attributes"), Mapping):
        named = given.get("remote_input_files") or ()
        named = [named] if isinstance(named, str | os.PathLike) else named
        attributes = dict(found["attributes"])
        template = description.TEMPLATES.get(str(given.get("condorpy_template_name")), {})
        found["attributes"] = {**attributes, **_commands(attributes, {**template, **attributes}, named, places)}
    if found.get("nodes"):
        nodes = [dict(node) for node in found["nodes"]]
        names = {str(node.get(key)) for node in nodes for key in ("name", "dir") if node.get(key)}
        found["nodes"] = [settled(node, replace(places, is_written=names.__contains__)) for node in nodes]
    return found


def found_again(spec: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The keyword arguments of ``create_job`` that gave a stored spec, with absolute paths of local files.

    Args:
        spec: the spec.
        names: the keyword arguments.
    """
    folder = spec.get(FOLDER)
    given = {name: spec[name] for name in names if name in spec}
    return settled(given, Places(others=(Path(folder),) if folder else ()))


def _settled(value: Any, places: Places) -> Any:
    if isinstance(value, str | os.PathLike):
        return places.settle(os.fspath(value))
    return [places.settle(os.fspath(item)) for item in value]


def _not_sent(attributes: Mapping[str, Any]) -> set[str]:
    """The commands that name files of the execution machine, since those files are not transferred."""
    said = {str(name).lower(): str(value).strip().lower() for name, value in attributes.items()}
    found: set[str] = set()
    if said.get("transfer_executable") in _FALSE:
        found |= {"executable", "cmd"}
    if said.get("transfer_input") in _FALSE:
        found |= {"input", "stdin"}
    if said.get("should_transfer_files") == "no":
        found |= {"executable", "cmd", "input", "stdin"}
    return found


def _commands(
    attributes: Mapping[str, Any], whole: Mapping[str, Any], named: Sequence[Any], places: Places
) -> dict[str, Any]:
    """The submit commands that name local files, with absolute paths.

    Args:
        attributes: the commands.
        whole: all commands of the job.
        named: its ``remote_input_files``.
        places: where files are searched.
    """
    names = {PurePosixPath(os.fspath(item)).name for item in named}
    found: dict[str, Any] = {}
    there = _not_sent(whole)
    for command, value in attributes.items():
        if command.lower() not in COMMANDS or command.lower() in there:
            continue
        if command.lower() == "transfer_input_files":
            settled_items = list(_each(items(value), names, places))
            found[command] = ", ".join(settled_items) if isinstance(value, str) else settled_items
        elif isinstance(value, str | os.PathLike):
            (found[command],) = _each([os.fspath(value)], names, places)
    return found


def _each(given: Sequence[str], names: Collection[str], places: Places) -> Iterator[str]:
    for item in given:
        path = PurePosixPath(item.rstrip("/"))
        by_name = str(path.parent) in (".", "..") and path.name in names
        yield item if by_name or places.is_foreign(item) else places.settle(item)


def _any_has(places: Sequence[Path], path: Path) -> bool:
    for place in places:
        try:
            if (place / path).exists():
                return True
        except OSError:
            continue  # a name too long for this file system cannot exist
    return False
