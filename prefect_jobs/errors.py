"""Every error that prefect-jobs raises on purpose, under one root."""


class PrefectJobsError(Exception):
    """Root of the errors of prefect-jobs. Messages say what happened, to what, and what to do."""


class SubmissionError(PrefectJobsError):
    """A job was not submitted. The cause is chained. If nothing reached the scheduler, execute the job again."""


class SchedulerConnectionError(PrefectJobsError):
    """A scheduler cannot be reached, does not answer in time, or refuses us. Says nothing about a job."""


class SchedulerSettingDoesNotExist(PrefectJobsError):
    """An app was asked for a scheduler setting that it does not declare."""


class SchedulerNotAssigned(PrefectJobsError):
    """A required scheduler setting has no scheduler assigned to it."""


class SchedulerEngineMismatch(PrefectJobsError, ValueError):
    """The scheduler is of another engine than the setting (or the job type) needs."""


class SchedulerMissing(SchedulerConnectionError):
    """Prefect has no scheduler of that name. A submission is refused; a running job keeps its status."""


class JobStateError(PrefectJobsError):
    """The action is not possible in the present status of the job, or with what this process knows of it."""


class ResultUnavailable(PrefectJobsError):
    """The job has no result: it has not ended, it failed, or it discards its result (`forget=True`)."""


class LocalPartError(PrefectJobsError):
    """A part that prefect-jobs runs on this machine (personal pool, Prefect server) cannot be installed or started."""


class DatabaseError(PrefectJobsError):
    """The database cannot be used: it is unreachable, or its schema is unknown to this version."""
