"""What the flows share: the job of this flow run, executed and waited for."""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event
from typing import Any

from prefect.context import FlowRunContext
from prefect.states import Cancelled

from prefect_jobs import statuses
from prefect_jobs.app import App
from prefect_jobs.errors import JobStateError, PrefectJobsError, SubmissionError
from prefect_jobs.jobs import registry, submission
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.job_type import filled
from prefect_jobs.jobs.summary import outcome
from prefect_jobs.manager import JobManager, known_run
from prefect_jobs.projection.prefect_api import PrefectApi, retried

log = logging.getLogger(__name__)

#: Output paths in a result; there may be thousands of files.
MAX_PATHS = 100
#: Seconds for which Prefect is asked again where it is busy.
PATIENCE = 10.0
#: Seconds until a scheduler that did not answer is tried again: at first, and at most.
_PAUSES = (2.0, 60.0)


class JobFailed(PrefectJobsError):
    """The job of the flow run did not end well; the message says how it ended."""


def run_job(
    job_type: str,
    *,
    app: str,
    name: str,
    user: str,
    timeout: float,
    options: Mapping[str, Any],
    submit: Callable[[Job], None] | None = None,
) -> dict[str, Any] | Any:
    """Runs the job of the present flow run.

    A run that is retried goes on with its job: one that is still active is waited for, one that is over is
    submitted again.

    Args:
        job_type: a registered name.
        app: the label of the app that the job belongs to.
        name: the job's name.
        user: whose job it is.
        timeout: seconds to wait; 0: for ever.
        options: more keyword arguments of ``create_job``.
        submit: submits the job, a new one or one that is over; by default ``execute`` and ``resubmit`` do.

    Returns:
        The job's id, status, message, and, where there are such, exit codes, statuses of nodes and output paths; a
        Cancelled state where the job was stopped.

    Raises:
        JobFailed: the job ended as Error or Various-Complete.
        SubmissionError: it was refused. Where its scheduler cannot be reached, it is tried again.
        TimeoutError: it is not over after ``timeout`` seconds; the job is stopped.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise JobFailed("This function runs inside a flow run only.")
    manager = JobManager(_app(app))
    given = filled(options)
    job, known = manager.job_of_run(
        str(context.flow_run.id), lambda: manager.create_job(name, user, job_type=job_type, **given)
    )
    job.handle.engine_run = True
    over = known and job.handle.record.final
    if over and not _asked_for(str(context.flow_run.id)):
        log.warning("%s is not submitted again: the retry of its run was acted on already", job.handle.title)
        return _result(job)
    deadline = time.monotonic() + timeout if timeout else None
    try:
        if over or job.cached_status == statuses.PENDING:
            _submit(job, submit or (_resubmit if over else Job.execute), deadline)
        job.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
    except SubmissionError:
        raise  # refused: there is nothing to be stopped
    except BaseException:
        # Out of time, or the flow is being ended: nobody would look after the work from here on.
        _stop(job)
        raise
    return _result(job)


def run_type(
    job_type: str, parameters: Mapping[str, Any], submit: Callable[[Job], None] | None = None
) -> dict[str, Any] | Any:
    """As :func:`run_job`, with the parameters of the type's own flow; the type knows what they mean."""
    _, cls = registry.job_class(job_type)
    common = {name: parameters[name] for name in ("app", "name", "user", "timeout")}
    return run_job(job_type, **common, options=cls.options_of_run(parameters), submit=submit)


def has_job() -> bool:
    """Whether the present flow run is the face of a job already: an app has made it, or the run is retried."""
    context = FlowRunContext.get()
    return context is not None and context.flow_run is not None and known_run(str(context.flow_run.id))


def _submit(job: Job, submit: Callable[[Job], None], deadline: float | None) -> None:
    """Submits the job, unless another process does, or it cannot be run again: the run then ends as its job does.

    Where nothing could be submitted, the job is Pending and says why, and so does its run; it is tried again.

    Raises:
        SubmissionError: refused.
        TimeoutError: nothing could be submitted before the deadline.
    """
    pause = _PAUSES[0]
    while True:
        before = job.handle.record
        try:
            submit(job)
        except (JobStateError, NotImplementedError) as error:
            job.handle.refresh()
            moved = job.handle.record.state.attempt != before.state.attempt or job.handle.record.submitting
            if not moved and not job.handle.record.final:
                raise
            log.warning("%s is not submitted by this run: %s", job.handle.title, error)
        except SubmissionError as error:
            if not submission.may_be_tried_again(error.__cause__):
                raise
            if deadline is not None and time.monotonic() + pause > deadline:
                raise TimeoutError(f"It is out of time. {error}") from error
            log.warning("%s It is tried again in %.0f s.", error, pause)
            Event().wait(pause)
            pause = min(pause * 2, _PAUSES[1])
            job.handle.refresh()
            if not job.handle.record.final or job.handle.record.state == before.state:
                continue  # else it was stopped meanwhile
        return


def _resubmit(job: Job) -> None:
    if job.cached_status == statuses.PENDING:  # an earlier try has not reached the scheduler
        submission.submit_again(job)
    else:
        job.resubmit()


def _asked_for(flow_run_id: str) -> bool:
    """Whether the run that is executed now was scheduled, as Retry does it.

    A worker that was offered the run and takes its time may get it though the monitor has acted on that already, if
    the job is over by then: Prefect lets a run go from a final state to PENDING.
    """
    api = PrefectApi()
    try:
        types = retried(lambda: api.state_types(flow_run_id), PATIENCE)
    except PrefectJobsError as error:
        log.warning("Prefect does not tell why the run was started; it counts as asked for: %s", error)
        return True
    finally:
        api.close()
    while types and types[-1] == "RUNNING":
        types.pop()
    if not types or types[-1] != "PENDING":
        return True
    while types and types[-1] == "PENDING":
        types.pop()
    return not types or types[-1] not in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def _stop(job: Job) -> None:
    try:
        job.stop()
    except JobStateError:
        log.info("%s was over already", job.handle.title)  # it ended at that moment
    except PrefectJobsError as error:
        log.error("%s could not be stopped and goes on: %s", job.handle.title, error)


def _app(label: str) -> type[App]:
    return type("FlowApp", (App,), {"name": label, "package": label})


def _result(job: Job) -> dict[str, Any] | Any:
    if job.cached_status == statuses.ABORTED:
        return Cancelled(message=job.status_message or "The job was stopped.")
    if job.handle.record.state.as_status.kind.state_type in ("FAILED", "CRASHED", "CANCELLED"):
        raise JobFailed(f"{job.handle.title} ended as {job.cached_status}: {job.status_message}")
    found = outcome(job)
    directory = job.engine.directory
    if directory is not None:
        paths = sorted(path for path in Path(directory).rglob("*") if path.is_file())
        found["directory"] = str(directory)
        found["outputs"] = [str(path) for path in paths[:MAX_PATHS]]
        found["outputs_total"] = len(paths)
    return found
