"""Moves outputs from the folder that receives them to the job directory, without overwriting any silently."""

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from prefect_jobs.schedulers.condor.submit import item_data
from prefect_jobs.schedulers.condor.submit.description import incoming
from prefect_jobs.schedulers.condor.submit.input_files import expand
from prefect_jobs.schedulers.condor.submit.item_data import Item
from prefect_jobs.schedulers.condor.submit.streams import path_of


def prepare(
    directory: Path, count: int, folders: Iterable[str], places: Sequence[str] = (), items: Sequence[Item] = ()
) -> None:
    """Makes the folders that receive the outputs of ``count`` procs.

    Args:
        directory: of the job.
        count: number of procs.
        folders: of each proc.
        places: paths of files, with macros, whose folders differ by proc.
        items: of each proc, values of macros.

    Raises:
        OSError: they cannot be made.
    """
    for proc in range(count):
        base, macros = incoming(directory) / str(proc), item_data.of_proc(items, proc)
        for folder in folders:
            (base / folder).mkdir(parents=True, exist_ok=True)
        for place in places:
            (base / expand(place, macros)).parent.mkdir(parents=True, exist_ok=True)


def clear(directory: Path) -> None:
    """Removes what was received and never moved."""
    shutil.rmtree(incoming(directory), ignore_errors=True)


def put_in_place(directory: Path, place_of: Callable[[int, str], str] | None = None) -> dict[str, list[str]]:
    """Moves everything that was received into the job directory.

    A name that several procs wrote is kept once for each, as ``name.<proc>``.

    Args:
        directory: of the job.
        place_of: for a proc and the path of a file of it: its path in the job directory, if it is another one.

    Returns:
        The names that several procs wrote → their names now.

    Raises:
        OSError: a file could not be moved; another call continues.
    """
    arrived: dict[str, list[tuple[str, Path]]] = {}
    root = incoming(directory)
    for proc in sorted(_folders(root), key=int):
        base = root / proc
        for folder, _, names in os.walk(base):
            for name in names:
                path = Path(folder) / name
                relative = path_of(str(path.relative_to(base)))
                if place_of is not None:
                    relative = place_of(int(proc), relative)
                arrived.setdefault(relative, []).append((proc, path))
    shared: dict[str, list[str]] = {}
    for relative, sources in arrived.items():
        if len(sources) == 1:
            _move(sources[0][1], directory / relative)
            continue
        shared[relative] = []
        for proc, path in sources:
            name = f"{relative}.{proc}"
            _move(path, directory / name)
            shared[relative].append(name)
    _remove_empty(root)
    return shared


def largest(directory: Path, most: int = 30) -> tuple[list[tuple[str, int]], int]:
    """The largest files in a job directory, with their sizes in bytes, and the number of all."""
    found: list[tuple[str, int]] = []
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder, name)
            with suppress(OSError):  # removed meanwhile
                if not path.is_symlink():
                    found.append((str(path.relative_to(directory)), path.stat().st_size))
    found.sort(key=lambda each: (-each[1], each[0]))
    return found[:most], len(found)


def tail(path: Path, lines: int = 20, limit: int = 4096) -> str:
    """The last lines of a text file, at most ``limit`` bytes of it; empty if there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:]).strip()


def _folders(root: Path) -> list[str]:
    if not root.is_dir():
        return []
    return [path.name for path in root.iterdir() if path.name.isdigit() and path.is_dir()]


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir() and not target.is_symlink():
        target = target.with_name(f"{target.name}.file")
    source.replace(target)


def _remove_empty(root: Path) -> None:
    for folder, _, _ in os.walk(root, topdown=False):
        try:
            Path(folder).rmdir()
        except OSError:
            continue  # it is not empty
