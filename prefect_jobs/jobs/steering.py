"""Stop, pause and resume: at the scheduler first, then in the status."""

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from prefect_jobs import statuses
from prefect_jobs.acting import actor
from prefect_jobs.errors import JobStateError, PrefectJobsError
from prefect_jobs.jobs import hooks, polling, submission
from prefect_jobs.jobs.observation import Observation
from prefect_jobs.jobs.possible import possible
from prefect_jobs.jobs.type_hooks import AnyJob
from prefect_jobs.noted import STEERED as STEERED_BY
from prefect_jobs.noted import TIMED_OUT
from prefect_jobs.transition import News, Source

F = TypeVar("F", bound=Callable[..., Any])

#: The public methods that a type may override and that are actions.
STEERED = ("stop", "pause", "resume")
#: How often the scheduler is polled again after an action, while other processes write the job at the same time.
_RACES = 5
_STATUS_AFTER = {"stop": statuses.ABORTED, "pause": statuses.PAUSED, "resume": statuses.SUBMITTED}
_MESSAGE_AFTER = {"stop": "Stopped.", "pause": "Paused.", "resume": ""}


def steered(action: str) -> Callable[[F], F]:
    """Turns the method of a type that steers the work into the public call: it checks the status, calls the method, and
    sets the status. Within the method, ``super().stop()`` is just the method of the class above."""

    def decorate(method: F) -> F:
        @functools.wraps(method)
        def call(job: Any, *args: Any, **kwargs: Any) -> Any:
            if job.handle.acting == action:
                return job.handle.from_engine(action, hooks.call(method, job, *args, **kwargs))
            return act(job, action, functools.partial(method, job, *args, **kwargs))

        return call  # type: ignore[return-value]

    return decorate


def act(job: AnyJob, action: str, hook: Callable[[], Any]) -> None:
    """Does an action.

    Args:
        job: the job.
        action: ``stop``, ``pause`` or ``resume``.
        hook: the type's method, which acts at the scheduler.

    Raises:
        JobStateError: not possible in the job's status.
        NotImplementedError: not possible for this type.
        SchedulerConnectionError: the scheduler cannot be reached: nothing was changed.
    """
    handle = job.handle
    handle.refresh()
    job.check_known(f"made to {action}")
    check(job, action)
    if handle.status.text == statuses.PENDING and handle.record.submission_unknown:
        submission.adopt(job)
    attempt = handle.record.state.attempt
    # Written before: a poll may see the outcome first.
    asked: dict[str, Any] = {STEERED_BY: {"attempt": attempt, "action": action, "who": actor(handle.record.user)}}
    if action == "stop" and not handle.out_of_time and handle.record.noted.timed_out(attempt):
        asked[TIMED_OUT] = None  # a person stops it before its end of time could
    handle.apply(None, native=asked)
    answer: Any = None
    if handle.status.text != statuses.PENDING:
        try:
            answer = _at_scheduler(job, action, hook)
        except Exception:
            _over(job)
            raise
    if isinstance(answer, Observation):
        _observed(job, answer)
        if action != "stop":  # its outcome may come later
            _over(job)
        return
    status = answer if isinstance(answer, str) else _STATUS_AFTER[action]
    message = _MESSAGE_AFTER[action]
    if action == "resume" and answer is None and handle.record.state.has_run:
        status = statuses.RUNNING
    event = News(Source.SCHEDULER, status, message, attempt=handle.record.state.attempt)
    handle.apply(event, values={"submitting_since": None})
    _over(job)


def _over(job: AnyJob) -> None:
    """Forgets who has asked for an action without an outcome: else what others do would be taken for that."""
    if job.handle.record.native.get(STEERED_BY):
        with suppress(PrefectJobsError):
            job.handle.apply(None, native={STEERED_BY: None})


def time_out(job: AnyJob, seconds: float) -> None:
    """Stops a job that is not over in time: it ends as Error, as a flow that runs out of time fails.

    Raises:
        JobStateError: it is over already.
        SchedulerConnectionError: the scheduler cannot be reached: it goes on, and is to be stopped later.
    """
    text = f"Timed out: it was not over {seconds:g} s after its submission, and was stopped."
    job.handle.refresh()
    check(job, "stop")
    # Written before it is stopped: a poll may see the end first.
    job.handle.apply(None, native={TIMED_OUT: {"attempt": job.handle.record.state.attempt, "message": text}})
    job.handle.out_of_time = True
    try:
        job.stop()
    finally:
        job.handle.out_of_time = False


def check(job: AnyJob, action: str) -> None:
    """
    Raises:
        JobStateError: the action is not possible in the job's status, as last known.
        NotImplementedError: it is not possible for this type.
    """
    held = job.engine.parts_held() if action == "resume" else False
    refusal = possible(action, job.handle.record, job.abilities, parts_held=held)
    if refusal is not None:
        raise (NotImplementedError if refusal.by_type else JobStateError)(refusal.reason)


def _at_scheduler(job: AnyJob, action: str, hook: Callable[[], Any]) -> Any:
    """Runs the hook; returns its answer, or that of the built-in one within it."""
    handle = job.handle
    outer, handle.acting = handle.acting, action
    try:
        answer = handle.run_hook(hook)
    finally:
        handle.acting = outer
    return answer.built_in.get(action) if answer.value is None else answer.value


def _observed(job: AnyJob, found: Observation | None) -> None:
    for _ in range(_RACES):
        if found is None or polling.observed(job, found):
            return
        job.handle.refresh()  # another process has written an observation meanwhile
        found = job.hooks.update_status()
