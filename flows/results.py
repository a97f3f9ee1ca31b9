"""What the flows return, as JSON."""

from typing import NotRequired, TypedDict


class JobResult(TypedDict):
    """The outcome of a job that has ended well. ``JobManager.get_job(result["job_id"])`` has the rest of it."""

    job_id: int
    status: str
    message: str


class Outputs(TypedDict):
    """The files that a job has left."""

    #: The job directory.
    directory: NotRequired[str]
    #: Paths of the first files in it.
    outputs: NotRequired[list[str]]
    #: The number of all files.
    outputs_total: NotRequired[int]


class CondorResult(JobResult, Outputs):
    """The outcome of a CONDOR job."""

    #: Number of a proc, as text → its exit code; ``None``: ended by a signal.
    exit_codes: dict[str, int | None]


class WorkflowResult(JobResult, Outputs):
    """The outcome of a CONDORWORKFLOW job."""

    #: Name of a node → its status.
    nodes: dict[str, str]
