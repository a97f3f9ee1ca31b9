"""The logs of a cluster's procs: where they are, and their texts."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from prefect_jobs import statuses
from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.jobs.condor.state import CondorState
from prefect_jobs.jobs.condor.submit_commands import ITEMS
from prefect_jobs.jobs.log_file import LogFile
from prefect_jobs.records import JobRecord
from prefect_jobs.schedulers.condor import observation
from prefect_jobs.schedulers.condor.client import CondorClient
from prefect_jobs.schedulers.condor.submit import item_data, outputs
from prefect_jobs.schedulers.condor.submit.description import incoming
from prefect_jobs.schedulers.condor.submit.input_files import expand
from prefect_jobs.schedulers.condor.submit.streams import flat_name

log = logging.getLogger(__name__)

_STREAMS: dict[str, Literal["stdout", "stderr"]] = {"output": "stdout", "error": "stderr"}
#: Number of procs whose standard output and error are shown on the Logs tab.
_SHOWN = 10


def files(record: JobRecord, directory: Path, proc: int) -> dict[str, LogFile]:
    """The logs of a proc: ``log``, ``output``, ``error``."""
    return {name: LogFile(path) for name, path in paths(record, directory, proc).items()}


def running(
    record: JobRecord, directory: Path, client: Callable[[], CondorClient]
) -> "dict[int, dict[str, RunningLog]]":
    """Standard output and error of the first few procs that run, where they are on the machine that runs them."""
    found: dict[int, dict[str, RunningLog]] = {}
    asked = _Asked()
    at_work = [number for number, proc in CondorState(record).procs.items() if proc.state == observation.RUNNING]
    for number in at_work[:_SHOWN]:
        present = paths(record, directory, number)
        found[number] = {
            name: RunningLog(client, f"{record.remote_id}.{number}", stream, asked)
            for name, stream in _STREAMS.items()
            if name in present and not present[name].exists()
        }
    return found


def _is_at_work(record: JobRecord) -> bool:
    """Whether its outputs are still at the access point."""
    state = CondorState(record)
    return state.in_queue and state.spool and not record.final and record.state.status != statuses.RESULTS_READY


class _Asked:
    """Whether condor_tail has failed, for all logs that were found at the same time."""

    failed = False


class RunningLog:
    """A log that is on the machine that runs the proc: its end is asked for when it is read."""

    def __init__(
        self, client: Callable[[], CondorClient], proc: str, stream: Literal["stdout", "stderr"], asked: _Asked
    ) -> None:
        """
        Args:
            client: gives the client of the access point.
            proc: its cluster and number.
            stream: which of its streams.
            asked: shared by those that were found at the same time: what fails once is not asked again, and does not
                add up.
        """
        self._client, self._proc, self._stream, self._asked = client, proc, stream, asked

    def __call__(self) -> str:
        """The end of the log; empty: there is none, or it is not possible."""
        if self._asked.failed:
            return ""
        try:
            text = self._client().tail(self._proc, self._stream)
        except PrefectJobsError as error:
            log.info("The output of process %s is not known: %s", self._proc, error)
            text = None
        self._asked.failed = text is None
        return text or ""


def tails(record: JobRecord, directory: Path) -> list[tuple[int, str]]:
    """The ends of standard output and error of the first few procs, as lines with their level."""
    lines: list[tuple[int, str]] = []
    total = CondorState(record).total
    for proc in range(min(total, _SHOWN)):
        where = which(record, proc)
        places = paths(record, directory, proc)
        for name, level in (("output", logging.INFO), ("error", logging.WARNING)):
            text = outputs.tail(places[name]) if name in places else ""
            if text:
                lines.append((level, tail_line(name, where, text)))
    return lines


def title_of(record: JobRecord, proc: int) -> str:
    """A proc for people, with its item."""
    label = item_data.label_of(record.spec.get(ITEMS) or (), proc)
    return f"process {proc}" + (f" ({label})" if label else "")


def which(record: JobRecord, proc: int) -> str:
    """As a part of a sentence, which proc it is; empty if there is one alone."""
    return f" of {title_of(record, proc)}" if CondorState(record).total > 1 else ""


def tail_line(kind: str, which: str, text: str) -> str:
    """The line of the Logs tab with the end of a log."""
    return f"Standard {kind}{which} (its end):\n{text}"


def is_tail(line: str) -> bool:
    """Whether a line is the end of a log, made by :func:`tail_line`."""
    first = line.partition("\n")[0]
    return first.startswith("Standard ") and first.endswith(" (its end):")


def paths(record: JobRecord, directory: Path, proc: int) -> dict[str, Path]:
    """The log files, by their names at the submission, in their present places."""
    cluster, number = str(record.remote_id), str(proc)
    macros = {
        **item_data.macros_of(record.spec.get(ITEMS) or (), proc),
        **{"cluster": cluster, "clusterid": cluster, "process": number, "procid": number},
    }
    found: dict[str, Path] = {}
    for name, template in CondorState(record).logs.items():
        text = expand(str(template), macros)
        # The final place; the name if several procs wrote one file; being fetched; streamed.
        arriving = incoming(directory) / str(proc)
        fetched = directory / text, directory / f"{text}.{proc}"
        fresh = arriving / text, arriving / flat_name(text)
        # While it runs, what is in the final place is of an earlier submission.
        places = fresh if _is_at_work(record) else (*fetched, *fresh)
        found[name] = next((path for path in places if path.is_file()), places[0])
    return found
