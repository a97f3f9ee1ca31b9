"""The files that a hand-written DAG file names: its submit files, scripts, inner DAGs, and the files that those name.

DAGMan reads all of them at the access point; this module finds them, so that they are sent, too. A missing file is
left to DAGMan, whose message is better than a guess.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_LINE = re.compile(r"^\s*([A-Za-z_-]+)\s+(.*?)\s*$")
_COMMAND = re.compile(r"^\s*([A-Za-z_+.]+)\s*=\s*(.*?)\s*$")
#: ``queue <variables> from <file>``
_QUEUE = re.compile(r"^\s*queue\s.*\bfrom\s+([^\s(]+)\s*$", re.IGNORECASE)
_MACRO = re.compile(r"\$\([^)]*\)")
#: How many levels of inner DAGs are followed.
_DEPTH = 10


def files_of(path: Path) -> dict[str, Path]:
    """The files that belong to a DAG file, itself included.

    Returns:
        Path from the DAG's folder → the file. Absolute paths, and those that lead out of the folder, are left out.
    """
    root = path.absolute().parent
    found: dict[str, Path] = {path.name: path.absolute()}
    _follow(path.absolute(), root, PurePosixPath(), found, set(), _DEPTH)
    return found


def _follow(
    dag: Path,
    root: Path,
    below: PurePosixPath,
    found: dict[str, Path],
    seen: set[tuple[Path, PurePosixPath]],
    depth: int,
) -> None:
    if depth == 0 or (dag, below) in seen:
        return
    seen.add((dag, below))
    for kind, folder, name in _named(dag):
        place = below / folder
        file = _add(root, place / name, found)
        if file is None or not file.is_file():
            continue
        if kind == "dag":
            _follow(file, root, place, found, seen, depth - 1)
        elif kind == "submit":
            for other in _submit_inputs(file):
                _add(root, place / other, found)


def _add(root: Path, relative: PurePosixPath, found: dict[str, Path]) -> Path | None:
    if relative.is_absolute() or ".." in relative.parts or not relative.parts:
        return None
    file = root / relative
    if not file.exists():
        return None
    found[str(relative)] = file
    return file


def _named(dag: Path) -> Iterator[tuple[str, str, str]]:
    """(kind, folder, name) for each file that a DAG file names."""
    text = _joined(dag)
    folders: dict[str, str] = {}
    lines = [(found[1].upper(), found[2].split()) for found in map(_LINE.match, text.splitlines()) if found]
    for command, words in lines:
        if command in ("JOB", "FINAL", "SERVICE", "PROVISIONER", "SPLICE") and len(words) >= 2:
            folder = _after(words, "DIR")
            folders[words[0]] = folder
            yield ("dag" if command == "SPLICE" else "submit", folder, words[1])
        elif command == "SUBDAG" and len(words) >= 3:
            folder = _after(words, "DIR")
            folders[words[1]] = folder
            yield ("dag", folder, words[2])
        elif command in ("CONFIG", "INCLUDE", "SUBMIT-DESCRIPTION") and words:
            yield ("dag" if command == "INCLUDE" else "other", "", words[-1])
    for command, words in lines:
        if command == "SCRIPT":
            rest = _without_options(words)
            if len(rest) >= 3:
                places = {*folders.values(), ""} if rest[1].upper() == "ALL_NODES" else {folders.get(rest[1], "")}
                for folder in sorted(places):
                    yield ("other", folder, rest[2])


def _joined(file: Path) -> str:
    """A file's text with continued lines joined."""
    return file.read_text(errors="replace").replace("\\\n", " ")


def _without_options(words: list[str]) -> list[str]:
    """``[DEFER status time] [DEBUG file what] PRE|POST|HOLD node program …`` without the parts in brackets."""
    while len(words) > 3 and words[0].upper() in ("DEFER", "DEBUG"):
        words = words[3:]
    return words


def _after(words: list[str], keyword: str) -> str:
    for index, word in enumerate(words[:-1]):
        if index >= 2 and word.upper() == keyword:
            return words[index + 1]
    return ""


def _submit_inputs(file: Path) -> Iterator[str]:
    """Relative paths of the files that a submit file transfers."""
    commands: dict[str, str] = {}
    for line in _joined(file).splitlines():
        found, queue = _COMMAND.match(line), _QUEUE.match(line)
        if found:
            commands[found[1].lower()] = found[2]
        elif queue:
            yield queue[1]
    # The executable is searched in the folder of the submit file, inputs in the job's initial directory.
    executable = commands.get("executable", "")
    if executable and not _MACRO.search(executable):
        yield executable
    folder = PurePosixPath(commands.get("initialdir", ""))
    for name in (commands.get("input", ""), *map(str.strip, commands.get("transfer_input_files", "").split(","))):
        if name and not _MACRO.search(str(folder / name)):
            yield str(folder / name)
