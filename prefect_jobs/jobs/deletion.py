"""Deletion of a job: first its work is stopped, then its row is deleted, then its files."""

import logging
import shutil

from prefect_jobs import statuses
from prefect_jobs.errors import SchedulerConnectionError
from prefect_jobs.jobs import submission
from prefect_jobs.jobs.type_hooks import AnyJob

log = logging.getLogger(__name__)


def delete(job: AnyJob, *, files: bool) -> None:
    """See :meth:`Job.delete`; with ``files`` also deletes the job directory."""
    handle = job.handle
    if handle.id is None:
        return
    record = handle.backend.jobs.get(handle.record.id)
    if record is None:
        return
    handle.take(record)
    waiting = handle.status.text == statuses.PENDING
    adopted = waiting and record.submission_unknown and submission.adopt(job)
    ours = not record.noted.foreign  # the work of others goes on
    if ours and (adopted or not (waiting or handle.status.kind.terminal)):
        try:
            job.stop()
        except NotImplementedError as error:
            log.warning("%s is deleted while it is %r: %s", handle.title, handle.status.text, error)
    try:
        job.hooks.clean_up()
    except SchedulerConnectionError as error:
        # The work is over. Remains at a scheduler that no longer exists must not block the deletion for ever.
        log.warning("What is left of %s at its scheduler could not be removed: %s", handle.title, error)
    directory = job.engine.directory
    handle.backend.jobs.delete(record.id)
    if files and directory is not None:
        shutil.rmtree(directory, ignore_errors=True)
    handle.forget()
