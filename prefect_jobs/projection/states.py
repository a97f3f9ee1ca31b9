"""The Prefect state that shows a status. Pure; the table is in :mod:`prefect_jobs.statuses`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from prefect_jobs import statuses
from prefect_jobs.records import JobRecord, NodeRecord

#: The status for a state's type, for jobs without a scheduler: the inverse of the table in
#: :mod:`prefect_jobs.statuses`, for types only.
STATUS_BY_TYPE = {
    "SCHEDULED": statuses.PENDING,
    "PENDING": statuses.SUBMITTED,
    "RUNNING": statuses.RUNNING,
    "PAUSED": statuses.PAUSED,
    "COMPLETED": statuses.COMPLETE,
    "FAILED": statuses.ERROR,
    "CRASHED": statuses.ERROR,
    "CANCELLED": statuses.ABORTED,
}
#: Prefix of :func:`pid_of`.
PID = "prefect-jobs:"
#: Prefect's name for a run that is to be run again.
AWAITS_RETRY = "AwaitingRetry"
ENDS = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
#: Prefect limits state messages only by what its database can store; people read the first lines.
_MESSAGE_LIMIT = 4000


@dataclass(frozen=True)
class Face:
    """A Prefect state to be shown."""

    #: ``None``: the present type of the flow run.
    type: str | None
    name: str
    message: str
    #: The lease on a place in the concurrency limit of the run's deployment, which each state must name.
    lease: str | None = None
    #: When the run is to start; for states of the type SCHEDULED.
    due: datetime | None = None

    @property
    def details(self) -> dict[str, str]:
        """The details of the state, in the form of the API."""
        found = {} if self.lease is None else {"deployment_concurrency_lease_id": self.lease}
        return found if self.due is None else {**found, "scheduled_time": self.due.isoformat()}

    @property
    def terminal(self) -> bool:
        """Whether the flow run is over in this state."""
        return self.type in ENDS


def face_of(record: JobRecord) -> Face:
    """The state that shows a job."""
    state, due = record.state, record.retry_due
    official = statuses.BY_CODE.get(state.status_code)
    if due is not None:
        text = f"Retry {state.attempt} of {record.retries}, since it ended as {state.status}. {state.status_message}"
        return Face("SCHEDULED", AWAITS_RETRY, _cut(text), due=due)
    kind: str | None = state.as_status.kind.state_type
    name = official.state_name if official else state.status
    if state.status == statuses.ERROR and state.crashed:
        kind, name = "CRASHED", "Crashed"
    if state.status == statuses.SUBMITTED and state.has_run:
        kind = "RUNNING"  # evicted and idle again: a run that has begun does not return to PENDING
    if record.engine_run and kind in ("PENDING", "PAUSED"):
        # The flow engine executes the run: Prefect shows it as running, whatever its job waits for.
        kind = "RUNNING"
    if record.concurrency_lease is not None and kind == "PAUSED":
        kind = "RUNNING"  # Prefect would give the run's place in the limit to another run, and free it twice
    return Face(kind, name, _cut(state.status_message), record.concurrency_lease)


def begins_run(face: Face, before: Sequence[str | None] | None, *, engine: bool) -> bool:
    """Whether a state to be shown may count as a run in Prefect, which counts each state of the type RUNNING.

    Args:
        face: the state to be shown.
        before: type and name of the last state that was shown; ``None``: not known.
        engine: whether the flow engine executes the run, and has counted it.
    """
    kind, name = before or (None, None)
    if (face.type or kind) != "RUNNING":
        return True  # it is not counted
    if engine:
        return False
    # "Submitted" of the type RUNNING waits for its next start, which is another run.
    runs = kind == "RUNNING" and name != statuses.SUBMITTED
    return before is None or (not runs and face.name != statuses.SUBMITTED)


def node_face(node: NodeRecord, *, job_final: bool) -> Face:
    """The state that shows a node of a workflow.

    Args:
        node: the node.
        job_final: whether the workflow is over, so that nothing more happens by itself.
    """
    status = statuses.parse(node.status)
    official = statuses.BY_CODE.get(status.code)
    name = official.state_name if official else status.text
    if job_final and status.text == statuses.PENDING:
        name = "NotReady"  # Prefect's name for a run that will not start, since one before it failed
    return Face(status.kind.state_type or "PENDING", name, _cut(node.message))


def _cut(message: str) -> str:
    return message if len(message) <= _MESSAGE_LIMIT else message[:_MESSAGE_LIMIT] + " …"


def pid_of(store: str, job_id: int) -> str:
    """What executes a run, as Prefect keeps it: a job in a database, by the database's identity."""
    return f"{PID}{store}:{job_id}"


def job_of_pid(pid: str, store: str) -> int | None:
    """The opposite of :func:`pid_of`; ``None``: it is not a job of this database."""
    prefix = f"{PID}{store}:"
    number = pid.removeprefix(prefix)
    return int(number) if pid.startswith(prefix) and number.isdecimal() else None


def tag_of_app(label: str) -> str:
    """The tag of what belongs to an app."""
    return f"app:{label}"


def tags_of(record: JobRecord) -> list[str]:
    """The flow run's tags: what people filter by in Prefect's list of runs, which knows no labels."""
    tags = ["prefect-jobs", tag_of_app(record.label), f"user:{record.user}", f"type:{record.type.lower()}"]
    return [*tags, f"scheduler:{record.scheduler}"] if record.scheduler else tags


def labels_of(record: JobRecord) -> dict[str, str | int]:
    """The flow run's labels: the place of the job, for programs."""
    labels: dict[str, str | int] = {
        "prefect-jobs.job-id": record.id,
        "prefect-jobs.job-type": record.class_name,
        "prefect-jobs.scheduler": record.scheduler or "local",
    }
    if record.remote_id:
        labels["prefect-jobs.remote-id"] = record.remote_id
        if record.noted.cluster is not None:
            labels["prefect-jobs.cluster-id"] = record.noted.cluster
    return labels
