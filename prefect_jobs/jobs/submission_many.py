"""Many submissions at once: the same steps as for one, each step of many jobs in one transaction or request."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from prefect_jobs.errors import DatabaseError, PrefectJobsError
from prefect_jobs.jobs import submission
from prefect_jobs.records import JobRecord

if TYPE_CHECKING:
    from prefect_jobs.jobs.base import Job
    from prefect_jobs.jobs.ports import Backend

#: Jobs whose intents are committed together, and of which the outcome is told together.
CHUNK = 50
#: What may be wrong with one job, and must keep no other.
_PROBLEMS = (PrefectJobsError, NotImplementedError, ValueError)

Told = Callable[["Job", Exception | None], None]


def execute_many(jobs: Sequence["Job"], told: Told) -> None:
    """Executes jobs as :meth:`Job.execute` without arguments does, one being no other's trouble.

    Args:
        jobs: the jobs.
        told: called for each once its outcome is committed, with the error where there was one.

    Raises:
        DatabaseError: the database cannot be used; what was submitted is found again by its token.
    """
    submitted: list[Job] = []
    for chunk in _chunks(jobs):
        if not chunk[0]._together():
            told(chunk[0], _alone(chunk[0]))
            continue
        batch = _Batch(chunk)
        batch.run()
        submitted += batch.ready
        for number, job in enumerate(chunk):
            told(job, batch.problems.get(number))
    for backend in dict.fromkeys(job._backend for job in submitted):
        mine = [job for job in submitted if job._backend is backend]
        records = {record.id: record for record in backend.shown_all([job._record.id for job in mine])}
        for job in mine:
            if job._record.id in records:
                job._take(records[job._record.id])


def _chunks(jobs: Sequence["Job"]) -> Iterator[list["Job"]]:
    """Jobs, in their order, that take their steps together; those of types that submit one by one are alone: what was
    submitted is then noted before the next one is."""
    chunk: list[Job] = []
    for job in jobs:
        fits = chunk and job._together() and chunk[0]._together() and job._backend is chunk[0]._backend
        if chunk and not (fits and len(chunk) < CHUNK):
            yield chunk
            chunk = []
        chunk.append(job)
    if chunk:
        yield chunk


def _alone(job: "Job") -> Exception | None:
    """Executes a job; what went wrong with it."""
    try:
        job.execute()
    except DatabaseError:
        raise
    except _PROBLEMS as error:
        return error
    return None


class _Batch:
    """Jobs that take each step together; whoever fails takes no further one."""

    def __init__(self, jobs: Sequence["Job"]) -> None:
        self._jobs = jobs
        #: By number in ``jobs``: what went wrong.
        self.problems: dict[int, Exception] = {}
        self._going: dict[int, Job] = {}

    @property
    def ready(self) -> list["Job"]:
        """The jobs that were submitted together."""
        return list(self._going.values())

    def run(self) -> None:
        """All steps."""
        alone = self._choose()
        if self._going:
            self._save(next(iter(self._going.values()))._backend)
        if self._going:
            self._submit(next(iter(self._going.values()))._backend)
        for number in alone:
            self._try(number, self._jobs[number].execute)

    def _choose(self) -> list[int]:
        """Finds those that can go together.

        Returns:
            The numbers of those that take steps of their own: an earlier submission must be looked for first.
        """
        alone: list[int] = []
        known: set[int] = set()
        for number, job in enumerate(self._jobs):
            if id(job) in known:
                alone.append(number)  # listed twice: it is refused as any job that is active
                continue
            known.add(id(job))
            if self._try(number, partial(submission.check, job)):
                if submission.has_past(job):
                    alone.append(number)
                else:
                    self._going[number] = job
        return alone

    def _save(self, backend: "Backend") -> None:
        new = {number: job for number, job in self._going.items() if job.id is None}
        old = {number: job for number, job in self._going.items() if job.id is not None}
        try:
            written = backend.insert_all([job._drafted(job._record) for job in new.values()])
        except DatabaseError:
            raise
        except _PROBLEMS:  # one of them cannot be stored: which one?
            for number, job in new.items():
                self._try(number, partial(self._insert, backend, job))
        else:
            for job, record in zip(new.values(), written, strict=True):
                job._take(record, keep=False)
        self._write(backend, old, lambda job: job._user_changes, keep=False)
        for number, job in list(self._going.items()):
            self._try(number, job._save_parts)

    @staticmethod
    def _insert(backend: "Backend", job: "Job") -> None:
        job._take(backend.insert(job._drafted(job._record)), keep=False)

    def _submit(self, backend: "Backend") -> None:
        tokens = {number: submission.new_token() for number in self._going}
        for number, job in list(self._going.items()):
            self._try(number, partial(submission.prepare, job))
        intents = {id(job): submission.intention(job, tokens[number]) for number, job in self._going.items()}
        self._write(backend, self._going, lambda job: intents[id(job)])
        going = dict(self._going)
        ids = {job._record.id: tokens[number] for number, job in going.items()}
        errors: dict[int, Exception] = {}
        try:
            with backend.submission_lease(ids):
                for cls in dict.fromkeys(type(job) for job in going.values()):
                    numbers = [number for number, job in going.items() if type(job) is cls]
                    found = self._hand_over(cls, [going[number] for number in numbers])
                    errors.update({number: error for number, error in zip(numbers, found, strict=True) if error})
        except DatabaseError:
            raise  # what got through is found by the tokens once the marks are old
        except BaseException:
            # Interrupted (Ctrl-C): what got through is found out by the tokens, at the next look.
            backend.update_all([(job_id, submission.interrupted) for job_id in ids])
            raise
        self._commit(backend, errors)

    @staticmethod
    def _hand_over(kind: "type[Job]", jobs: list["Job"]) -> list[Exception | None]:
        try:
            return kind._execute_many(jobs)
        except DatabaseError:
            raise
        except Exception as error:  # no disk, no memory: none of these is better off
            return [error] * len(jobs)

    def _commit(self, backend: "Backend", errors: dict[int, Exception]) -> None:
        """Writes what became of the submissions."""
        changes: list[tuple[int, Any]] = []
        noted: dict[int, dict[str, Any]] = {}
        for number, job in self._going.items():
            if number in errors:
                change, self.problems[number] = submission.failed(job, errors[number])
            else:
                change, noted[number] = submission.acceptance(job)
            changes.append((job._record.id, change))
        answers = backend.update_all(changes)
        for (number, job), answer in zip(self._going.items(), answers, strict=True):
            try:
                if number in noted:
                    submission.committed(job, noted[number], answer)
                elif isinstance(answer, JobRecord):
                    job._take(answer)
            except _PROBLEMS as error:
                self.problems[number] = error

    def _write(
        self, backend: "Backend", jobs: dict[int, "Job"], change: Callable[["Job"], Any], *, keep: bool = True
    ) -> None:
        answers = backend.update_all([(job._record.id, change(job)) for job in jobs.values()])
        for (number, job), answer in zip(list(jobs.items()), answers, strict=True):
            if isinstance(answer, JobRecord):
                job._take(answer, keep=keep)
            else:
                job._unprepare()
                self._fails(number, answer)

    def _try(self, number: int, step: Callable[[], Any]) -> bool:
        try:
            step()
        except DatabaseError:
            raise
        except _PROBLEMS as error:
            self._fails(number, error)
            return False
        return True

    def _fails(self, number: int, error: Exception) -> None:
        self.problems[number] = error
        self._going.pop(number, None)
