"""Stores jobs, and shows them in Prefect: implements :class:`prefect_jobs.jobs.ports.Jobs` with store and projector."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from prefect_jobs import clock
from prefect_jobs.jobs.ports import ChangeOf
from prefect_jobs.projection.projector import Projector
from prefect_jobs.records import GRACE, Change, HistoryEntry, JobRecord, Message, Written
from prefect_jobs.runtime.results import ResultKeeper
from prefect_jobs.store import Store
from prefect_jobs.store.leases import kept_up

#: Seconds that a change may wait in the background before it is shown; a call that waits for it shows it at once.
SHOW_DELAY = 0.5
#: The same for jobs that are being submitted: their runs are made after that, many in one call.
BULK_DELAY = 5.0
#: Number of jobs that are waited for together.
_SHOWN_AT_ONCE = 50


class JobKeeper:
    """See :class:`prefect_jobs.jobs.ports.Jobs`."""

    def __init__(self, store: Store, projector: Projector, results: ResultKeeper, *, patient: bool) -> None:
        """
        Args:
            store: stores the jobs.
            projector: shows them.
            results: stores their results.
            patient: whether calls wait, for a moment, until Prefect shows their changes.
        """
        self._store = store
        self._projector = projector
        self._results = results
        self._patient = patient

    def insert(self, record: JobRecord) -> JobRecord:
        """Writes a new job; its flow run is made when a call waits for it, or soon."""
        written = self._store.insert(record)
        self._projector.kick(written.id, BULK_DELAY)
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
            # While it is being submitted, its run can wait: it is then made with the later state, in one call.
            self._projector.kick(job_id, BULK_DELAY if written.after.submitting_since else SHOW_DELAY)
        return written

    def update_all(self, changes: Sequence[tuple[int, ChangeOf]]) -> list[Written | Exception]:
        """Writes changes to many jobs; begins to show them in Prefect."""
        answers = self._store.update_all(changes)
        behind = [answer.after for answer in answers if isinstance(answer, Written) and answer.after.behind]
        self._projector.kick_all([record.id for record in behind if record.submitting_since], BULK_DELAY)
        self._projector.kick_all([record.id for record in behind if not record.submitting_since])
        return answers

    def delete(self, job_id: int) -> bool:
        """Removes the job; its flow run is deleted as soon as Prefect can be reached."""
        record = self._store.get(job_id)
        done = self._store.delete(job_id)
        if record is not None and record.noted.result is not None:
            self._results.forget(job_id, record.noted.result)
        self._projector.sweep()
        return done

    def shown(self, job_id: int) -> JobRecord | None:
        """Waits, 3 seconds at most, until Prefect shows the job's last change; does not wait if not patient."""
        if not self._patient:
            self._projector.kick(job_id)
            return None
        self._projector.wait([job_id])
        return self._store.get(job_id)

    def shown_all(self, job_ids: Sequence[int]) -> list[JobRecord]:
        """Waits until Prefect shows the last changes of the jobs, 3 seconds at most after its last progress."""
        self._projector.kick_all(job_ids)
        if self._patient:
            for start in range(0, len(job_ids), _SHOWN_AT_ONCE):
                self._projector.wait(job_ids[start : start + _SHOWN_AT_ONCE])
        return self._store.records(job_ids)

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
