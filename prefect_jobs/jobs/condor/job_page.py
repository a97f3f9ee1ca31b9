"""What the page of a flow run says of an HTCondor job that is over, as a markdown artifact. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from prefect_jobs.noted import PROCS
from prefect_jobs.records import JobRecord
from prefect_jobs.schedulers.condor import observation, usage
from prefect_jobs.schedulers.condor.observation import Proc

#: Key in a spec: the job directory.
_DIRECTORY = "initial_dir"
#: Number of hosts and of processes that are named.
_HOSTS, _PROCS = 5, 20
#: Longest arguments that are shown.
_LONGEST = 500
_UNITS = {"cpus": "", "memory": " MB", "disk": " MB", "gpus": ""}


def text_of(record: JobRecord) -> str | None:
    """The text; ``None``: the job has no processes of its own."""
    procs = list(observation.decode(record.native.get(PROCS) or ()).values())
    if record.noted.cluster is None or not procs:
        return None
    rows = [f"| {name} | {_cell(value)} |" for name, value in _facts(record, procs) if value]
    parts = ["| | |\n|---|---|\n" + "\n".join(rows)]
    parts += [_used(procs, record.state.completion_time), *_hints(procs), *_files(record)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(record: JobRecord, procs: Sequence[Proc]) -> Iterator[tuple[str, str]]:
    commands = {str(name).lower(): value for name, value in (record.spec.get("attributes") or {}).items()}
    state = record.state
    yield "Executable", str(commands.get("executable") or "")
    arguments = commands.get("arguments") or ""
    yield "Arguments", " ".join(map(str, arguments)) if isinstance(arguments, list | tuple) else str(arguments)
    yield "Cluster", f"{record.noted.cluster}{f', {len(procs)} processes' if len(procs) > 1 else ''}"
    hosts = list(dict.fromkeys(proc.host for proc in procs if proc.host))
    yield "Machine", ", ".join(hosts[:_HOSTS]) + (f", and {len(hosts) - _HOSTS} more" if len(hosts) > _HOSTS else "")
    yield "Exit code", _codes(procs)
    first = min((proc.started for proc in procs if proc.started), default=None)
    if first and state.execute_time:
        yield "Waited", _duration(max(0.0, first - state.execute_time.timestamp()))
    if first and state.completion_time:
        yield "Ran", _duration(max(0.0, state.completion_time.timestamp() - first))
    yield "Directory", str(record.spec.get(_DIRECTORY) or "")


def _codes(procs: Sequence[Proc]) -> str:
    if len(procs) == 1:
        return _code(procs[0])
    bad = [proc for proc in procs if not proc.ended_well]
    if not bad:
        return f"{procs[0].success_code} of all processes"
    named = ", ".join(f"process {proc.proc}: {_code(proc) or proc.state.lower()}" for proc in bad[:_PROCS])
    return named + (f", and {len(bad) - _PROCS} more" if len(bad) > _PROCS else "")


def _code(proc: Proc) -> str:
    if proc.exit_signal is not None:
        return f"signal {proc.exit_signal}"
    return "" if proc.exit_code is None else str(proc.exit_code)


def _used(procs: Sequence[Proc], end: datetime | None) -> str:
    total = usage.resources_of({"": [(proc.usage, proc.host) for proc in procs]}, end)["total"]
    rows = [
        f"| {name} | {_amount(total[name]['requested'], unit)} | {_amount(total[name]['used'], unit)} |"
        for name, unit in _UNITS.items()
        if total[name]["requested"] is not None or total[name]["used"] is not None
    ]
    return "| | requested | used |\n|---|---:|---:|\n" + "\n".join(rows) if rows else ""


def _amount(value: Any, unit: str) -> str:
    return "" if value is None else f"{value:,}{unit}"


def _hints(procs: Sequence[Proc]) -> list[str]:
    return ["\n".join(f"- {hint}" for hint in usage.hints({"": [(proc.usage, proc.host) for proc in procs]}))]


def _files(record: JobRecord) -> list[str]:
    """The files in the job directory when its outputs had arrived, the largest first."""
    largest, count = record.noted.files
    if not largest:
        return []
    rows = "\n".join(f"| {_cell(name)} | {size:,} |" for name, size in largest)
    more = f"\n\n… and {count - len(largest):,} more files." if count > len(largest) else ""
    return [f"| file | bytes |\n|---|---:|\n{rows}{more}"]


def _cell(text: str) -> str:
    """A text in a cell of a table, in which it cannot be read as markdown or HTML."""
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]} …"
    return "`" + " ".join(text.split()).replace("`", "'").replace("|", "\\|") + "`"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s" if minutes else f"{left} s"
