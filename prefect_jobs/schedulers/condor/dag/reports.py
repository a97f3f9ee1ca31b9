"""The files that DAGMan writes: node status file, rescue DAG, log."""

import glob
import re
from pathlib import Path

from prefect_jobs.schedulers.condor.dag.file import DAG_NAME, STATUS_NAME

_BLOCK = re.compile(r"\[(.*?)^\]", re.DOTALL | re.MULTILINE)
_NODE = re.compile(r'^\s*Node\s*=\s*"((?:[^"\\]|\\.)*)";', re.MULTILINE)
_STATUS = re.compile(r"^\s*NodeStatus\s*=\s*(\d+);", re.MULTILINE)
_DETAILS = re.compile(r'^\s*StatusDetails\s*=\s*"((?:[^"\\]|\\.)*)";', re.MULTILINE)
_RESCUE = re.compile(r"\.rescue(\d+)$")
_STAMP = re.compile(r"^\d\d/\d\d/\d\d \d\d:\d\d:\d\d ")
_FAILED = re.compile(r"^\s*Node Name: (\S+)$(?:(?!Node Name:).)*?^\s*Error: ([^\n]*)$", re.MULTILINE | re.DOTALL)
#: Bytes at the end of DAGMan's log that are searched for errors.
_TAIL = 64 * 1024


def read_status(directory: Path, name: str = STATUS_NAME) -> dict[str, tuple[int, str]]:
    """The node status file: DAGMan's name of a node → NodeStatus and details; empty if there is none."""
    try:
        text = (directory / name).read_text(errors="replace")
    except OSError:
        return {}
    found: dict[str, tuple[int, str]] = {}
    for block in _BLOCK.findall(text):
        node, status, details = _NODE.search(block), _STATUS.search(block), _DETAILS.search(block)
        if node and status:
            found[node[1]] = (int(status[1]), _unescaped(details[1]) if details else "")
    return found


def rescue_files(directory: Path, dag: str = DAG_NAME) -> list[Path]:
    """The rescue DAGs of a DAG file, the newest one last."""
    found = [
        (int(number[1]), path)
        for path in directory.glob(f"{glob.escape(dag)}.rescue*")
        if (number := _RESCUE.search(path.name))
    ]
    return [path for _, path in sorted(found)]


def read_rescue(directory: Path, dag: str = DAG_NAME) -> list[str] | None:
    """The names of the nodes that are done by the newest rescue DAG; ``None`` if there is none."""
    files = rescue_files(directory, dag)
    if not files:
        return None
    lines = files[-1].read_text(errors="replace").splitlines()
    return [words[1] for words in (line.split() for line in lines) if len(words) == 2 and words[0] == "DONE"]


def complaints(directory: Path) -> str:
    """The errors at the end of DAGMan's log; empty if there are none."""
    try:
        with (directory / f"{DAG_NAME}.dagman.out").open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    lines = [_STAMP.sub("", line).strip() for line in lines]
    said = [line for line in lines if "ERROR" in line or "Failed to parse" in line]
    said = [line for line in said if "following job(s) failed" not in line and "D_ERROR" not in line]
    if any("Warning is fatal" in line for line in said):
        said = [*[line for line in lines if line.startswith("Warning:")][-1:], *said]
    return " ".join(dict.fromkeys(said))[:1000]


def failures(path: Path) -> dict[str, str]:
    """The nodes that failed, by the log of a DAGMan, and why; empty if there is no such log."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return {}
    said = "\n".join(_STAMP.sub("", line) for line in text.splitlines())
    _, found, block = said.rpartition("ERROR: the following job(s) failed:")
    return {name: " ".join(why.split()) for name, why in _FAILED.findall(block)} if found else {}


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
