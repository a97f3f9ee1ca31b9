"""Results: what the work left behind is fetched and passed to the user's function, then the job gets its outcome."""

import logging
import traceback

from prefect_jobs import statuses
from prefect_jobs.errors import DatabaseError, JobStateError, SchedulerConnectionError
from prefect_jobs.jobs import changes, hooks
from prefect_jobs.jobs.observation import Fetched, OutputsNotFetched
from prefect_jobs.jobs.type_hooks import AnyJob
from prefect_jobs.noted import Outcome
from prefect_jobs.records import ChangeOf
from prefect_jobs.transition import News, Source

log = logging.getLogger(__name__)

_NOT_FETCHED = "The work is over; its outputs could not be fetched yet and are safe"


def process_results(job: AnyJob) -> None:
    """See :meth:`Job.process_results`."""
    handle = job.handle
    handle.refresh()
    if handle.record.final:
        return
    if handle.status.text != statuses.RESULTS_READY:
        raise JobStateError(f"{handle.title} is {handle.status.text!r}: there are no results before its work is over.")
    fetch_and_end(job)


def fetch(job: AnyJob) -> bool:
    """Fetches what the work left behind, if the job is Results-Ready; returns whether the job is over now.

    Raises:
        SchedulerConnectionError: the scheduler was not reached; the job stays Results-Ready.
    """
    job.handle.refresh()
    if job.handle.status.text == statuses.RESULTS_READY:
        fetch_and_end(job)
    return job.handle.record.final


def fetch_and_end(job: AnyJob) -> None:
    """Fetches outputs under the lease and ends the job. If that is not possible, the job stays Results-Ready, and
    fetching is tried again later.

    Raises:
        SchedulerConnectionError: the scheduler does not answer.
    """
    handle = job.handle
    with handle.backend.results.lease(handle.record.id) as mine:
        handle.refresh()
        if not mine or handle.status.text != statuses.RESULTS_READY:
            return
        try:
            fetched = job.hooks.process_results()
        except OutputsNotFetched as error:
            change = not_fetched(job, error)
            if change is not None:
                handle.update(handle.with_noted(change))
            return
        except (SchedulerConnectionError, DatabaseError):
            raise  # the status stays; it is tried again
        except Exception as error:  # of the type's hook, which is user code
            handle.update(handle.with_noted(failed(error)))
        else:
            end(job, fetched)
        _release(job)


def not_fetched(job: AnyJob, error: OutputsNotFetched) -> ChangeOf | None:
    """The change that notes why outputs were not fetched; ``None``: that is noted already."""
    if job.handle.record.state.status_message.startswith(_NOT_FETCHED):
        return None
    event = News(Source.RESULTS, None, f"{_NOT_FETCHED}: {error}")
    return lambda fresh: changes.change_for(fresh, event)


def failed(error: Exception) -> ChangeOf:
    """The change that ends a job whose results could not be processed."""
    event = News(Source.RESULTS, statuses.ERROR, _with_traceback("The results could not be processed", error))
    return lambda fresh: changes.change_for(fresh, event)


def outcome(job: AnyJob, fetched: Fetched, event: News | None = None) -> ChangeOf:
    """The change that gives a job without a results function its outcome, with what was fetched; or another event."""
    record = job.handle.record
    known = record.noted.outcome or Outcome(statuses.COMPLETE)
    message = " ".join(filter(None, (known.message, fetched.note)))
    ended = News(Source.RESULTS, known.status, message, attempt=record.state.attempt, ended=known.ended)
    return lambda fresh: changes.change_for(
        fresh, event or ended, native=fetched.native, messages=fetched.messages, nodes=fetched.nodes
    )


def end(job: AnyJob, fetched: Fetched) -> None:
    """Calls the user's function, and gives the job its outcome."""
    handle = job.handle
    known = handle.record.noted.outcome or Outcome(statuses.COMPLETE)
    status, message, native, note = known.status, known.message, fetched.native, ""
    path = handle.record.process_results_function
    if path and status in (statuses.COMPLETE, statuses.VARIOUS_COMPLETE):
        peer = _as_made(job)
        given = fetched.result if job.engine.gives_result or fetched.result is not None else peer
        kept = "the outputs are kept" if job.engine.keeps_results else "the result is not kept (forget=True)"
        try:
            returned, note = peer.call_results_function(hooks.import_function(path), given)
        except Exception as error:  # of the user's function
            status, message = statuses.ERROR, _with_traceback(f"The results function {path} failed; {kept}", error)
        else:
            try:
                # Noted with the outcome: until then another process would call the function with what was fetched.
                native = {**native, **({} if returned is None else job.engine.keep_returned(returned))}
            except DatabaseError:
                raise  # the outcome could not be written either: all of it is tried again
            except Exception as error:  # of the value, or of a storage
                what = f"What the results function {path} returned could not be stored; {kept}"
                status, message = statuses.ERROR, _with_traceback(what, error)
    message = " ".join(filter(None, (message, fetched.note, note)))
    event = News(Source.RESULTS, status, message, attempt=handle.record.state.attempt, ended=known.ended)
    handle.apply(event, native=native, messages=fetched.messages, nodes=fetched.nodes)


def _as_made(job: AnyJob) -> AnyJob:
    """The job as an object of the class of which its user has made it."""
    path = job.handle.record.noted.peer
    if path is None:
        return job
    made: AnyJob = hooks.import_function(path)(job)
    return made


def _release(job: AnyJob) -> None:
    """Removes what is left at the scheduler, after the outcome is written."""
    try:
        job.engine.release()
    except Exception as error:  # the job is over in any case
        log.warning("What is left of %s at its scheduler could not be removed: %s", job.handle.title, error)


def _with_traceback(what: str, error: Exception) -> str:
    return f"{what}: {error}\n{''.join(traceback.format_exception(error))}"
