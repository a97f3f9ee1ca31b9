"""Files and folders shared with other processes and users of this machine."""

import contextlib
import os
from collections.abc import Iterator
from fcntl import LOCK_EX, flock
from pathlib import Path


def replace_text(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace a file atomically. At no time can users read it whom `mode` excludes."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        os.fchmod(file.fileno(), mode)
    fresh.replace(path)


def make_directory(path: Path, mode: int) -> None:
    """Create a folder and its missing parents, all with that mode, independent of the umask."""
    if path.is_dir():
        return
    make_directory(path.parent, mode)
    path.mkdir(exist_ok=True)
    path.chmod(mode)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock among processes while the block runs. Waits until another process releases it."""
    with path.open("a") as file:
        flock(file, LOCK_EX)
        yield


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log file, or the reason why it cannot be read."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return f"({error.strerror or error})"
