"""The meaning of job ads: from HTCondor's states of each proc to one of our statuses. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from prefect_jobs import statuses
from prefect_jobs.schedulers.condor.usage import ATTRIBUTES, Usage, read_usage

#: The attributes that a poll requests.
PROJECTION = (
    "ClusterId",
    "ProcId",
    "JobStatus",
    "LastJobStatus",
    "EnteredCurrentStatus",
    "ExitCode",
    "ExitBySignal",
    "ExitSignal",
    "JobSuccessExitCode",
    "HoldReason",
    "HoldReasonCode",
    "HoldReasonSubCode",
    "RemoveReason",
    "RemoteHost",
    "LastRemoteHost",
    "JobStartDate",
    "JobCurrentStartDate",
    "CompletionDate",
    "NumJobStarts",
    "PrefectJobsToken",
    "QDate",
    *ATTRIBUTES,
)

UNEXPANDED, IDLE, RUNNING, REMOVED, COMPLETED, HELD, SUBMISSION_ERR = (
    "Unexpanded",
    "Idle",
    "Running",
    "Removed",
    "Completed",
    "Held",
    "Submission_err",
)
COUNTED = (UNEXPANDED, IDLE, RUNNING, REMOVED, COMPLETED, HELD, SUBMISSION_ERR)
#: JobStatus (HTCondor manual, "Job ClassAd Attributes"); 6 transfers output, 7 is suspended.
_STATES = {0: UNEXPANDED, 1: IDLE, 2: RUNNING, 3: REMOVED, 4: COMPLETED, 5: HELD, 6: RUNNING, 7: RUNNING}
#: HoldReasonCode: by a user; at submit by hold=true; inputs are being spooled.
HOLD_BY_USER, HOLD_AT_SUBMIT, HOLD_SPOOLING, HOLD_MEMORY = 1, 15, 16, 34
#: Replaces HOLD_SPOOLING, which no user can release, when a schedd missed noting that inputs are spooled.
HOLD_FORGOTTEN = 10016
WAITING_CODES = (HOLD_SPOOLING, HOLD_FORGOTTEN)
#: A constraint that matches procs that wait for their inputs.
WAITING = f"JobStatus == 5 && (HoldReasonCode == {HOLD_SPOOLING} || HoldReasonCode == {HOLD_FORGOTTEN})"

_ADVICE = {
    3: "Its own policy holds it: check periodic_hold and on_exit_hold, then resume() or stop().",
    6: "Check that the executable starts on the execution point: its interpreter, its permissions.",
    12: "Check that the job writes every file of transfer_output_files, then resubmit().",
    13: "Check that every input file still exists, then resume() or resubmit().",
    14: "The directory of the job is missing at the access point: resubmit().",
    26: "The system's policy (SYSTEM_PERIODIC_HOLD) holds it; ask the pool's administrator.",
    34: "Raise request_memory with set_attribute('request_memory', …), then stop() and resubmit(); or set "
    "retry_with_memory.",
    46: "It ran longer than allowed_job_duration; raise that, then stop() and resubmit().",
    47: "It ran longer than allowed_execute_duration; raise that, then stop() and resubmit().",
}
_DEFAULT_ADVICE = "Fix the cause, then resume(); or stop()."


@dataclass(frozen=True)
class Proc:
    """One proc of a cluster, as last seen. Times are seconds since 1970, UTC, by the schedd's clock."""

    proc: int
    state: str
    exit_code: int | None = None
    exit_signal: int | None = None
    success_code: int = 0
    hold_code: int | None = None
    reason: str | None = None
    host: str | None = None
    started: int | None = None
    ended: int | None = None
    #: What it has requested and used; see :func:`prefect_jobs.schedulers.condor.usage.read_usage`.
    usage: Usage | None = None
    #: Whether it is in the queue. A completed proc that is not was fetched and removed, or only removed.
    queued: bool = True

    @property
    def ended_well(self) -> bool:
        """Whether it completed with the exit code that means success."""
        return self.state == COMPLETED and self.exit_signal is None and self.exit_code == self.success_code

    @property
    def status(self) -> str:
        """The proc's status, as one of ours."""
        if self.state == COMPLETED:
            return statuses.COMPLETE if self.ended_well else statuses.ERROR
        if self.state == HELD:
            return statuses.PAUSED if self.hold_code in (HOLD_BY_USER, HOLD_AT_SUBMIT) else statuses.HELD
        return {RUNNING: statuses.RUNNING, REMOVED: statuses.ABORTED}.get(self.state, statuses.SUBMITTED)

    @property
    def final(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state in (COMPLETED, REMOVED)

    @property
    def waiting(self) -> bool:
        """Whether the schedd reports that its inputs are not spooled yet."""
        return self.hold_code in WAITING_CODES

    def outcome(self) -> str:
        """The outcome, for people."""
        where = f" on {self.host}" if self.host else ""
        if self.state == REMOVED:
            return f"removed: {self.reason}" if self.reason else "removed"
        if self.exit_signal is not None:
            return f"killed by signal {self.exit_signal}{where}"
        if self.exit_code is None:
            return f"ended without an exit code{where}"
        return f"exit code {self.exit_code}{where}"

    def hold_text(self) -> str:
        """The reason of the hold, and advice."""
        advice = _ADVICE.get(self.hold_code or 0, _DEFAULT_ADVICE)
        reason = (self.reason or "no reason given").rstrip(". ")
        return f"Held by HTCondor (code {self.hold_code}): {reason}. {advice}"

    def encode(self) -> dict[str, Any]:
        """For a JSON column; ``None`` values are left out."""
        return {name: value for name in _FIELDS if (value := getattr(self, name)) is not None}


_FIELDS = tuple(field.name for field in fields(Proc))


def read_state(ad: Mapping[str, Any]) -> tuple[int, str, int | None]:
    """Number and state of a proc, and the code of its hold, from its ad."""
    code = _int(ad.get("JobStatus")) or 0
    state = _STATES.get(code, UNEXPANDED)
    # A completed job that is removed from the queue after its outputs were fetched is "removed" from then on.
    if state == REMOVED and _int(ad.get("LastJobStatus")) == 4:
        state = COMPLETED
    hold_code = _int(ad.get("HoldReasonCode")) if state == HELD else None
    if state == HELD and hold_code in WAITING_CODES:
        state = UNEXPANDED
    return _int(ad.get("ProcId")) or 0, state, hold_code


def read_ad(ad: Mapping[str, Any], *, queued: bool) -> Proc:
    """A proc from its ad.

    Args:
        ad: the attributes of :data:`PROJECTION`.
        queued: whether the ad is from the queue, not from the history.
    """
    number, state, hold_code = read_state(ad)
    ended = state in (COMPLETED, REMOVED)
    by_signal = bool(ad.get("ExitBySignal")) and state == COMPLETED
    exit_code = _int(ad.get("ExitCode")) if state == COMPLETED and not by_signal else None
    reason = ad.get("HoldReason") if state == HELD else ad.get("RemoveReason") if state == REMOVED else None
    finish = _int(ad.get("CompletionDate")) or (_int(ad.get("EnteredCurrentStatus")) if ended else None)
    return Proc(
        proc=number,
        state=state,
        exit_code=exit_code,
        exit_signal=(_int(ad.get("ExitSignal")) or 0) if by_signal else None,
        success_code=_int(ad.get("JobSuccessExitCode")) or 0,
        hold_code=hold_code,
        reason=str(reason) if reason else None,
        host=_text(ad.get("RemoteHost")) or _text(ad.get("LastRemoteHost")),
        started=_int(ad.get("JobStartDate")),
        ended=finish if ended else None,
        usage=read_usage(ad, state_since=_int(ad.get("JobCurrentStartDate")) if state == RUNNING else None),
        queued=queued,
    )


def decode(values: Iterable[Mapping[str, Any]]) -> dict[int, Proc]:
    """The inverse of :meth:`Proc.encode`, by proc number."""
    return {proc.proc: proc for proc in (Proc(**value) for value in values)}


@dataclass(frozen=True)
class Verdict:
    """The status of a cluster, from those of its procs."""

    #: One of our statuses; Results-Ready when the work is over and outputs can be fetched.
    status: str
    message: str = ""
    #: If ``status`` is Results-Ready: the status once the outputs are fetched.
    outcome: str | None = None
    started: datetime | None = None
    ended: datetime | None = None


def judge(procs: Mapping[int, Proc], total: int) -> Verdict | None:
    """The status of a cluster.

    Args:
        procs: the known procs, by number.
        total: the number of procs.

    Returns:
        ``None`` while some procs are unknown: that is no news, and no failure.
    """
    if len(procs) < total or not procs:
        return None
    every = [procs[number] for number in sorted(procs)]
    kinds = Counter(proc.status for proc in every)
    started = min((proc.started for proc in every if proc.started), default=None)
    ended = max((proc.ended for proc in every if proc.ended), default=None)
    over = all(proc.final for proc in every)
    left = {proc.status for proc in every if not proc.final}
    if len(kinds) == 1:
        status = next(iter(kinds))
    elif left and left <= {statuses.PAUSED, statuses.HELD}:
        # Nothing runs, and nothing continues without a person: that matters more than the procs that are over.
        status = statuses.HELD if statuses.HELD in left else statuses.PAUSED
    else:
        status = statuses.VARIOUS_COMPLETE if over else statuses.VARIOUS
    message = _message(every, status)
    outcome = None
    if over and any(proc.state == COMPLETED for proc in every):
        status, outcome = statuses.RESULTS_READY, status
    return Verdict(status, message, outcome, _time(started), _time(ended) if over else None)


def count(procs: Mapping[int, Proc]) -> dict[str, int]:
    """The number of procs in each of HTCondor's states."""
    found = Counter(proc.state for proc in procs.values())
    return {state: found.get(state, 0) for state in COUNTED}


def _message(every: list[Proc], status: str) -> str:
    single = len(every) == 1
    waiting = next((proc for proc in every if proc.status == status and not proc.final), every[0])
    if status == statuses.HELD:
        return waiting.hold_text()
    if status == statuses.PAUSED:
        return waiting.reason or "Held by a user."
    if status == statuses.RUNNING:
        hosts = sorted({proc.host for proc in every if proc.host})
        return f"Executing on {', '.join(hosts[:3])}{' …' if len(hosts) > 3 else ''}" if hosts else ""
    if status == statuses.SUBMITTED:
        return "Inputs are being sent." if any(proc.state == UNEXPANDED for proc in every) else "Idle in the queue."
    if single:
        return _sentence(every[0].outcome())
    counts = Counter(proc.state for proc in every)
    if status in (statuses.VARIOUS,):
        text = ", ".join(f"{number} {state.lower()}" for state, number in sorted(counts.items()))
        held = next((proc for proc in every if proc.status == statuses.HELD), None)
        return f"{text}. Process {held.proc}: {held.hold_text()}" if held else f"{text}."
    groups: dict[str, list[int]] = {}
    for proc in every:
        groups.setdefault(proc.outcome(), []).append(proc.proc)
    return "; ".join(f"{_numbers(numbers)}: {text}" for text, numbers in list(groups.items())[:10]) + "."


def _numbers(numbers: list[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:8])
    return f"process{'es' if len(numbers) > 1 else ''} {shown}{' …' if len(numbers) > 8 else ''}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _int(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _time(seconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
