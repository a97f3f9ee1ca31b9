"""Folders of this machine: those that last, what relative paths are relative to, and temporary ones."""

import fcntl
import math
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import TracebackType

#: Set by Prefect for a process that it starts for one flow run.
_RUN_VARIABLE = "PREFECT__FLOW_RUN_ID"
#: What the names of temporary folders begin with; then their kind and the pid follow.
_PREFIX = "prefect-jobs-"
#: In a temporary folder: locked by the process that made it for as long as that lives.
_LOCK = ".lock"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
#: Seconds between two searches for what killed processes left behind: reading a full temporary folder takes time.
_SEARCH_INTERVAL = 60.0


def prefect_home() -> Path:
    """The Prefect home: ``PREFECT_HOME``, or ``~/.prefect``."""
    return Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect").expanduser().absolute()


def working_folder() -> Path | None:
    """The working directory; ``None`` where it is gone."""
    try:
        return Path.cwd()
    except OSError:
        return None


def lasting_folder() -> Path | None:
    """The working directory; ``None`` where it is gone, or goes when the flow run ends that this process executes: a
    Prefect worker runs each in a temporary folder."""
    folder = working_folder()
    if folder is None or not os.environ.get(_RUN_VARIABLE):
        return folder
    fleeting = Path(tempfile.gettempdir()).resolve()
    return None if folder.resolve().is_relative_to(fleeting) else folder


def absolute(path: str | os.PathLike[str], instead: Callable[[], str]) -> str:
    """A path made absolute.

    Args:
        path: as a person wrote it; ``~`` is the home folder. Empty: what ``instead`` returns.
        instead: returns what it is relative to where the working directory does not last.
    """
    text = os.path.expanduser(path)  # noqa: PTH111 (Path's raises for a name that is no user's)
    if not text or os.path.isabs(text):  # noqa: PTH117 (each call of each job comes by)
        return os.path.normpath(text or instead())
    return os.path.normpath((lasting_folder() or Path(instead())) / text)


class TemporaryFolder:
    """A private folder in the system's temporary one, removed when it is left.

    Making one removes those that killed processes of this user and host left behind, at most once a minute in each
    process. A pid cannot tell which these are: it is used again, and means nothing to another container that shares
    the folder. A lock can: the kernel frees it when the last process that holds it ends.
    """

    _next_search = -math.inf

    def __init__(self, kind: str) -> None:
        """
        Args:
            kind: what it is for, a part of its name.
        """
        self._search()
        self.path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{kind}-{os.getpid()}-"))
        self._owner = os.getpid()
        self._lock: int | None = None
        try:
            # Locked before it has its name: nobody may find the folder without the lock.
            new = self.path / f"{_LOCK}.new"
            self._lock = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(self._lock, "\n".join(_host()).encode())
            if _lock(self._lock):
                new.rename(self.path / _LOCK)
        except OSError:
            self.remove()
            raise

    @classmethod
    def _search(cls) -> None:
        if time.monotonic() >= cls._next_search:
            cls._next_search = time.monotonic() + _SEARCH_INTERVAL
            remove_leftovers()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    @property
    def lock(self) -> int:
        """The file descriptor of the lock. A process that inherits it keeps the folder, too, until it ends.

        Raises:
            ValueError: the folder was removed.
        """
        if self._lock is None:
            raise ValueError(f"The folder {self.path} was removed.")
        return self._lock

    def remove(self) -> None:
        """Removes the folder, once; a forked child leaves that to its parent."""
        if os.getpid() == self._owner:
            shutil.rmtree(self.path, ignore_errors=True)
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


def remove_leftovers() -> None:
    """Removes the temporary folders of this user and host whose processes were killed."""
    parent = Path(tempfile.gettempdir())
    try:
        names = [name for name in os.listdir(parent) if name.startswith(_PREFIX)]  # noqa: PTH208  (there may be many)
    except OSError:
        return  # one may write there, and not read
    for folder in (parent / name for name in names):
        try:
            if folder.lstat().st_uid == os.geteuid():
                _remove_if_free(folder)
        except OSError:
            continue  # not one of ours, or gone at this moment


def _remove_if_free(folder: Path) -> None:
    """
    Raises:
        OSError: it has no lock, or that cannot be read.
    """
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    try:
        # On a file system that hosts share, locks of another one may not be seen.
        here = set(os.read(lock, 1000).decode(errors="replace").split("\n")) & set(_host())
        if here and _lock(lock):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _lock(file: int) -> bool:
    """Locks an open file; whether that was possible: nobody else has locked it, and the file system has locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@cache
def _host() -> tuple[str, ...]:
    """What this host is known by: its name, which outlives a restart, and its kernel's, which containers share."""
    try:
        return socket.gethostname(), _BOOT_ID.read_text().strip()
    except OSError:
        return (socket.gethostname(),)
