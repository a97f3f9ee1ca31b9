"""Many submissions at once: the same steps as for one, each step for many jobs in one transaction or request."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from prefect_jobs.errors import DatabaseError, PrefectJobsError
from prefect_jobs.jobs import submission
from prefect_jobs.jobs.observation import Submitted
from prefect_jobs.jobs.ports import Jobs
from prefect_jobs.jobs.type_hooks import AnyJob
from prefect_jobs.records import ChangeOf, JobRecord, Written

log = logging.getLogger(__name__)

#: Number of jobs whose intents, and whose outcomes, are committed together.
CHUNK = 50
#: Number of bytes of work that are held in memory together: fewer jobs go together if their work is large.
BYTES = 16 * 2**20
#: Errors of one job that do not affect the others. (TypeError: it is executed with the wrong number of arguments.)
_PROBLEMS = (PrefectJobsError, NotImplementedError, ValueError, TypeError)

Report = Callable[[Any, Exception | None], None]
J = TypeVar("J", bound=AnyJob)
#: A job, and the arguments of its :meth:`Job.execute`.
Order = tuple[AnyJob, tuple[Any, ...]]


def orders(jobs: Iterable[J], work: Iterable[Any] | None) -> list[tuple[J, tuple[Any, ...]]]:
    """Jobs, each with the argument of its :meth:`Job.execute`; ``None`` is no argument.

    Raises:
        ValueError: there is not one ``work`` for each job.
    """
    every = list(jobs)
    given = [None] * len(every) if work is None else list(work)
    if len(given) != len(every):
        raise ValueError(f"work needs one item for each job; there are {len(given)} items and {len(every)} jobs.")
    return [(job, () if one is None else (one,)) for job, one in zip(every, given, strict=True)]


def logged(report: Report | None) -> Report:
    """The report, with each error in the log."""

    def tell(job: Any, problem: Exception | None) -> None:
        if problem is not None:
            log.warning("%s", problem)
        if report is not None:
            report(job, problem)

    return tell


def execute_many(orders: Sequence[Order], report: Report) -> None:
    """Executes jobs as :meth:`Job.execute` does; one that fails does not affect the others.

    Args:
        orders: the jobs, each with its arguments.
        report: called for each once its outcome is committed, with the error if there is one.

    Raises:
        DatabaseError: the database cannot be used; the token finds what was submitted.
    """
    for chunk in _chunks(orders):
        if not _together(chunk[0]):
            report(chunk[0][0], _alone(chunk[0]))
            continue
        batch = _Batch(chunk)
        batch.run()
        for number, (job, _) in enumerate(chunk):
            report(job, batch.problems.get(number))


def _chunks(orders: Sequence[Order]) -> Iterator[list[Order]]:
    """Jobs, in their order, in groups that take their steps together. A job whose type submits one by one is alone in
    its group, so that its outcome is noted before the next job is submitted."""
    chunk: list[Order] = []
    for order in orders:
        if chunk and not (_go_together(chunk[0], order) and len(chunk) < CHUNK):
            yield chunk
            chunk = []
        chunk.append(order)
    if chunk:
        yield chunk


def _together(order: Order) -> bool:
    job, args = order
    return job.submits_together(*args)


def _go_together(first: Order, other: Order) -> bool:
    return _together(first) and _together(other) and first[0].handle.backend is other[0].handle.backend


def _alone(order: Order) -> Exception | None:
    """Executes a job; returns the error if there is one."""
    job, args = order
    try:
        job.execute(*args)
    except DatabaseError:
        raise
    except _PROBLEMS as error:
        return error
    return None


class _Batch:
    """Jobs that take each step together; one that fails takes no further step."""

    def __init__(self, orders: Sequence[Order]) -> None:
        self._orders = orders
        self._keeper: Jobs = orders[0][0].handle.backend.jobs
        #: Errors, by index in ``orders``.
        self.problems: dict[int, Exception] = {}
        #: The jobs that were submitted together.
        self.ready: list[AnyJob] = []
        self._going: dict[int, AnyJob] = {}

    def run(self) -> None:
        """Takes all steps."""
        alone = self._choose()
        if self._going:
            self._save()
        for portion in self._portions():
            self._going = portion
            if self._going:
                self._submit()
            self.ready += self._going.values()
        for number in alone:
            job, args = self._orders[number]
            self._try(number, partial(job.execute, *args))

    def _choose(self) -> list[int]:
        """Selects the jobs that can be submitted together.

        Returns:
            The indexes of the others, which are executed one by one: an earlier submission must be found first.
        """
        alone: list[int] = []
        known: set[int] = set()
        for number, (job, args) in enumerate(self._orders):
            if id(job) in known:
                alone.append(number)  # listed twice: refused as active, like any other job
                continue
            known.add(id(job))
            if self._try(number, partial(job.check_given, *args)) and self._try(number, partial(submission.check, job)):
                if submission.has_past(job):
                    alone.append(number)
                else:
                    self._going[number] = job
        return alone

    def _save(self) -> None:
        new = {number: job for number, job in self._going.items() if job.handle.id is None}
        old = {number: job for number, job in self._going.items() if job.handle.id is not None}
        try:
            records = self._keeper.insert_all([job.handle.drafted() for job in new.values()])
        except DatabaseError:
            raise
        except _PROBLEMS:  # one of them cannot be stored: save one by one
            for number, job in new.items():
                self._try(number, job.handle.save)
        else:
            for job, record in zip(new.values(), records, strict=True):
                job.handle.take(record, keep=False)
        self._write(old, {number: job.handle.user_changes for number, job in old.items()}, keep=False)
        for number, job in list(self._going.items()):
            self._try(number, job.engine.save_parts)

    def _portions(self) -> Iterator[dict[int, AnyJob]]:
        """The jobs that go on, with their work prepared, in portions that are not large."""
        waiting, size = dict(self._going), 0
        portion: dict[int, AnyJob] = {}
        for number, job in waiting.items():
            if self._try(number, partial(submission.prepare, job, *self._orders[number][1])):
                portion[number] = job
                size += sum(map(len, job.engine.beside_intent().blobs.values()))
            if size > BYTES:
                yield portion
                portion, size = {}, 0
        yield portion

    def _submit(self) -> None:
        tokens = {number: submission.new_token() for number in self._going}
        intents = {number: submission.intention(job, tokens[number]) for number, job in self._going.items()}
        self._write(self._going, intents)
        going = dict(self._going)
        ids = {job.handle.record.id: tokens[number] for number, job in going.items()}
        answers: dict[int, Submitted | Exception] = {}
        try:
            with self._keeper.submission_lease(ids):
                for engine in dict.fromkeys(type(job.engine) for job in going.values()):
                    numbers = [number for number, job in going.items() if type(job.engine) is engine]
                    found = _hand_over(engine, [going[number].engine for number in numbers])
                    answers.update(zip(numbers, found, strict=True))
        except DatabaseError:
            raise  # the tokens find later what was submitted
        except BaseException:
            # Interrupted (Ctrl-C): the next poll finds out by the tokens what was submitted.
            self._keeper.update_all([(job_id, submission.interrupted) for job_id in ids])
            raise
        self._commit(answers)

    def _commit(self, outcomes: dict[int, Submitted | Exception]) -> None:
        """Writes the outcomes of the submissions."""
        changes: list[tuple[int, ChangeOf]] = []
        for number, job in self._going.items():
            outcome = outcomes[number]
            if isinstance(outcome, Submitted):
                change = submission.acceptance(outcome)
            else:
                change, self.problems[number] = submission.failed(job, outcome)
            changes.append((job.handle.record.id, change))
        answers = self._keeper.update_all(changes, _records(self._going.values()))
        for (number, job), answer in zip(self._going.items(), answers, strict=True):
            outcome = outcomes[number]
            try:
                if isinstance(outcome, Submitted):
                    submission.committed(job, outcome, answer)
                elif isinstance(answer, Written):
                    job.handle.take(answer.after)
            except _PROBLEMS as error:
                self.problems[number] = error

    def _write(self, jobs: dict[int, AnyJob], changes: dict[int, ChangeOf], *, keep: bool = True) -> None:
        if not jobs:
            return
        wanted = [(job.handle.record.id, changes[number]) for number, job in jobs.items()]
        answers = self._keeper.update_all(wanted, _records(jobs.values()))
        for (number, job), answer in zip(list(jobs.items()), answers, strict=True):
            if isinstance(answer, Written):
                job.handle.take(answer.after, keep=keep)
            else:
                job.engine.unprepare()
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


def _records(jobs: Iterable[AnyJob]) -> dict[int, JobRecord]:
    return {job.handle.record.id: job.handle.record for job in jobs}


def _hand_over(engine: Any, engines: list[Any]) -> list[Submitted | Exception]:
    try:
        found: list[Submitted | Exception] = engine.submit_many(engines)
    except DatabaseError:
        raise
    except Exception as error:  # no disk, no memory: all of them fail
        return [error] * len(engines)
    return found
