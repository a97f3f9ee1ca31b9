"""The job as a value: what SQL keeps of it, without SQL. Every module below jobs and store uses these types."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from prefect_jobs import clock, statuses
from prefect_jobs.noted import Noted
from prefect_jobs.statuses import Status, StatusClass

#: Time after which a submission without a heartbeat counts as interrupted: its process died.
GRACE = timedelta(seconds=30)


@dataclass(frozen=True)
class StatusState:
    """Everything about a job that a change of status may change. Only
    :func:`prefect_jobs.transition.transition` makes one from another."""

    #: Three-letter code; ``OTH`` for custom texts.
    status_code: str = "PEN"
    #: The display name or the custom text.
    status: str = "Pending"
    #: :meth:`StatusClass.encode` of the status' class, stored so that every process treats the status alike.
    status_class: str = "pn:PENDING"
    #: For people: the reason of the status.
    status_message: str = ""
    #: What the scheduler reported last, as one of our statuses; a custom status hides it until it changes.
    observed_status: str | None = None
    #: The attempt; 0 before the first submission. Observations of an earlier one are ignored.
    attempt: int = 0
    #: Whether the present attempt has been seen running.
    has_run: bool = False
    #: The infrastructure, not the job, failed (Prefect's CRASHED).
    crashed: bool = False
    execute_time: datetime | None = None
    start_time: datetime | None = None
    completion_time: datetime | None = None
    last_status_update: datetime | None = None

    @property
    def as_status(self) -> Status:
        """The status with its class."""
        return Status(self.status_code, self.status, StatusClass.decode(self.status_class))


#: Begins the token of a job whose work was submitted without us.
FOREIGN_TOKEN = "queue:"  # noqa: S105 (no secret)


@dataclass(frozen=True)
class JobRecord:
    """A row of the table of jobs, as read at one moment."""

    id: int
    #: Increases by one with every write; a write names the version that it read.
    version: int
    #: Package of the app that owns the job.
    label: str
    #: Registered name of the job's type (``CONDOR``).
    type: str
    #: Name of the job's class (``CondorJob``), for processes that do not know the type.
    class_name: str
    name: str
    user: str
    creation_time: datetime
    state: StatusState = field(default_factory=StatusState)
    groups: tuple[str, ...] = ()
    description: str = ""
    workspace: str = ""
    extended_properties: dict[str, Any] = field(default_factory=dict)
    process_results_function: str | None = None
    #: What the user asked for, in the terms of the job type (submit commands, number of procs, …).
    spec: dict[str, Any] = field(default_factory=dict)
    #: What the scheduler reported, in the terms of the job type (cluster id, state of each proc, …).
    native: dict[str, Any] = field(default_factory=dict)
    #: Name of the scheduler's block; none: the scheduler of the machine where the job was submitted.
    scheduler: str | None = None
    #: Id of the job at the scheduler.
    remote_id: str | None = None
    #: Token of the present submission: committed before it, sent with the work, finds the work after a crash.
    submission_token: str | None = None
    #: When the intent to submit was committed or renewed; none once the outcome of the submission is known.
    submitting_since: datetime | None = None
    flow_run_id: str | None = None
    #: The flow engine executes the flow run, and writes its final state.
    engine_run: bool = False
    #: Id of the last Prefect state that we wrote.
    flow_state_id: str | None = None
    #: Number of visible changes, and number of the last one that Prefect shows.
    face_seq: int = 0
    face_done: int = 0
    #: What the flow run shows besides its state (its name, the id at the scheduler).
    face_shown: dict[str, Any] = field(default_factory=dict)
    #: Name of the schedule that the job comes from.
    schedule: str | None = None
    #: The deployment in Prefect that its flow run was started from.
    deployment_id: str | None = None
    #: Seconds after its submission in which it must be over; none: no limit, or the flow engine keeps it.
    timeout: float | None = None
    #: The lease of the flow run on a place in the concurrency limit of its deployment.
    concurrency_lease: str | None = None
    #: Name of the Prefect worker that has picked up the flow run.
    worker: str | None = None
    #: How often the monitor submits it again after a failure, and seconds until then; none: the flow run asks for none.
    retries: int | None = None
    retry_delay: float | None = None
    results_owner: str | None = None
    results_until: datetime | None = None
    #: Whether a process has begun to show it and has not noted the end: what it has put into Prefect is not noted.
    face_tried: bool = field(default=False, compare=False)

    @property
    def behind(self) -> bool:
        """Whether Prefect does not show the last change of the job yet."""
        return self.face_done < self.face_seq

    @property
    def final(self) -> bool:
        """Whether the job is over and its results are in; see :func:`prefect_jobs.statuses.is_final`."""
        return statuses.is_final(self.state.as_status)

    @property
    def retry_due(self) -> datetime | None:
        """When the monitor submits it again, as its flow run asks for; ``None``: it is not over, or has not failed, or
        no retry is left."""
        state = self.state
        if self.engine_run or not self.final or state.as_status.kind.state_type not in ("FAILED", "CRASHED"):
            return None
        if state.attempt > (self.retries or 0) or state.completion_time is None:
            return None
        return state.completion_time + timedelta(seconds=self.retry_delay or 0)

    @property
    def noted(self) -> Noted:
        """The keys of :attr:`native` that every module may read."""
        return Noted(self.native)

    @property
    def submitting(self) -> bool:
        """Whether a process submits the job at this moment."""
        return self.submitting_since is not None and clock.now() - self.submitting_since < GRACE

    @property
    def submission_unknown(self) -> bool:
        """Whether the intent to submit was committed, but not the outcome."""
        return self.submission_token is not None and self.remote_id is None

    @property
    def submission_interrupted(self) -> bool:
        """Whether the outcome of the submission is unknown, and no process is submitting any more."""
        return self.submission_unknown and self.state.status == statuses.PENDING and not self.submitting


@dataclass(frozen=True)
class NodeRecord:
    """A node of a workflow, as read at one moment."""

    name: str
    #: Position of the node in the order of addition.
    position: int = 0
    #: What the user asked for (kind, parents, submit commands, …).
    spec: dict[str, Any] = field(default_factory=dict)
    #: A display name of our vocabulary, or ``Held``.
    status: str = "Pending"
    #: For people: the reason of the status.
    message: str = ""
    #: What the scheduler reported (cluster, exit code, host, times, tries).
    native: dict[str, Any] = field(default_factory=dict)
    #: Number of visible changes, and number of the last one that Prefect shows; 0 and 0: the workflow was never
    #: submitted, so the node has no task run.
    seq: int = 0
    shown: int = 0


@dataclass(frozen=True)
class Message:
    """A line for people about one job, shown in the Logs tab of its flow run."""

    id: int
    job_id: int
    time: datetime
    #: A level of :mod:`logging`.
    level: int
    text: str


class HistoryEntry(NamedTuple):
    """A change of a job's status, or of its message."""

    time: datetime
    status: str
    message: str
    #: A user's name, ``scheduler`` or ``prefect``.
    who: str


