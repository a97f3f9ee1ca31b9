"""Where the logs of a cluster's processes are, and what is in them."""

import logging
import re
from pathlib import Path

from prefect_jobs.jobs.condor.state import CondorState
from prefect_jobs.records import JobRecord
from prefect_jobs.schedulers.condor.submit import outputs
from prefect_jobs.schedulers.condor.submit.description import incoming
from prefect_jobs.schedulers.condor.submit.streams import flat_name

#: Processes whose standard output and error are shown on the Logs tab.
_SHOWN = 10


def read_logs(record: JobRecord, directory: Path, proc: int) -> dict[str, str]:
    """The logs of a process: ``log``, ``output``, ``error`` → text, empty where there is none yet."""
    return {
        name: path.read_text(errors="replace") if path.is_file() else ""
        for name, path in paths(record, directory, proc).items()
    }


def tails(record: JobRecord, directory: Path) -> list[tuple[int, str]]:
    """The ends of standard output and error of the first few processes, as lines with their level."""
    lines: list[tuple[int, str]] = []
    total = CondorState(record).total
    for proc in range(min(total, _SHOWN)):
        which = f" of process {proc}" if total > 1 else ""
        places = paths(record, directory, proc)
        for name, level in (("output", logging.INFO), ("error", logging.WARNING)):
            text = outputs.tail(places[name]) if name in places else ""
            if text:
                lines.append((level, tail_line(name, which, text)))
    return lines


def tail_line(kind: str, which: str, text: str) -> str:
    """The line of the Logs tab with the end of a log."""
    return f"Standard {kind}{which} (its end):\n{text}"


def is_tail(line: str) -> bool:
    """Whether a line is the end of a log, which :func:`tail_line` made."""
    first = line.partition("\n")[0]
    return first.startswith("Standard ") and first.endswith(" (its end):")


def paths(record: JobRecord, directory: Path, proc: int) -> dict[str, Path]:
    """The files as they were named at the submission, wherever they are by now."""
    macros = {"cluster": record.remote_id, "clusterid": record.remote_id, "process": proc, "procid": proc}
    found: dict[str, Path] = {}
    for name, template in CondorState(record).logs.items():
        text = str(template)
        for macro, value in macros.items():
            text = re.sub(rf"\$\({macro}\)", str(value), text, flags=re.IGNORECASE)
        # In its place; under the name that tells processes apart which wrote the same one; on its way; streamed.
        arriving = incoming(directory) / str(proc)
        places = (directory / text, directory / f"{text}.{proc}", arriving / text, arriving / flat_name(text))
        found[name] = next((path for path in places if path.is_file()), places[0])
    return found
