"""Jobs at one scheduler, looked at together: one question a poll, however many they are."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from prefect_jobs import statuses
from prefect_jobs.errors import SchedulerConnectionError
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.condor import poll as condor_watch
from prefect_jobs.jobs.condor.job import CondorJob
from prefect_jobs.jobs.dask.job import DaskJob
from prefect_jobs.jobs.observation import Observation
from prefect_jobs.schedulers.condor import observation
from prefect_jobs.schedulers.condor.client import CondorClient, CondorError
from prefect_jobs.schedulers.dask.client import DaskClient, forget_submission
from prefect_jobs.schedulers.dask.connection import DaskError

log = logging.getLogger(__name__)

#: Seconds between two looks at everything that is in the queue, not at what has changed alone.
FULL = 15.0
#: Seconds by which the questions for what has changed overlap: a schedd notes a change a moment after it happened.
_OVERLAP = 5
#: What tells whether a process is another than before.
_LIGHT = ("ClusterId", "ProcId", "JobStatus", "LastJobStatus", "HoldReasonCode", "PrefectJobsToken", "ServerTime")
#: Jobs that are asked about in one question.
_CHUNK = 200
#: Jobs that are looked for in the history in one poll.
_LOST = 50


class Group:
    """Jobs of types that know nothing of each other: each is asked about by itself."""

    def __init__(self) -> None:
        self._failed: set[int] = set()

    def poll(self, jobs: Sequence[Job], stop: Callable[[], bool] = bool) -> dict[int, Observation]:
        """What has become of jobs, by their ids; those of which there is nothing to say are left out.

        Args:
            jobs: at work.
            stop: whether to leave off.

        Raises:
            SchedulerConnectionError: nobody can tell now.
        """
        self._failed.clear()
        return self._each(jobs, stop)

    def failed(self, job: Job) -> bool:
        """Whether the last poll could not tell about this job alone."""
        return job._record.id in self._failed

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Waits until it is time to ask again: ``seconds`` at most, less where the scheduler tells of an end."""
        stop.wait(seconds)

    def look_again(self) -> None:
        """Has the next poll take nothing for known."""

    def forget(self, job: Job) -> None:
        """Drops what is kept of a job that is over, or was submitted anew."""

    def _each(self, jobs: Iterable[Job], stop: Callable[[], bool]) -> dict[int, Observation]:
        """Asks about each by itself; one that cannot be asked about keeps no other from it."""
        found: dict[int, Observation] = {}
        for job in jobs:
            if stop():
                break
            job_id = job._record.id
            try:
                news = job._hook(job._update_status)
            except Exception as error:  # whatever a type's hook raises
                self._failed.add(job_id)
                log.warning("Job %s cannot be asked about: %s", job_id, error)
                continue
            if news is None and job._noted:
                news = Observation(None)  # nothing of the status, but of what the hook has set
            if news is not None:
                found[job_id] = news if isinstance(news, Observation) else Observation(news)
        return found


