"""What every part of the store may raise."""

from prefect_jobs.errors import DatabaseError, JobStateError


class RowConflict(DatabaseError):
    """A row contradicts another one: it is there already, or what it belongs to was deleted at this moment."""


class JobGone(JobStateError):
    """The job was deleted meanwhile."""


def job_gone(job_id: int) -> JobGone:
    """The error for people. Not made by the class itself: what is pickled is made again from its text."""
    return JobGone(f"Job {job_id} does not exist any more: it was deleted.")
