"""Jobs at one scheduler, looked at together: one question a poll, however many they are."""

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prefect_jobs import statuses
from prefect_jobs.jobs import condor_watch, hooks
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.condor import CondorJob
from prefect_jobs.jobs.dask import DaskJob
from prefect_jobs.jobs.observation import Observation
from prefect_jobs.schedulers.condor import observation
from prefect_jobs.schedulers.condor.client import CondorClient

#: Seconds between two looks at everything that is in the queue, not at what has changed alone.
FULL = 15.0
#: Seconds by which the questions for what has changed overlap: a schedd notes a change a moment after it happened.
_OVERLAP = 5
#: What tells whether a process is another than before.
_LIGHT = ("ClusterId", "ProcId", "JobStatus", "LastJobStatus", "HoldReasonCode", "PrefectJobsToken", "ServerTime")
#: Jobs that are asked about in one question.
_CHUNK = 200


class Group:
    """Jobs of types that know nothing of each other: each is asked about by itself."""

    def poll(self, jobs: Sequence[Job]) -> dict[int, Observation]:
        """What has become of jobs, by their ids; those of which there is nothing to say are left out.

        Raises:
            SchedulerConnectionError: nobody can tell now.
        """
        return dict(_each(jobs))

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Waits until it is time to ask again: ``seconds`` at most, less where the scheduler tells of an end."""
        stop.wait(seconds)


class CondorGroup(Group):
    """Jobs at one access point under one identity."""

    def __init__(self) -> None:
        #: Tokens of jobs that were looked at.
        self._seen: set[str] = set()
        self._next_full = 0.0
        #: The schedd's time at the last question.
        self._time = 0

    def poll(self, jobs: Sequence[Job]) -> dict[int, Observation]:
        """As told there: one question for what has changed, or, every :data:`FULL` seconds, for everything."""
        single = {str(job._record.submission_token): job for job in jobs if isinstance(job, CondorJob)}
        found = dict(_each(job for job in jobs if not isinstance(job, CondorJob)))
        if single:
            with condor_watch.asking():
                found.update(self._poll(single))
        return found

    def _poll(self, jobs: Mapping[str, CondorJob]) -> dict[int, Observation]:
        first = next(iter(jobs.values()))
        client, timeout = first._client(), first._backend.held_timeout
        full = time.monotonic() >= self._next_full or not jobs.keys() <= self._seen
        seen: dict[str, dict[int, observation.Proc]] = {}
        if full:
            everything = self._ask(client, "PrefectJobsToken =!= undefined", _LIGHT)
            changed = [job for token, job in jobs.items() if _differs(job, everything.get(token, {}))]
            for start in range(0, len(changed), _CHUNK):
                tokens = ",".join(str(job._record.submission_token) for job in changed[start : start + _CHUNK])
                which = f'stringListMember(PrefectJobsToken, "{tokens}")'
                seen.update(self._ask(client, which, observation.PROJECTION))
            lost = [job for job in changed if _lost(job, seen.get(str(job._record.submission_token), {}))]
            self._next_full = time.monotonic() + FULL
        else:
            since = f"PrefectJobsToken =!= undefined && EnteredCurrentStatus >= {self._time - _OVERLAP}"
            seen = self._ask(client, since, (*observation.PROJECTION, "ServerTime"))
            lost = []
        lost += [job for job in jobs.values() if condor_watch.held_for_too_long(job._record, timeout)]
        found = {
            jobs[token]._record.id: condor_watch.observe_changed(jobs[token]._record, procs, client, timeout)
            for token, procs in seen.items()
            if token in jobs
        }
        # What is not in the queue is looked for in the history, one by one: there are few.
        found.update({job._record.id: condor_watch.observe(job._record, client, timeout) for job in lost})
        self._seen = set(jobs)
        return found

    def _ask(
        self, client: CondorClient, constraint: str, projection: Sequence[str]
    ) -> dict[str, dict[int, observation.Proc]]:
        """Processes by their jobs' tokens, and by number."""
        found: dict[str, dict[int, observation.Proc]] = {}
        for ad in client.query(constraint, projection):
            self._time = max(self._time, int(ad.get("ServerTime") or 0))
            proc = observation.read_ad(ad, queued=True)
            found.setdefault(str(ad.get("PrefectJobsToken")), {})[proc.proc] = proc
        return found


class DaskGroup(Group):
    """Jobs at one Dask scheduler."""

    def __init__(self) -> None:
        self._client: Any = None

    def poll(self, jobs: Sequence[Job]) -> dict[int, Observation]:
        """As told there: one call to the scheduler."""
        ours = [job for job in jobs if isinstance(job, DaskJob) and job.key is not None]
        if not ours:
            return {}
        self._client = ours[0]._client()
        answer = self._client.ask()
        found = {job._record.id: job.judged(answer.of(job._token(), job._count())) for job in ours}
        for job in ours:
            if not statuses.parse(found[job._record.id].status or "").kind.terminal:
                job._end()  # from now on the scheduler tells its end
        return found

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """As told there: the scheduler tells ends."""
        deadline = time.monotonic() + seconds
        while self._client is not None and not stop.is_set() and (left := deadline - time.monotonic()) > 0:
            if self._client.ended.wait(min(left, 0.5)):
                self._client.ended.clear()
                return
        stop.wait(max(0.0, deadline - time.monotonic()))


#: Group by the engine of a job's type.
GROUPS: Mapping[str | None, type[Group]] = {"htcondor": CondorGroup, "dask": DaskGroup, None: Group}


def _each(jobs: Iterable[Job]) -> Iterable[tuple[int, Observation]]:
    for job in jobs:
        news = hooks.call(job._update_status)
        if news is not None:
            yield job._record.id, news if isinstance(news, Observation) else Observation(news)


def _differs(job: CondorJob, procs: Mapping[int, observation.Proc]) -> bool:
    known = condor_watch.procs_of(job._record)
    total = int(job._record.native.get("total", 1))
    return len(known) < total or any(
        (procs[number].state if number in procs else None) != proc.state
        for number, proc in known.items()
        if number in procs or not proc.final
    )


def _lost(job: CondorJob, procs: Mapping[int, observation.Proc]) -> bool:
    """Whether a process is not in the queue of which it is not known that it has ended."""
    known = condor_watch.procs_of(job._record)
    total = int(job._record.native.get("total", 1))
    return any(number not in procs and not (number in known and known[number].final) for number in range(total))
