"""The job as a value: what SQL keeps of it, without SQL. Everything below jobs and store speaks of these."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from prefect_jobs import clock, statuses
from prefect_jobs.noted import Noted
from prefect_jobs.statuses import Status, StatusClass

#: Time after which a submission whose mark is not renewed counts as interrupted: its process died.
GRACE = timedelta(seconds=30)


@dataclass(frozen=True)
class StatusState:
    """Everything about a job that a change of status may touch. :func:`prefect_jobs.transition.transition`
    is the only code that makes one from another."""

    #: Three-letter code; ``OTH`` for custom texts.
    status_code: str = "PEN"
    #: The display name or the custom text.
    status: str = "Pending"
    #: :meth:`StatusClass.encode` of the status' class, kept so that every process treats it alike.
    status_class: str = "pn:PENDING"
    #: For people: why it is as it is.
    status_message: str = ""
    #: What the scheduler said last, in our vocabulary; a custom status hides it until it changes.
    observed_status: str | None = None
    #: Number of the submission this is about; 0 before the first. Observations of an older one are stale.
    attempt: int = 0
    #: Whether the present attempt was ever seen running.
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


@dataclass(frozen=True)
class JobRecord:
    """A row of the table of jobs, as read at one moment."""

    id: int
    #: Goes up by one with every write; a write names the version it read.
    version: int
    #: Package of the app that owns the job.
    label: str
    #: Registered name of the job's type (``CONDOR``).
    type: str
    #: Name of the job's class (``CondorJob``), readable where the type is not known.
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
    #: What the user asked for, by the job's type (submit commands, number of processes, …).
    spec: dict[str, Any] = field(default_factory=dict)
    #: What the scheduler said, by the job's type (cluster id, state of each process, …).
    native: dict[str, Any] = field(default_factory=dict)
    #: Name of the scheduler's block; none: the machine's own installation.
    scheduler: str | None = None
    #: Id of the job at the scheduler.
    remote_id: str | None = None
    #: Token of the present submission: committed before it, travels with it, finds it after a crash.
    submission_token: str | None = None
    #: When the intent to submit was committed, until the submission's outcome is known.
    submitting_since: datetime | None = None
    flow_run_id: str | None = None
    #: A flow engine executes the flow run: Prefect's final state of it is the engine's to write.
    engine_run: bool = False
    #: Id of the Prefect state that we wrote last.
    flow_state_id: str | None = None
    #: Number of changes that Prefect should show, and the number up to which it does.
    face_seq: int = 0
    face_done: int = 0
    #: What the flow run says besides its state (its name, the id at the scheduler).
    face_shown: dict[str, Any] = field(default_factory=dict)
    results_owner: str | None = None
    results_until: datetime | None = None

    @property
    def behind(self) -> bool:
        """Whether Prefect does not show the job as it is."""
        return self.face_done < self.face_seq

    @property
    def final(self) -> bool:
        """Whether the job is over, its results fetched; see :func:`prefect_jobs.statuses.is_final`."""
        return statuses.is_final(self.state.as_status)

    @property
    def noted(self) -> Noted:
        """What every room may read of :attr:`native`."""
        return Noted(self.native)

    @property
    def run_made_here(self) -> bool:
        """Whether the flow run was made to show this job. Others are made in Prefect, by a person, a schedule or a
        flow, and the job is made for them. Who writes the run's end is another question: :attr:`engine_run`."""
        return self.flow_run_id is None or (bool(self.face_shown) and not self.face_shown.get(ADOPTED))

    @property
    def submitting(self) -> bool:
        """Whether a process submits the job at this moment."""
        return self.submitting_since is not None and clock.now() - self.submitting_since < GRACE

    @property
    def submission_unknown(self) -> bool:
        """Whether the intent to submit was committed and the outcome was not."""
        return self.submission_token is not None and self.remote_id is None

    @property
    def submission_interrupted(self) -> bool:
        """Whether the outcome of the submission is unknown, and no process is at it any more."""
        return self.submission_unknown and self.state.status == statuses.PENDING and not self.submitting


#: Key in ``face_shown``: the flow run was not made to show the job.
ADOPTED = "adopted"


@dataclass(frozen=True)
class NodeRecord:
    """A node of a workflow, as read at one moment."""

    name: str
    #: In which order the nodes were added.
    position: int = 0
    #: What the user asked for (kind, parents, submit commands, …).
    spec: dict[str, Any] = field(default_factory=dict)
    #: A display name of our vocabulary, or ``Held``.
    status: str = "Pending"
    #: For people: why it is as it is.
    message: str = ""
    #: What the scheduler said (cluster, exit code, host, times, tries).
    native: dict[str, Any] = field(default_factory=dict)
    #: Number of changes that Prefect should show, and the number up to which it does; 0 and 0: the workflow was
    #: never submitted, so the node has no task run.
    seq: int = 0
    shown: int = 0


@dataclass(frozen=True)
class Message:
    """A line for people about one job: goes to the Logs tab of its flow run."""

    id: int
    job_id: int
    time: datetime
    #: As :mod:`logging` numbers them.
    level: int
    text: str


@dataclass(frozen=True)
class Change:
    """What one write does to a job: new values by field of :class:`JobRecord`, and messages for people."""

    values: dict[str, Any] = field(default_factory=dict)
    #: (level as :mod:`logging` numbers it, text)
    messages: tuple[tuple[int, str], ...] = ()
    #: Nodes that changed, by name: ``status``, ``message``, ``native`` and ``seq`` are written.
    nodes: tuple[NodeRecord, ...] = ()


@dataclass(frozen=True)
class Written:
    """What one write did: the job before it and after it, and what was written (``None``: nothing)."""

    before: JobRecord
    after: JobRecord
    change: Change | None
