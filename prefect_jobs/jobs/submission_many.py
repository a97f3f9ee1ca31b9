"""Many submissions at once: the same steps as for one, each step for many jobs in one transaction or request."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from prefect_jobs.errors import DatabaseError, PrefectJobsError
from prefect_jobs.jobs import submission
from prefect_jobs.jobs.observation import Submitted
from prefect_jobs.jobs.ports import ChangeOf, Jobs
from prefect_jobs.jobs.type_hooks import AnyJob
from prefect_jobs.records import Written

#: Number of jobs whose intents, and whose outcomes, are committed together.
CHUNK = 50
#: Errors of one job that do not affect the others.
_PROBLEMS = (PrefectJobsError, NotImplementedError, ValueError)

Report = Callable[[Any, Exception | None], None]


def execute_many(jobs: Sequence[AnyJob], report: Report) -> None:
    """Executes jobs as :meth:`Job.execute` without arguments does; one that fails does not affect the others.

    Args:
        jobs: the jobs.
        report: called for each once its outcome is committed, with the error if there is one.

    Raises:
        DatabaseError: the database cannot be used; the token finds what was submitted.
    """
    for chunk in _chunks(jobs):
        if not chunk[0].submits_together():
            report(chunk[0], _alone(chunk[0]))
            continue
        batch = _Batch(chunk)
        batch.run()
        for number, job in enumerate(chunk):
            report(job, batch.problems.get(number))


def _chunks(jobs: Sequence[AnyJob]) -> Iterator[list[AnyJob]]:
    """Jobs, in their order, in groups that take their steps together. A job whose type submits one by one is alone in
    its group, so that its outcome is noted before the next job is submitted."""
    chunk: list[AnyJob] = []
    for job in jobs:
        if chunk and not (_go_together(chunk[0], job) and len(chunk) < CHUNK):
            yield chunk
            chunk = []
        chunk.append(job)
    if chunk:
        yield chunk


def _go_together(first: AnyJob, other: AnyJob) -> bool:
    together = first.submits_together() and other.submits_together()
    return together and first.handle.backend is other.handle.backend


def _alone(job: AnyJob) -> Exception | None:
    """Executes a job; returns the error if there is one."""
    try:
        job.execute()
    except DatabaseError:
        raise
    except _PROBLEMS as error:
        return error
    return None


class _Batch:
    """Jobs that take each step together; one that fails takes no further step."""

    def __init__(self, jobs: Sequence[AnyJob]) -> None:
        self._jobs = jobs
        self._keeper: Jobs = jobs[0].handle.backend.jobs
        #: Errors, by index in ``jobs``.
        self.problems: dict[int, Exception] = {}
        self._going: dict[int, AnyJob] = {}

    def run(self) -> None:
        """Takes all steps."""
        alone = self._choose()
        if self._going:
            self._save()
        if self._going:
            self._submit()
        for number in alone:
            self._try(number, self._jobs[number].execute)

    def _choose(self) -> list[int]:
        """Selects the jobs that can be submitted together.

        Returns:
            The indexes of the others, which are executed one by one: an earlier submission must be found first.
        """
        alone: list[int] = []
        known: set[int] = set()
        for number, job in enumerate(self._jobs):
            if id(job) in known:
                alone.append(number)  # listed twice: refused as active, like any other job
                continue
            known.add(id(job))
            if self._try(number, partial(submission.check, job)):
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

    def _submit(self) -> None:
        for number, job in list(self._going.items()):
            self._try(number, partial(submission.prepare, job))
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
        answers = self._keeper.update_all(changes)
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
        answers = self._keeper.update_all([(job.handle.record.id, changes[number]) for number, job in jobs.items()])
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


def _hand_over(engine: Any, engines: list[Any]) -> list[Submitted | Exception]:
    try:
        found: list[Submitted | Exception] = engine.submit_many(engines)
    except DatabaseError:
        raise
    except Exception as error:  # no disk, no memory: all of them fail
        return [error] * len(engines)
    return found
