"""The attributes of a job: those that a user may set, and those that describe its present state."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from html import escape
from types import MappingProxyType
from typing import Any

from anyio.to_thread import run_sync

from prefect_jobs import clock, statuses
from prefect_jobs.jobs import changes, hooks
from prefect_jobs.jobs.custom_statuses import CustomStatuses
from prefect_jobs.jobs.handle import Handle
from prefect_jobs.people import UserName
from prefect_jobs.records import HistoryEntry

MAX_NAME_LENGTH = 1024


class JobFields(CustomStatuses):
    """The attributes. Those without a setter are read-only."""

    #: The job's record and drafts, for code that extends this package.
    handle: Handle

    # -- set by users -----------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Shown to people, and the name of the flow run; ``{id}`` becomes the job's id."""
        return self.handle.name

    @name.setter
    def name(self, value: str) -> None:
        self.handle.drafts.name = value

    @property
    def description(self) -> str:
        """What the job is about."""
        return self.handle.drafts.description

    @description.setter
    def description(self, value: str) -> None:
        self.handle.drafts.description = value

    @property
    def workspace(self) -> str:
        """The folder in which the job directory is made, absolute. A relative path becomes absolute when the job is
        saved; an empty one becomes the default for the app and the user."""
        return self.handle.drafts.workspace

    @workspace.setter
    def workspace(self, value: str) -> None:
        self.handle.drafts.workspace = value

    @property
    def extended_properties(self) -> dict[str, Any]:
        """Any values that JSON can keep; changes made in place are saved, too."""
        return self.handle.drafts.extended_properties

    @extended_properties.setter
    def extended_properties(self, value: dict[str, Any]) -> None:
        self.handle.drafts.extended_properties = value

    @property
    def process_results_function(self) -> Callable[..., Any] | None:
        """The function that is called with the results, once per completion; set as a function or its dotted path.
        What it returns, if that is not ``None``, becomes the result of a Dask job.

        Raises:
            ValueError: it cannot be imported: when it is set, or, in another process, when it is read.
        """
        path = self.handle.drafts.process_results_function
        return None if path is None else hooks.import_function(path)

    @process_results_function.setter
    def process_results_function(self, function: Callable[..., Any] | str | None) -> None:
        self.handle.drafts.process_results_function = None if function is None else hooks.dotted_path(function)

    @property
    def spec(self) -> dict[str, Any]:
        """What the user asked for, in the terms of the job type; changes made in place are saved."""
        return self.handle.drafts.spec

    # -- as last known ----------------------------------------------------------------------------------

    @property
    def id(self) -> int | None:
        """Our id; ``None`` before the first save."""
        return self.handle.id

    @property
    def user(self) -> UserName:
        """The user's name, a text that also equals an object with that ``username``; ``"anonymous"`` for a web visitor
        who is not logged in."""
        return UserName(self.handle.record.user)

    @property
    def label(self) -> str:
        """The package of the app that owns the job."""
        return self.handle.record.label

    @property
    def type(self) -> str:
        """The name of the job's class."""
        return self.handle.record.class_name

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that may see the job."""
        return self.handle.record.groups

    @property
    def creation_time(self) -> datetime:
        """When the job was created."""
        return self.handle.record.creation_time

    @property
    def execute_time(self) -> datetime | None:
        """When the job was last submitted."""
        return self.handle.record.state.execute_time

    @property
    def start_time(self) -> datetime | None:
        """When the work began."""
        return self.handle.record.state.start_time

    @property
    def completion_time(self) -> datetime | None:
        """When the work was over."""
        return self.handle.record.state.completion_time

    @property
    def history(self) -> tuple[HistoryEntry, ...]:
        """The changes of the status and of its message, oldest first: tuples of ``time``, ``status``, ``message`` and
        ``who``, which is a user's name, ``scheduler`` or ``prefect``. Read from the database; empty before the first
        save."""
        record = self.handle.record
        if self.handle.id is None:
            return ()
        first = HistoryEntry(record.creation_time, statuses.PENDING, "", record.user)
        return (first, *self.handle.backend.jobs.history(record.id))

    @property
    def run_time(self) -> timedelta | str:
        """How long the work ran, or has run so far, without the time in which it was held or paused; ``""`` before it
        began."""
        state = self.handle.record.state
        if state.start_time is None:
            return ""
        end = state.completion_time or clock.now()
        return max(end - state.start_time - changes.stood(self.handle.record.native, end), timedelta(0))

    @property
    def wait_time(self) -> timedelta | str:
        """How long the job waited in the queue, or has waited so far, from its last submission; ``""`` before it."""
        state = self.handle.record.state
        if state.execute_time is None:
            return ""
        return max((state.start_time or state.completion_time or clock.now()) - state.execute_time, timedelta(0))

    @property
    def cached_status(self) -> str:
        """The status as last known to this object; no scheduler and no database is contacted."""
        return self.handle.record.state.status

    @property
    def status_code(self) -> str:
        """The three-letter code of :attr:`cached_status`."""
        return self.handle.record.state.status_code

    @property
    def status_message(self) -> str:
        """The reason of the status, for people."""
        return self.handle.record.state.status_message

    @property
    def last_status_update(self) -> datetime | None:
        """When the status was last set or confirmed."""
        return self.handle.record.state.last_status_update

    @property
    def flow_run_id(self) -> str | None:
        """The id of the job's Prefect flow run, which is made in the background: waits for it, 3 seconds at most.
        ``None``: the job is not saved, or Prefect was not reached yet."""
        record = self.handle.record
        if record.flow_run_id is None and record.id:
            self.handle.wait_shown()
        return self.handle.record.flow_run_id

    @property
    def flow_run_url(self) -> str | None:
        """The URL of the flow run in the Prefect UI; waits as :attr:`flow_run_id` does."""
        run = self.flow_run_id
        return self.handle.backend.site.flow_run_url(run) if run else None

    async def aflow_run_id(self) -> str | None:
        """As :attr:`flow_run_id`."""
        return await run_sync(lambda: self.flow_run_id)

    async def aflow_run_url(self) -> str | None:
        """As :attr:`flow_run_url`."""
        return await run_sync(lambda: self.flow_run_url)

    @property
    def schedule(self) -> str | None:
        """The name of the schedule that the job comes from; ``None``: it comes from none."""
        return self.handle.record.schedule

    @property
    def remote_id(self) -> str | None:
        """The id at the scheduler."""
        return self.handle.record.remote_id

    @property
    def submission_token(self) -> str | None:
        """The token of the present submission, with which ``_find_submission`` finds the work after a crash. Each
        submission has a new one, committed before ``_execute`` is called."""
        return self.handle.record.submission_token

    @property
    def native(self) -> Mapping[str, Any]:
        """What the scheduler reported, in the terms of the job type; see :class:`prefect_jobs.Submitted`."""
        return MappingProxyType(self.handle.record.native)

    def __repr__(self) -> str:
        return f"<{self.type} {self.id} {self.name!r}: {self.cached_status}>"

    def _repr_html_(self) -> str:
        """What notebooks show: the job as last known."""
        record, state = self.handle.record, self.handle.record.state
        url = self.handle.backend.site.flow_run_url(record.flow_run_id) if record.flow_run_id else None
        waits = record.noted.waits(state.attempt) if state.status == statuses.SUBMITTED else ""
        values = {
            "Job": f"{record.id or 'not saved'}: {record.name}",
            "Type": record.class_name,
            "Status": state.status,
            "Reason": waits or state.status_message,
            "User": record.user,
            "Run time": str(self.run_time).partition(".")[0],
        }
        rows = "".join(f"<tr><th>{name}</th><td>{escape(value)}</td></tr>" for name, value in values.items() if value)
        link = f'<tr><th>Prefect</th><td><a href="{escape(url)}">the flow run</a></td></tr>' if url else ""
        return f"<table>{rows}{link}</table>"
