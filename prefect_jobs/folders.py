"""Folders of this machine: those that last, and what relative paths are relative to."""

import os
import tempfile
from pathlib import Path

#: Set by Prefect for a process that it starts for one flow run.
_RUN_VARIABLE = "PREFECT__FLOW_RUN_ID"


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


def absolute(path: str | os.PathLike[str], instead: str | os.PathLike[str]) -> str:
    """A path made absolute.

    Args:
        path: as a person wrote it; ``~`` is the home folder. Empty: ``instead`` itself.
        instead: what it is relative to where the working directory does not last.
    """
    text = os.path.expanduser(path)  # noqa: PTH111 (Path's raises for a name that is no user's)
    if not text:
        return os.path.normpath(instead)
    return os.path.normpath((lasting_folder() or Path(instead)) / text)
