"""Every error that prefect-jobs raises on purpose, under one root."""


class PrefectJobsError(Exception):
    """Root of the errors of prefect-jobs. Messages say what happened, to what, and what to do."""


class SubmissionError(PrefectJobsError):
    """A job was not submitted. The cause is chained; where nothing reached the scheduler, execute it again."""


class SchedulerConnectionError(PrefectJobsError):
    """A scheduler cannot be reached, does not answer in time, or refuses us. Never a verdict on a job."""


class SchedulerSettingDoesNotExist(PrefectJobsError):
    """An app was asked for a scheduler setting that it does not declare."""


class SchedulerNotAssigned(PrefectJobsError):
    """A required scheduler setting has no scheduler assigned to it."""


class SchedulerEngineMismatch(PrefectJobsError, ValueError):
    """The scheduler found is of the other engine than the setting (or the job type) needs."""


class SchedulerMissing(SchedulerConnectionError):
    """Prefect has no scheduler of that name. A submission is refused; for a job that is at work it is no verdict."""


class JobStateError(PrefectJobsError):
    """The action is not possible in the job's present status, or not with what this process knows of it."""


class ResultUnavailable(PrefectJobsError):
    """The result is not there: the job has not ended, failed, or was told to forget it."""


class LocalPartError(PrefectJobsError):
    """A part that prefect-jobs runs on this machine (personal pool, Prefect server) cannot be had or started."""


class DatabaseError(PrefectJobsError):
    """The database cannot be used: unreachable, or of a schema that this version does not know."""
