"""Standard output and error while a job runs: streamed to the access point, and shown on the Logs tab."""

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prefect_jobs import statuses
from prefect_jobs.jobs import changes
from prefect_jobs.jobs.condor import logs
from prefect_jobs.jobs.condor.state import CondorState, encode
from prefect_jobs.jobs.handle import Handle
from prefect_jobs.records import Change, JobRecord
from prefect_jobs.schedulers.condor.submit.commands import canonical

#: The keyword argument of ``create_job``, and its key in the spec.
OPTION = "live_output"
#: Lines of a log that are shown at once, and of all logs of an attempt.
AT_ONCE, MOST = 20, 200
#: Procs whose output is shown.
PROCS = 10
#: Bytes that are read at once, and characters of a line that are shown.
_SIZE, _WIDTH = 65536, 500
_STREAMS = {"output": "stream_output", "error": "stream_error"}
_LEVELS = {"output": logging.INFO, "error": logging.WARNING}
_ENOUGH = "No more of its output is shown here until it is over: its logs have all of it."


def check(value: Any) -> bool:
    """
    Raises:
        ValueError: neither true nor false.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{OPTION} is True or False, not {value!r}.")
    return value


def streamed(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Submit commands with those that stream; what the job says itself stays."""
    given = {canonical(name) for name in attributes}
    return {**{name: True for name in _STREAMS.values() if name not in given}, **attributes}


def is_due(record: JobRecord) -> bool:
    """Whether there may be new output to show."""
    if not record.spec.get(OPTION) or record.state.status not in (statuses.RUNNING, statuses.VARIOUS):
        return False
    return _lines(CondorState(record).shown, record) < MOST


def note(handle: Handle, directory: Path) -> None:
    """Notes the newest lines of the logs as they are in the job's directory, for people.

    Raises:
        DatabaseError: the database does not answer.
    """
    record = handle.record
    state = CondorState(record)
    files = [
        # A proc that starts again writes its logs again.
        (f"{name} {number} {proc.started}", name, logs.which(record, number), path)
        for number, proc in sorted(state.procs.items())[:PROCS]
        for name, path in logs.paths(record, directory, number).items()
        if name in _STREAMS
    ]

    def change(fresh: JobRecord) -> Change | None:
        if not is_due(fresh) or fresh.state.attempt != record.state.attempt:
            return None
        shown = CondorState(fresh).shown
        at = dict(shown.get("at", {})) if shown.get("attempt") == fresh.state.attempt else {}
        count, said = _lines(shown, fresh), []
        for key, name, which, path in files:
            end, lines = _news(path, at.get(key, 0))
            at[key] = end
            if lines := lines[: MOST - count]:
                count += len(lines)
                said.append((_LEVELS[name], "\n".join([f"Standard {name}{which}:", *lines])))
        if not said:
            return None
        if count >= MOST:
            said.append((logging.INFO, _ENOUGH))
        native = encode(shown={"attempt": fresh.state.attempt, "at": at, "lines": count})
        return changes.change_for(fresh, None, native=native, messages=tuple(said))

    handle.update(change)


def _lines(shown: Mapping[str, Any], record: JobRecord) -> int:
    return int(shown.get("lines", 0)) if shown.get("attempt") == record.state.attempt else 0


def _news(path: Path, at: int) -> tuple[int, list[str]]:
    """Up to which byte a log was read, and its last whole lines after the byte ``at``."""
    try:
        with path.open("rb") as file:
            length = file.seek(0, os.SEEK_END)
            if length < at:  # it is being written again by another fetch
                return at, []
            start = file.seek(max(at, length - _SIZE))  # of one that grows fast, the end is of interest
            data = file.read(_SIZE)
    except OSError:
        return at, []
    whole = data.rfind(b"\n") + 1
    lines = data[:whole].decode(errors="replace").splitlines()
    more = start > at or len(lines) > AT_ONCE
    return start + whole, [*(["…"] if more and lines else []), *_cut(lines[-AT_ONCE:])]


def _cut(lines: list[str]) -> Iterator[str]:
    for line in lines:
        yield line if len(line) <= _WIDTH else f"{line[:_WIDTH]} …"
