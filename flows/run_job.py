"""The common part of the flows: executes the job of this flow run and waits for it."""

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from prefect.context import FlowRunContext
from prefect.states import Cancelled

from prefect_jobs import arguments, statuses
from prefect_jobs.acting import PREFECT, acting
from prefect_jobs.app import App
from prefect_jobs.errors import JobStateError, PrefectJobsError, SubmissionError
from prefect_jobs.jobs import registry, steering, submission
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.job_type import filled
from prefect_jobs.jobs.summary import outcome
from prefect_jobs.manager import JobManager, known_run
from prefect_jobs.projection.prefect_api import PrefectApi, retried
from prefect_jobs.runtime.wiring import get_runtime

log = logging.getLogger(__name__)

#: Output paths in a result; there may be thousands of files.
MAX_PATHS = 100
#: Seconds for which a request to a busy Prefect is repeated.
PATIENCE = 10.0
#: Seconds until a scheduler that did not answer is tried again: the first time, and at most.
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
    options: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
    submit: Callable[[Job], None] | None = None,
) -> dict[str, Any] | Any:
    """Runs the job of the present flow run.

    A retry of the run continues with its job: it waits for an active one, and submits one that is over again.

    Args:
        job_type: a registered name.
        app: the label of the app of the job.
        name: the job's name.
        user: the user of the job.
        timeout: seconds to wait; 0: no limit.
        options: more keyword arguments of ``create_job``, or a function that returns them for a new job.
        submit: submits the job, a new one or one that is over; by default ``execute`` and ``resubmit`` do.

    Returns:
        The job's id, status and message, and its exit codes, statuses of nodes and output paths, if any; a
        Cancelled state if the job was stopped.

    Raises:
        JobFailed: the job ended as Error or Various-Complete.
        SubmissionError: it was refused. If its scheduler cannot be reached, it is tried again.
        TimeoutError: the job is not over after ``timeout`` seconds; it is stopped.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise JobFailed("run_job() must be called in a flow run.")
    manager = JobManager(_app(app))
    run, deployment = str(context.flow_run.id), context.flow_run.deployment_id
    make = lambda: manager.create_job(name, user, job_type=job_type, **_given(options))  # noqa: E731
    job, known = manager.job_of_run(run, make, str(deployment) if deployment else None)
    job.handle.engine_run = True
    over = known and job.handle.record.final
    if over and not _asked_for(run):
        log.warning("%s is not submitted again: this retry of its run was carried out already", job.handle.title)
        return _result(job)
    deadline = time.monotonic() + timeout if timeout else None
    try:
        if over or job.cached_status == statuses.PENDING:
            _submit(job, submit or (_resubmit if over else Job.execute), deadline)
        job.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
    except SubmissionError:
        raise  # refused: there is nothing to stop
    except TimeoutError:
        _stop(job, lambda: steering.time_out(job, timeout))
        raise
    except BaseException:
        # The flow is being ended: no process would watch the work any more.
        _stop(job, job.stop)
        raise
    return _result(job)


def run_type(job_type: str, parameters: Mapping[str, Any], submit: Callable[[Job], None] | None = None) -> Any:
    """As :func:`run_job`, with the parameters of the type's own flow; the type knows what they mean. The
    result is one of :mod:`prefect_jobs.flows.results`, or a Cancelled state."""
    _, cls = registry.job_class(job_type)
    common = {name: parameters[name] for name in ("app", "name", "user", "timeout")}
    make = partial(arguments.options_of_run, get_runtime(), common["app"], cls, parameters)
    return run_job(job_type, **common, options=make, submit=submit)


def _given(options: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    return filled(options() if callable(options) else options)


def has_job() -> bool:
    """Whether the present flow run shows a job already: an app has created it, or the run is retried."""
    context = FlowRunContext.get()
    return context is not None and context.flow_run is not None and known_run(str(context.flow_run.id))


def _submit(job: Job, submit: Callable[[Job], None], deadline: float | None) -> None:
    """Submits the job, unless another process does, or it cannot run again: the run then ends as its job does.

    If nothing could be submitted, the job stays Pending, it and its run show the reason, and it is tried again.

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
                raise TimeoutError(f"The timeout of the flow run has passed. {error}") from error
            log.warning("%s Trying again in %.0f s.", error, pause)
            Event().wait(pause)
            pause = min(pause * 2, _PAUSES[1])
            job.handle.refresh()
            if not job.handle.record.final or job.handle.record.state == before.state:
                continue  # else it was stopped meanwhile
        return


def _resubmit(job: Job) -> None:
    with acting(PREFECT):
        if job.cached_status == statuses.PENDING:  # an earlier try did not reach the scheduler
            submission.submit_again(job)
        else:
            job.resubmit()


def _asked_for(flow_run_id: str) -> bool:
    """Whether the run that is executed now was scheduled, as Retry does.

    A slow worker may get a run although the monitor has carried out its retry already, and the job is over by then:
    Prefect allows a run to go from a final state to PENDING.
    """
    api = PrefectApi()
    try:
        types = retried(lambda: api.state_types(flow_run_id), PATIENCE)
    except PrefectJobsError as error:
        log.warning("Prefect does not answer why the run was started; it is treated as a retry: %s", error)
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


def _stop(job: Job, stop: Callable[[], object]) -> None:
    try:
        with acting(PREFECT):
            stop()
    except JobStateError:
        log.info("%s was over already", job.handle.title)  # it ended at that moment
    except PrefectJobsError as error:
        log.error("%s could not be stopped and continues: %s", job.handle.title, error)


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