#: The fields of an entry, in this order.
HISTORY = ("time", "status", "message", "who")


@dataclass(frozen=True)
class Change:
    """What one write changes: new values by field of :class:`JobRecord`, and messages for people."""

    values: dict[str, Any] = field(default_factory=dict)
    #: (level of :mod:`logging`, text)
    messages: tuple[tuple[int, str], ...] = ()
    #: Nodes that changed, by name: ``status``, ``message``, ``native`` and ``seq`` are written.
    nodes: tuple[NodeRecord, ...] = ()
    #: The status of which the first message tells, and who has set it; ``None``: it tells of something else.
    told: tuple[str, str] | None = None
    #: Bytes of the job, by kind; they replace those of that kind.
    blobs: Mapping[str, bytes] = field(default_factory=dict)


#: Computes what to write from the present record; it may be called again on a newer record.
ChangeOf = Callable[[JobRecord], Change | None]


@dataclass(frozen=True)
class Written:
    """The outcome of one write: the job before and after it, and what was written (``None``: nothing)."""

    before: JobRecord
    after: JobRecord
    change: Change | None


@dataclass(frozen=True)
class ScheduleRecord:
    """A job on a schedule. Its deployment in Prefect has it, too, as people have changed it there."""

    #: Package of the app.
    label: str
    user: str
    #: As given; unique in the app and for the user.
    name: str
    #: Registered name of the jobs' type.
    type: str
    #: When the jobs run, and the parameters of their flow, as in the last call; people may have changed the deployment.
    timing: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    #: What happens to runs that overlap, or are late: ``overlap``, ``max_lateness``, ``catch_up``, as far as given.
    rules: dict[str, Any] = field(default_factory=dict)
    #: The deployment in Prefect; ``None``: it is being created.
    deployment_id: str | None = None
