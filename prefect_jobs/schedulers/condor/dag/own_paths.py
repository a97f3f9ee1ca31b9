"""Absolute paths into the folder of a DAG, in its own files: Pegasus writes them. At the access point they would mean
the folder of the one who submits, while the DAG runs in another one, so they become relative."""

import os
import re
from pathlib import Path

from prefect_jobs.schedulers.condor.submit import commands

_LINE = re.compile(r"^(\s*([A-Za-z_]\w*)\s*=[ \t]*)(.*?)(\s*)$", re.MULTILINE)
#: Submit commands with a path from the folder in which the file is submitted; those with one from ``initialdir``.
_OF_FOLDER = ("executable", "initialdir", "initial_dir")
_OF_INITIAL = ("input", "output", "error", "log", "transfer_input_files")


def has_any(text: str, home: Path) -> bool:
    """Whether a text has paths below a folder."""
    return f"{home}/" in text


def in_dag(text: str, home: Path) -> str:
    """A DAG file whose paths below a folder are relative to it. Unchanged if a node has a folder of its own."""
    if not has_any(text, home) or re.search(r"\sDIR\s", text, re.IGNORECASE):
        return text
    return re.sub(rf"(?<![^\s\"'=,]){re.escape(str(home))}/+", "", text)


def in_description(text: str, home: Path, folder: Path) -> str:
    """A submit file whose paths below a folder are relative.

    Args:
        text: of the file.
        home: the folder of the DAG.
        folder: in which the file is submitted.
    """
    if not has_any(text, home):
        return text
    given = {commands.canonical(found[2]): found[3] for found in _LINE.finditer(text)}
    initial = folder / (given.get("initialdir") or given.get("initial_dir") or "")

    def one(found: re.Match[str]) -> str:
        command = commands.canonical(found[2])
        if command not in (*_OF_FOLDER, *_OF_INITIAL):
            return found[0]
        start = folder if command in _OF_FOLDER else initial
        parts = [_relative(part, home, start) for part in re.split(r"(\s*,\s*)", found[3])]
        return f"{found[1]}{''.join(parts)}{found[4]}"

    return _LINE.sub(one, text)


def _relative(path: str, home: Path, start: Path) -> str:
    return os.path.relpath(path, start) if path.startswith(f"{home}/") else path
