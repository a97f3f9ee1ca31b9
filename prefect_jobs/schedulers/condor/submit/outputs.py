"""Moves outputs from the folder that receives them to the job directory, without overwriting any silently."""

import os
import shutil
from pathlib import Path

from prefect_jobs.schedulers.condor.submit.description import incoming
from prefect_jobs.schedulers.condor.submit.streams import path_of


def prepare(directory: Path, count: int, folders: tuple[str, ...]) -> None:
    """Makes the folders that receive the outputs of ``count`` procs.

    Raises:
        OSError: they cannot be made.
    """
    for proc in range(count):
        for folder in folders:
            (incoming(directory) / str(proc) / folder).mkdir(parents=True, exist_ok=True)


def clear(directory: Path) -> None:
    """Removes what was received and never moved."""
    shutil.rmtree(incoming(directory), ignore_errors=True)


def put_in_place(directory: Path) -> dict[str, list[str]]:
    """Moves everything that was received into the job directory.

    A name that several procs wrote is kept once for each, as ``name.<proc>``.

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
                arrived.setdefault(path_of(str(path.relative_to(base))), []).append((proc, path))
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
