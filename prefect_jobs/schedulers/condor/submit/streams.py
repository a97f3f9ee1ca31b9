"""Standard output and error that are streamed: written at the access point while the job runs.

HTCondor creates no folders for them there, and leaves them out of the outputs. So they are written under names without
folders, added to the outputs, and moved to their places when they are fetched.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from prefect_jobs.schedulers.condor.client import CondorClient
from prefect_jobs.schedulers.condor.submit.input_files import URL, expand, items

#: The attributes that :func:`add` needs.
ATTRIBUTES = ("ProcId", "StreamOut", "StreamErr", "Out", "Err", "SpooledOutputFiles")
#: Prefix of the names of streamed files.
_FLAT = "_prefect_jobs_stream_"
#: Values that HTCondor reads as true.
_TRUE = ("true", "t", "1")


def flat_name(path: str) -> str:
    """A name without folders for a path in the job directory; see :func:`path_of`."""
    return _FLAT + path.replace("%", "%25").replace("/", "%2F")


def path_of(name: str) -> str:
    """The final path of a file that was received under a name, made by :func:`flat_name` or not.

    A job may write a file of any name, also one that leads out of its directory: such a name is left unchanged.
    """
    path = name.removeprefix(_FLAT).replace("%2F", "/").replace("%25", "%")
    parts = PurePosixPath(path).parts
    if not name.startswith(_FLAT) or not parts or path.startswith("/") or ".." in parts:
        return name
    return path


def flatten(chosen: dict[str, Any], macros: Mapping[str, str]) -> None:
    """Changes, in place, the submit commands of a job whose output or error is streamed.

    Args:
        chosen: the commands; ``output`` and ``error`` are paths in the job directory.
        macros: as for :func:`expand`.
    """
    streamed: list[str] = []
    for command in ("output", "error"):
        wanted = expand(str(chosen.get(f"stream_{command}", "")), macros).strip().lower()
        if wanted in _TRUE and not URL.match(chosen[command]):
            chosen[command] = flat_name(chosen[command])
            streamed.append(chosen[command])
    listed = ", ".join(items(chosen.get("transfer_output_files")))
    if streamed and listed:
        del chosen["transfer_output_files"]
        chosen["My.TransferOutput"] = _outputs(_text(listed), _text(", ".join(streamed)))


def _outputs(listed: str, streamed: str) -> str:
    """The files to transfer, as an expression. The execution machine reads it before the job starts, and transfers the
    listed files. While the job runs, the access point has the streamed files alone; a request for more would fail."""
    return f"ifThenElse(JobCurrentStartExecutingDate >= JobCurrentStartDate, {streamed}, {listed})"


def add(client: CondorClient, constraint: str, ads: Sequence[Mapping[str, Any]]) -> None:
    """Makes the access point send streamed files with the other outputs of procs that have ended.

    Args:
        client: for the access point.
        constraint: matches these procs.
        ads: the :data:`ATTRIBUTES` of each.

    Raises:
        CondorError: the access point does not answer.
    """
    groups: dict[tuple[str, bool, bool], list[int]] = {}
    for ad in ads:
        out, err = (ad.get(f"Stream{kind}") is True and _is_flat(ad.get(kind)) for kind in ("Out", "Err"))
        spooled = ad.get("SpooledOutputFiles", "")
        if (out or err) and isinstance(spooled, str) and _FLAT not in spooled and "strcat" not in spooled:
            groups.setdefault((spooled, out, err), []).append(ad["ProcId"])
    for (spooled, out, err), procs in groups.items():
        names = [*([_text(spooled)] if spooled else []), *(["Out"] if out else []), *(["Err"] if err else [])]
        which = " || ".join(f"ProcId == {proc}" for proc in procs)
        value = ', ",", '.join(names)
        client.edit(f"({constraint}) && ({which})", "SpooledOutputFiles", f"strcat({value})")


def _is_flat(name: Any) -> bool:
    return isinstance(name, str) and name.startswith(_FLAT)


def _text(value: str) -> str:
    """A text as an expression."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
