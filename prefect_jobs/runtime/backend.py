"""Stores jobs, and shows them in Prefect: implements :class:`prefect_jobs.jobs.ports.Jobs` with store and projector."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

from prefect_jobs import clock
from prefect_jobs.projection.projector import Projector
from prefect_jobs.records import GRACE, Change, ChangeOf, HistoryEntry, JobRecord, Message, Written
from prefect_jobs.runtime.results import ResultKeeper
from prefect_jobs.store import Store
from prefect_jobs.store.leases import kept_up

#: Seconds until a change is shown, so that the next ones are shown with it; it is shown at once if a call needs that.
SHOW_DELAY = 0.5
#: The same for jobs that are being submitted: their runs are made after that, many in one call.
BULK_DELAY = 5.0
#: The same for jobs that are over: nothing follows.
_END_DELAY = 0.05


class JobKeeper:
    """See :class:`prefect_jobs.jobs.ports.Jobs`."""

    def __init__(self, store: Store, projector: Projector, results: ResultKeeper, *, delay: float = SHOW_DELAY) -> None:
        """
        Args:
            store: stores the jobs.
            projector: shows them.
            results: stores their results.
            delay: seconds until a change is shown.
        """
        self._store = store
        self._projector = projector
        self._results = results
        self._delay = delay

    def insert(self, record: JobRecord) -> JobRecord:
        """Writes a new job; its flow run is made in the background."""
        written = self._store.insert(record)
        self._projector.kick(written.id, self._delay)
        return written

    def insert_all(self, records: Sequence[JobRecord]) -> list[JobRecord]:
        """Writes new jobs, all of them or none."""
        written = self._store.insert_all(records)
        self._projector.kick_all([record.id for record in written], BULK_DELAY)
        return written

    def get(self, job_id: int) -> JobRecord | None:
        """The present record of the job."""
        return self._store.get(job_id)

    def get_all(self, job_ids: Sequence[int]) -> list[JobRecord]:
        """The present records of jobs."""
        return self._store.records(job_ids)

    def update(self, job_id: int, change: ChangeOf, known: JobRecord | None = None) -> Written:
        """Writes a change, and begins to show it in Prefect if it is visible there."""
        written = self._store.update(job_id, change, known)
        if _is_visible(written):
            self._projector.kick(job_id, self._delay_of(written.after))
        return written

    def _delay_of(self, record: JobRecord) -> float:
        """Seconds until a change is shown, together with those that follow it."""
        if record.submitting_since:
            return BULK_DELAY  # its run is then made with the later state, in one call
        return min(self._delay, _END_DELAY) if record.final else self._delay

    def update_all(
        self, changes: Sequence[tuple[int, ChangeOf]], known: Mapping[int, JobRecord] = MappingProxyType({})
    ) -> list[Written | Exception]:
        """Writes changes to many jobs; begins to show them in Prefect."""
        answers = self._store.update_all(changes, known)
        due: dict[float, list[int]] = {}
        for answer in answers:
            if isinstance(answer, Written) and (answer.after.behind or _is_visible(answer)):
                due.setdefault(self._delay_of(answer.after), []).append(answer.after.id)
        for delay, job_ids in due.items():
            self._projector.kick_all(job_ids, delay)
        return answers

    def delete(self, job_id: int) -> bool:
        """Removes the job; its flow run is deleted as soon as Prefect can be reached."""
        record = self._store.get(job_id)
        done = self._store.delete(job_id)
        if record is not None and record.noted.result is not None:
            self._results.forget(job_id, record.noted.result)
        self._projector.delete_runs_soon(int(done))
        return done

    def shown(self, job_id: int) -> JobRecord | None:
        """Waits, 3 seconds at most, until Prefect shows the job's last change."""
        self._projector.wait([job_id])
        return self._store.get(job_id)

    @contextmanager
    def submission_lease(self, tokens: Mapping[int, str]) -> Iterator[None]:
        """Renews the heartbeat of submissions while the context lasts: spooling may take long."""

        def mark(record: JobRecord) -> Change | None:
            mine = record.submission_token == tokens[record.id] and record.submitting_since is not None
            return Change({"submitting_since": clock.now()}) if mine else None

        changes = [(job_id, mark) for job_id in tokens]
        with kept_up(lambda: self._store.update_all(changes), GRACE.total_seconds() / 3):
            yield

    def messages(self, job_id: int) -> list[Message]:
        """The job's log lines."""
        return self._store.messages(job_id)

    def history(self, job_id: int) -> list[HistoryEntry]:
        """The changes of the job's status."""
        return self._store.history(job_id)


def _is_visible(written: Written) -> bool:
    """Whether a write is visible in Prefect."""
    change = written.change
    if change is None:
        return False
    return written.before.face_seq != written.after.face_seq or bool(change.messages or change.nodes)