class CondorGroup(Group):
    """Jobs at one access point under one identity."""

    def __init__(self) -> None:
        super().__init__()
        #: Tokens of jobs that were looked at.
        self._seen: set[str] = set()
        self._next_full = 0.0
        #: The schedd's time at the last question.
        self._time = 0

    def poll(self, jobs: Sequence[Job], stop: Callable[[], bool] = bool) -> dict[int, Observation]:
        """As told there: one question for what has changed, or, every :data:`FULL` seconds, for everything."""
        self._failed.clear()
        single = {
            str(job._record.submission_token): job
            for job in jobs
            if isinstance(job, CondorJob) and type(job)._update_status is CondorJob._update_status
        }
        found: dict[int, Observation] = {}
        if single:
            with condor_watch.asking():
                found = self._poll(single, stop)
        ours = set(single.values())
        return {**found, **self._each((job for job in jobs if job not in ours), stop)}

    def look_again(self) -> None:
        """As told there."""
        self._next_full = 0.0

    def _poll(self, jobs: Mapping[str, CondorJob], stop: Callable[[], bool]) -> dict[int, Observation]:
        first = next(iter(jobs.values()))
        client, timeout = first._client(), first._backend.held_timeout
        lost: list[CondorJob] = []
        if time.monotonic() >= self._next_full or not self._time:
            everything = self._ask(client, "PrefectJobsToken =!= undefined", _LIGHT)
            changed = [token for token, job in jobs.items() if _differs(job, everything.get(token, {}))]
            seen = self._of(client, changed)
            lost = [jobs[token] for token in changed if _lost(jobs[token], seen.get(token, {}))]
            self._next_full = time.monotonic() + FULL
        else:
            since = f"PrefectJobsToken =!= undefined && EnteredCurrentStatus >= {self._time - _OVERLAP}"
            seen = self._ask(client, since, (*observation.PROJECTION, "ServerTime"))
            # Those that are new here may have changed long ago.
            seen.update(self._of(client, [token for token in jobs.keys() - self._seen if token not in seen]))
        self._seen = set(jobs)
        lost += [job for job in jobs.values() if _is_due(job, timeout)]
        found = {}
        for token, procs in seen.items():
            if token in jobs and not stop():
                found.update(self._one(jobs[token], client, procs, timeout))
        # What is not in the queue is looked for in the history, one by one; where there are many, some at a time.
        for job in lost[:_LOST]:
            # Not twice: a held job that was given up a moment ago would now be a removed one.
            if not stop() and job._record.id not in found:
                found.update(self._one(job, client, None, timeout))
        if len(lost) > _LOST:
            self._next_full = 0.0
        return found

    def _one(
        self, job: CondorJob, client: CondorClient, procs: dict[int, observation.Proc] | None, timeout: float | None
    ) -> dict[int, Observation]:
        record = job._record
        try:
            if procs is None:
                found = condor_watch.observe(record, client, timeout)
            else:
                found = condor_watch.observe_changed(record, procs, client, timeout)
        except (CondorError, SchedulerConnectionError) as error:
            self._failed.add(record.id)
            self._next_full = 0.0
            log.warning("Job %s cannot be asked about: %s", record.id, error)
            return {}
        return {record.id: replace(found, version=record.version)}

    def _of(self, client: CondorClient, tokens: Sequence[str]) -> dict[str, dict[int, observation.Proc]]:
        """Everything about jobs by their tokens, many in one question."""
        found: dict[str, dict[int, observation.Proc]] = {}
        for start in range(0, len(tokens), _CHUNK):
            which = f'stringListMember(PrefectJobsToken, "{",".join(tokens[start : start + _CHUNK])}")'
            found.update(self._ask(client, which, observation.PROJECTION))
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
    """Jobs at one Dask scheduler; without one, at the clusters of the processes that submitted them."""

    def __init__(self) -> None:
        super().__init__()
        self._clients: list[DaskClient] = []

    def poll(self, jobs: Sequence[Job], stop: Callable[[], bool] = bool) -> dict[int, Observation]:
        """As told there: one call to each scheduler."""
        self._failed.clear()
        by_client: dict[DaskClient, list[DaskJob]] = {}
        others: list[Job] = []
        for job in jobs:
            if isinstance(job, DaskJob) and type(job)._update_status is DaskJob._update_status:
                if job.key is not None:
                    by_client.setdefault(job._client(), []).append(job)
            else:
                others.append(job)
        self._clients = list(by_client)
        found = self._each(others, stop)
        for client, ours in by_client.items():
            if stop():
                break
            try:
                answer = client.ask()
            except (SchedulerConnectionError, DaskError) as error:
                if len(by_client) == 1 and ours[0]._record.scheduler is not None:
                    raise SchedulerConnectionError(str(error)) from error
                found.update(self._each(ours, stop))  # each knows whether the process that had the cluster has ended
                continue
            for job in ours:
                found[job._record.id] = job.judged(answer.of(job._token(), job._count()))
                if not statuses.parse(found[job._record.id].status or statuses.RUNNING).kind.terminal:
                    job._end()  # from now on the scheduler tells its end
        return found

    def forget(self, job: Job) -> None:
        """As told there: its futures, which keep its result on the cluster."""
        if job._record.submission_token:
            forget_submission(job._record.submission_token)

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """As told there: schedulers tell ends."""
        deadline = time.monotonic() + seconds
        while not stop.is_set() and (left := deadline - time.monotonic()) > 0:
            if len(self._clients) == 1:
                self._clients[0].ended.wait(min(left, 0.5))
            else:
                stop.wait(min(left, 0.2))
            told = [client for client in self._clients if client.ended.is_set()]
            for client in told:
                client.ended.clear()
            if told:
                return


#: Group by the engine of a job's type.
GROUPS: Mapping[str | None, type[Group]] = {"htcondor": CondorGroup, "dask": DaskGroup, None: Group}


def _differs(job: CondorJob, procs: Mapping[int, observation.Proc]) -> bool:
    known = condor_watch.procs_of(job._record)
    total = int(job._record.native.get("total", 1))
    return len(known) < total or any(
        ((procs[number].state, procs[number].hold_code) if number in procs else None) != (proc.state, proc.hold_code)
        for number, proc in known.items()
        if number in procs or not proc.final
    )


def _is_due(job: CondorJob, held_timeout: float | None) -> bool:
    """Whether something is to be done about a job of which there is no news."""
    if condor_watch.held_for_too_long(job._record, held_timeout):
        return True
    record = job._record
    if not any(proc.get("hold_code") in observation.WAITING_CODES for proc in record.native.get("procs", ())):
        return False  # asked of each job at each poll: making processes of what is noted would take its time
    waits = condor_watch.forgotten(record, condor_watch.procs_of(record).values())
    return waits and not condor_watch.told_lately(record)


def _lost(job: CondorJob, procs: Mapping[int, observation.Proc]) -> bool:
    """Whether a process is not in the queue of which it is not known that it has ended."""
    known = condor_watch.procs_of(job._record)
    total = int(job._record.native.get("total", 1))
    return any(number not in procs and not (number in known and known[number].final) for number in range(total))
