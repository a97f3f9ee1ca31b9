"""Errors of all parts of the store."""

from prefect_jobs.errors import DatabaseError, JobStateError


class RowConflict(DatabaseError):
    """A row contradicts another one: it exists already, or the job that it belongs to was deleted at this moment."""


class JobGone(JobStateError):
    """The job was deleted meanwhile."""


def job_gone(job_id: int) -> JobGone:
    """The error with its message. Not the class's constructor: unpickling creates an error from its text."""
    return JobGone(f"Job {job_id} does not exist any more: it was deleted.")
