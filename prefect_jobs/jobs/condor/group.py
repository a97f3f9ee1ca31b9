"""Jobs at one access point, polled together."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from prefect_jobs.errors import SchedulerConnectionError
from prefect_jobs.jobs.condor import limits, poll, spooling
from prefect_jobs.jobs.condor.access_point import AccessPointEngine
from prefect_jobs.jobs.condor.ads import key_of, key_of_ad, of_keys
from prefect_jobs.jobs.condor.engine import CondorEngine
from prefect_jobs.jobs.condor.state import CondorState
from prefect_jobs.jobs.group import Group
from prefect_jobs.jobs.observation import Observation
from prefect_jobs.jobs.type_hooks import AnyJob
from prefect_jobs.records import JobRecord
from prefect_jobs.schedulers.condor import observation, usage
from prefect_jobs.schedulers.condor.access import CondorError
from prefect_jobs.schedulers.condor.client import CondorClient
from prefect_jobs.schedulers.condor.observation import Proc

log = logging.getLogger(__name__)

#: Seconds between two requests for the whole queue; the others are for changes only.
FULL = 15.0
#: Seconds between two requests for what running procs use; their starters report it every five minutes.
USAGE = 300.0
#: Seconds by which requests for changes overlap: a schedd notes a change a moment after it happened.
_OVERLAP = 5
#: The attributes that show whether a proc has changed.
_LIGHT = (
    "ClusterId", "ProcId", "JobStatus", "LastJobStatus", "HoldReasonCode", "PrefectJobsToken", "QDate", "ServerTime",
)  # fmt: skip
#: The attributes that show for how long a proc has waited for its first machine.
_WAITING = ("JobStatus", "EnteredCurrentStatus", "NumJobStarts", "ClusterId", "QDate", "PrefectJobsToken", "ServerTime")
_IDLE = 1
_OURS = "PrefectJobsToken =!= undefined"
#: Number of jobs in one request.
_CHUNK = 200
#: Number of jobs that one poll searches in the history.
_LOST = 50

#: Procs by the keys of their jobs, and by number.
Procs = dict[str, dict[int, Proc]]


class CondorGroup(Group):
    """Jobs at one access point under one identity."""

    def __init__(self) -> None:
        super().__init__()
        #: Tokens of the jobs of the last poll.
        self._seen: set[str] = set()
        self._next_full = 0.0
        self._next_usage = time.monotonic() + USAGE
        #: The constraint that matches all jobs.
        self._ours = _OURS
        #: The schedd's time at the last request.
        self._time = 0

    def poll(self, jobs: Sequence[AnyJob], stop: Callable[[], bool] = bool) -> dict[int, Observation]:
        """As :meth:`Group.poll`: one request for changes, or, every :data:`FULL` seconds, for everything."""
        self._failed.clear()
        clusters: dict[str, CondorEngine] = {}
        others: list[AnyJob] = []
        for job in jobs:
            if isinstance(job.engine, CondorEngine) and not job.polls_itself():
                clusters[key_of(job.handle.record)] = job.engine
            else:
                others.append(job)
        found: dict[int, Observation] = {}
        if clusters:
            found = self._poll(clusters, stop)
        return {**found, **self._each(others, stop)}

    def unmatched(self, jobs: Sequence[AnyJob]) -> dict[int, float]:
        """As :meth:`Group.unmatched`, for jobs of which each proc is idle and has never run."""
        by_token = {key_of(job.handle.record): job.engine for job in jobs if isinstance(job.engine, CondorEngine)}
        if not by_token:
            return {}
        client = next(iter(by_token.values())).client()
        idle: dict[str, list[float]] = {}
        for ad in client.query(of_keys(list(by_token)), _WAITING):
            never = ad.get("JobStatus") == _IDLE and not ad.get("NumJobStarts")
            since = float(ad.get("EnteredCurrentStatus") or 0)
            waited = float(ad.get("ServerTime") or 0) - since if never and since else -1.0
            idle.setdefault(key_of_ad(ad), []).append(waited)
        return {
            by_token[token].handle.record.id: min(waited)
            for token, waited in idle.items()
            if min(waited) >= 0 and len(waited) == by_token[token].state.total
        }

    def why_waiting(self, jobs: Sequence[AnyJob]) -> dict[int, str]:
        """As :meth:`Group.why_waiting`."""
        engines = [job.engine for job in jobs if isinstance(job.engine, AccessPointEngine)]
        if not engines:
            return {}
        found = engines[0].client().why_idle([engine.own_procs for engine in engines])
        return {engine.handle.record.id: text for engine, text in zip(engines, found, strict=True) if text is not None}

    def look_again(self) -> None:
        """As :meth:`Group.look_again`."""
        self._next_full = 0.0

    def _poll(self, clusters: Mapping[str, CondorEngine], stop: Callable[[], bool]) -> dict[int, Observation]:
        first = next(iter(clusters.values()))
        client, timeout = first.client(), first.site.held_timeout
        records = {token: engine.handle.record for token, engine in clusters.items()}
        foreign = of_keys([key for key, record in records.items() if record.noted.foreign])
        self._ours = _OURS if foreign == "false" else f"({_OURS} || {foreign})"
        seen, lost = self._ask_for_news(client, records)
        self._seen = set(records)
        lost += [record for record in records.values() if _is_due(record, timeout)]
        found: dict[int, Observation] = {}
        for token, procs in seen.items():
            if token in records and not stop():
                found.update(self._one(records[token], client, procs, timeout))
        # Jobs missing in the queue are searched in the history, one by one; if there are many, some in each poll.
        for record in lost[:_LOST]:
            # Not twice: a held job that was just given up would now be a removed one.
            if not stop() and record.id not in found:
                found.update(self._one(record, client, None, timeout))
        if len(lost) > _LOST:
            self._next_full = 0.0
        return found

    def _ask_for_news(self, client: CondorClient, records: Mapping[str, JobRecord]) -> tuple[Procs, list[JobRecord]]:
        """Procs that may have changed, and jobs of which some procs are no longer in the queue."""
        if time.monotonic() >= self._next_full or not self._time:
            everything = self._ask(client, self._ours, _LIGHT)
            changed = [token for token, record in records.items() if _differs(record, everything.get(token, {}))]
            seen = self._of(client, changed)
            self._next_full = time.monotonic() + FULL
            for token, procs in self._new_usage(client, records).items():
                seen.setdefault(token, procs)
            return seen, [records[token] for token in changed if _lost(records[token], seen.get(token, {}))]
        since = f"EnteredCurrentStatus >= {self._time - _OVERLAP} && {self._ours}"
        seen = self._ask(client, since, (*observation.PROJECTION, "ServerTime"))
        # Jobs that are new in this group may have changed long ago.
        seen.update(self._of(client, [token for token in records.keys() - self._seen if token not in seen]))
        return seen, []

    def _new_usage(self, client: CondorClient, records: Mapping[str, JobRecord]) -> Procs:
        """Procs of which it is news what they use, now and then."""
        if time.monotonic() < self._next_usage:
            return {}
        self._next_usage = time.monotonic() + USAGE  # before: what takes too long is not repeated at once
        running = self._ask(client, f"{self._ours} && JobStatus == 2", (*observation.PROJECTION, "ServerTime"))
        known = {token: CondorState(records[token]).procs for token in running if token in records}
        return {
            token: running[token]
            for token, procs in known.items()
            if any(
                usage.differs(procs[number].usage, proc.usage)
                for number, proc in running[token].items()
                if number in procs
            )
        }

    def _one(
        self, record: JobRecord, client: CondorClient, procs: dict[int, Proc] | None, timeout: float | None
    ) -> dict[int, Observation]:
        try:
            if procs is None:
                found = poll.observe(record, client, timeout)
            else:
                found = poll.observe_changed(record, procs, client, timeout)
        except (CondorError, SchedulerConnectionError) as error:
            self._failed.add(record.id)
            self._next_full = 0.0
            log.warning("Job %s could not be polled: %s", record.id, error)
            return {}
        return {record.id: replace(found, version=record.version)}

    def _of(self, client: CondorClient, tokens: Sequence[str]) -> Procs:
        """All procs of jobs by their tokens, many in one request."""
        found: Procs = {}
        for start in range(0, len(tokens), _CHUNK):
            which = of_keys(tokens[start : start + _CHUNK])
            found.update(self._ask(client, which, observation.PROJECTION))
        return found

    def _ask(self, client: CondorClient, constraint: str, projection: Sequence[str]) -> Procs:
        found: Procs = {}
        for ad in client.query(constraint, projection):
            self._time = max(self._time, int(ad.get("ServerTime") or 0))
            proc = observation.read_ad(ad, queued=True)
            found.setdefault(key_of_ad(ad), {})[proc.proc] = proc
        return found


def _differs(record: JobRecord, procs: Mapping[int, Proc]) -> bool:
    state = CondorState(record)
    known = state.procs
    return len(known) < state.total or any(
        ((procs[number].state, procs[number].hold_code) if number in procs else None) != (proc.state, proc.hold_code)
        for number, proc in known.items()
        if number in procs or not proc.final
    )


def _is_due(record: JobRecord, held_timeout: float | None) -> bool:
    """Whether a job without news needs action. Called for each job at each poll."""
    state = CondorState(record)
    if record.noted.foreign:
        return False
    if limits.is_given_up(state.held_since, held_timeout):
        return True
    if not state.waits_for_inputs:
        return False
    return spooling.is_forgotten(record, state.procs.values()) and not spooling.refused_lately(record)


def _lost(record: JobRecord, procs: Mapping[int, Proc]) -> bool:
    """Whether a proc is not in the queue and not known to have ended."""
    state = CondorState(record)
    known = state.procs
    return any(number not in procs and not (number in known and known[number].final) for number in range(state.total))
