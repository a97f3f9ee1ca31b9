"""The active jobs at one scheduler, by what is to be done with them between two polls: no round goes through all."""

import random
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime

from prefect_jobs import statuses
from prefect_jobs.jobs.group import Group
from prefect_jobs.jobs.type_hooks import AnyJob
from prefect_jobs.records import JobRecord
from prefect_jobs.runtime.wiring import Runtime

#: Number of jobs that are read at once, and in one turn.
_READ, _TURN = 1_000, 5_000
#: Statuses of jobs of which a part may wait for a machine.
_WAITING = (statuses.SUBMITTED, statuses.VARIOUS)


class Roster:
    """The jobs of one watch. Jobs that their group does not keep are known by id alone, and read when needed."""

    def __init__(self, runtime: Runtime, group: Group, *, polled: bool, host: str | None) -> None:
        """
        Args:
            runtime: the wiring.
            group: polls them.
            polled: whether jobs of this scheduler without an id there are polled: types that poll in their own way.
            host: this machine, if the scheduler is its own, which other machines cannot reach; none: any can.
        """
        self._runtime = runtime
        self._group = group
        self._polled = polled
        self._host = host
        self._lock = threading.Lock()
        #: Jobs that were written, with their versions, and jobs that are no longer active, since the last load.
        self._changed: dict[int, int] = {}
        self._gone: set[int] = set()
        #: Jobs at local schedulers of other machines, by their versions.
        self._elsewhere: dict[int, int] = {}
        #: Job → the version that was classified.
        self.versions: dict[int, int] = {}
        #: Jobs that are the same objects at each poll.
        self.kept: dict[int, AnyJob] = {}
        #: Jobs that the scheduler has.
        self.active: set[int] = set()
        #: Jobs whose outputs are to be fetched; those whose submission has no outcome yet.
        self.ready: set[int] = set()
        self.unknown: set[int] = set()
        #: Active jobs that say that their scheduler does not answer.
        self.unreachable: set[int] = set()
        #: Active jobs of which held work may go on; that have output to show; that may wait for a machine, and since
        #: when their scheduler has them.
        self.held: set[int] = set()
        self.live: set[int] = set()
        self.waiting: dict[int, datetime] = {}

    def put(self, job: AnyJob) -> None:
        """Notes a job as its row is now."""
        record, status = job.handle.record, job.handle.status
        job_id = record.id
        known = self.kept.get(job_id)
        if known is not None and known.handle.record.submission_token != record.submission_token:
            self._group.forget(known)
        self.versions[job_id] = record.version
        at_scheduler = status.kind.non_terminal and (
            record.remote_id is not None or (self._polled and job.abilities.polls)
        )
        active = at_scheduler and status.text not in (statuses.RESULTS_READY, statuses.PENDING)
        _set(self.ready, job_id, status.text == statuses.RESULTS_READY)
        _set(self.unknown, job_id, status.text == statuses.PENDING and record.submission_unknown)
        _set(self.active, job_id, active)
        _set(self.unreachable, job_id, active and record.noted.unreachable_since is not None)
        _set(self.held, job_id, active and job.engine.can_release(None))
        _set(self.live, job_id, active and job.engine.may_say_more(record))
        if active and status.text in _WAITING and record.state.execute_time is not None:
            self.waiting[job_id] = record.state.execute_time
        else:
            self.waiting.pop(job_id, None)
        if self._group.keeps(job) or not active:
            self._group.drop(job_id)
        else:
            self._group.follow(job)
        if self._group.keeps(job):
            self.kept[job_id] = job

    def drop(self, job_id: int) -> None:
        """Forgets a job that is over, or was deleted."""
        if (job := self.kept.pop(job_id, None)) is not None:
            self._group.forget(job)
        self._group.drop(job_id)
        self.versions.pop(job_id, None)
        self.waiting.pop(job_id, None)
        for each in (self.active, self.ready, self.unknown, self.unreachable, self.held, self.live):
            each.discard(job_id)

    # -- what other processes write -----------------------------------------------------------------------

    def give(self, changed: Mapping[int, int], gone: Iterable[int]) -> None:
        """Notes active jobs that were written, with their versions, and jobs that are no longer active."""
        with self._lock:
            for job_id in gone:
                self._changed.pop(job_id, None)
                self._gone.add(job_id)
            for job_id, version in changed.items():
                self._gone.discard(job_id)
                self._changed[job_id] = max(version, self._changed.get(job_id, 0))

    def load(self) -> set[int]:
        """Reads the jobs again that other processes have written; returns those that are no longer active.

        Of many, the next calls read the rest: between them, the jobs that are known are polled.

        Raises:
            DatabaseError: the database does not answer; the next call does what is left.
        """
        with self._lock:
            changed, self._changed = self._changed, {}
            gone, self._gone = self._gone, set()
        try:
            for job_id in gone:
                self.drop(job_id)
                self._elsewhere.pop(job_id, None)
            stale = sorted(job_id for job_id, version in changed.items() if self._version(job_id) < version)
            for start in range(0, min(len(stale), _TURN), _READ):
                for record in self._runtime.store.records(stale[start : start + _READ]):
                    self._take(record)
        except BaseException:
            self._give_back(changed, gone)
            raise
        self._give_back({job_id: changed[job_id] for job_id in stale[_TURN:]}, ())
        self._group.reading = len(stale) > _TURN
        return gone

    @property
    def unread(self) -> bool:
        """Whether the last load has left jobs to the next one."""
        return self._group.reading

    def _give_back(self, changed: Mapping[int, int], gone: Iterable[int]) -> None:
        """Notes what is not done yet; what was given meanwhile is newer."""
        with self._lock:
            for job_id, version in changed.items():
                if job_id not in self._gone:
                    self._changed.setdefault(job_id, version)
            self._gone |= {job_id for job_id in gone if job_id not in self._changed}

    def _version(self, job_id: int) -> int:
        return self._elsewhere.get(job_id, 0) or self.versions.get(job_id, 0)

    def _take(self, record: JobRecord) -> None:
        if self._host not in (None, record.noted.host or self._host):
            self.drop(record.id)
            self._elsewhere[record.id] = record.version
            return
        self._elsewhere.pop(record.id, None)
        self.put(self._runtime.job(record))

    # -- jobs ---------------------------------------------------------------------------------------------

    def read(self, job_ids: Iterable[int]) -> list[AnyJob]:
        """Jobs as they are in SQL now."""
        return [self._runtime.job(record) for record in self._runtime.store.records(sorted(job_ids))]

    def jobs(self, job_ids: Iterable[int]) -> list[AnyJob]:
        """Jobs: those that are kept, and the others as they are in SQL now."""
        ids = sorted(job_ids)
        there = [self.kept[job_id] for job_id in ids if job_id in self.kept]
        return there + self.read([job_id for job_id in ids if job_id not in self.kept])

    def polled(self) -> Iterator[AnyJob]:
        """The active jobs that are kept."""
        for job_id, job in list(self.kept.items()):
            if job_id in self.active:
                yield job


def _set(jobs: set[int], job_id: int, belongs: bool) -> None:
    (jobs.add if belongs else jobs.discard)(job_id)


def some(job_ids: Collection[int], most: int) -> list[int]:
    """Some of these jobs, others each time."""
    return sorted(job_ids) if len(job_ids) <= most else random.sample(sorted(job_ids), most)
