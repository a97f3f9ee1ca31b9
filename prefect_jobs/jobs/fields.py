"""What a job knows about itself: the attributes that people read and set, and how what they set is kept apart from
what others write meanwhile."""

import copy
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from prefect_jobs import clock, folders
from prefect_jobs.jobs import changes, hooks
from prefect_jobs.jobs.custom_statuses import CustomStatuses
from prefect_jobs.jobs.ports import Backend
from prefect_jobs.records import Change, JobRecord

log = logging.getLogger(__name__)

MAX_NAME_LENGTH = 1024


class JobFields(CustomStatuses):
    """The attributes of a job. Those without a setter are read-only."""

    #: Shown to people, and the name of the flow run; ``{id}`` becomes the job's id.
    name: str
    description: str
    #: Folder under which the job's own directory is made, absolute. A relative one that is set becomes so when the job
    #: is saved; an empty one becomes that for the app and the user.
    workspace: str
    #: Anything that JSON can keep; changes made in place are saved too.
    extended_properties: dict[str, Any]
    _spec: dict[str, Any]
    _process_results_function: str | None
    _record: JobRecord

    def __init__(self, backend: Backend, record: JobRecord) -> None:
        self._backend = backend
        #: The flow run is executed by a Prefect engine just now (a flow made the job).
        self._engine = False
        #: The action whose hook is running.
        self._acting: str | None = None
        #: How many super() calls deep in it we are.
        self._depth = 0
        #: What ``_execute`` notes of its submission: ``remote_id``, ``message``, ``nodes``, the rest into ``native``.
        self._submitted: dict[str, Any] = {}
        #: What ``_process_results`` notes: ``messages``, ``nodes``, the rest into ``native``.
        self._fetched: dict[str, Any] = {}
        #: What hooks have set that is not saved yet: attribute → before and after.
        self._noted: dict[str, tuple[Any, Any]] = {}
        #: Whether :meth:`delete` removes the job's own directory too.
        self.clean_on_delete = False
        self._take(record)

    # -- attributes -----------------------------------------------------------------------------------

    @property
    def id(self) -> int | None:
        """Our id; ``None`` before the first save."""
        return self._record.id or None

    @property
    def user(self) -> str:
        """The user's name; ``"anonymous"`` for a web visitor who is nobody."""
        return self._record.user

    @property
    def label(self) -> str:
        """The package of the app that owns the job."""
        return self._record.label

    @property
    def type(self) -> str:
        """The name of the job's class."""
        return self._record.class_name

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that may see the job."""
        return self._record.groups

    @property
    def creation_time(self) -> datetime:
        """When the job was made."""
        return self._record.creation_time

    @property
    def execute_time(self) -> datetime | None:
        """When the job was last submitted."""
        return self._record.state.execute_time

    @property
    def start_time(self) -> datetime | None:
        """When the work began."""
        return self._record.state.start_time

    @property
    def completion_time(self) -> datetime | None:
        """When the work was over."""
        return self._record.state.completion_time

    @property
    def run_time(self) -> timedelta | str:
        """How long the work ran, or has run so far, without the time in which it was held or paused; ``""`` before it
        began."""
        state = self._record.state
        if state.start_time is None:
            return ""
        end = state.completion_time or clock.now()
        return max(end - state.start_time - changes.stood(self._record.native, end), timedelta(0))

    @property
    def cached_status(self) -> str:
        """The status as last known to this object: no scheduler and no database is asked."""
        return self._record.state.status

    @property
    def status_code(self) -> str:
        """The three-letter code of :attr:`cached_status`."""
        return self._record.state.status_code

    @property
    def status_message(self) -> str:
        """Why the status is as it is, for people."""
        return self._record.state.status_message

    @property
    def last_status_update(self) -> datetime | None:
        """When the status was last set or found to be still so."""
        return self._record.state.last_status_update

    @property
    def flow_run_id(self) -> str | None:
        """The id of the job's Prefect flow run; ``None`` until Prefect could be reached."""
        if self._record.flow_run_id is None and self.id is not None:
            # Made in the background meanwhile: worth a look.
            fresh = self._backend.get(self._record.id)
            if fresh is not None and fresh.flow_run_id is not None:
                self._take(fresh)
        return self._record.flow_run_id

    @property
    def flow_run_url(self) -> str | None:
        """The page of the flow run in the Prefect UI."""
        run = self.flow_run_id
        return self._backend.flow_run_url(run) if run else None

    @property
    def remote_id(self) -> str | None:
        """The id at the scheduler."""
        return self._record.remote_id

    @property
    def process_results_function(self) -> str | None:
        """The dotted path of the function called with the results, once per completion."""
        return self._process_results_function

    @process_results_function.setter
    def process_results_function(self, function: Callable[..., Any] | str | None) -> None:
        self._process_results_function = None if function is None else hooks.dotted_path(function)

    # -- inside -----------------------------------------------------------------------------------------

    @property
    def spec(self) -> dict[str, Any]:
        """What the user asked for beyond the common attributes, by the job's type."""
        return self._spec

    def __repr__(self) -> str:
        return f"<{self.type} {self.id} {self.name!r}: {self.cached_status}>"

    def _title(self) -> str:
        return f"job {self.id} ({self.name!r})" if self.id is not None else f"the unsaved job {self.name!r}"

    def _check_fields(self) -> None:
        """Checks and settles what was set, before it is stored.

        Raises:
            ValueError: a field has a bad value.
        """
        if not isinstance(self.name, str) or not self.name.strip():
            raise ValueError("A job needs a name that is not blank.")
        # A name that is stored may be longer by its id, which takes the place of {id}.
        if len(self.name) > MAX_NAME_LENGTH and (self.id is None or self.name != self._record.name):
            raise ValueError(f"The job's name has {len(self.name)} characters; at most {MAX_NAME_LENGTH} are possible.")
        if not isinstance(self.extended_properties, dict):
            raise ValueError(f"extended_properties is a dict, not {self.extended_properties!r}.")
        self._settle_paths()

    def _settle_paths(self) -> None:
        """Settles what relative paths mean, before they are stored."""
        default = self._backend.default_workspace(self.label, self.user)
        self.workspace = folders.absolute(self.workspace or "", default)

    def _old_workspace(self, record: JobRecord) -> str:
        """The workspace of a job that has none, or a relative one."""
        return folders.absolute(record.workspace, self._backend.default_workspace(record.label, record.user))

    def _take(self, record: JobRecord, *, keep: bool = True) -> None:
        """Makes ``record`` what this object knows; with ``keep``, what was set here and not saved stays."""
        old = getattr(self, "_record", None)
        if not Path(record.workspace).is_absolute():  # written by an earlier version
            record = replace(record, workspace=self._old_workspace(record))
        unsaved = self._drafts() if old is not None and keep else {}
        before = _drafts_of(old) if old is not None else {}
        fresh = copy.deepcopy(_drafts_of(record))
        self._record = record
        for name, value in fresh.items():
            if name in unsaved and unsaved[name] != before.get(name):
                if not isinstance(value, dict) or not isinstance(unsaved[name], dict):
                    continue
                # Key by key: a save must not remove what others have added meanwhile.
                value = _merge(before[name], unsaved[name], value)  # noqa: PLW2901
            setattr(self, f"_{name}" if name in ("process_results_function", "spec") else name, value)

    def _drafts(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "description": self.description,
            "workspace": self.workspace,
            "extended_properties": self.extended_properties,
            "process_results_function": self._process_results_function,
            "spec": self._spec,
        }

    def _drafted(self, record: JobRecord) -> JobRecord:
        return replace(record, **copy.deepcopy(self._drafts()))

    def _hook(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls a hook of the job's type. What it sets is saved with its outcome, see :meth:`_with_noted`; what the
        user has set before, and not saved, is not."""
        before = copy.deepcopy(self._drafts())
        try:
            return hooks.call(function, *args, **kwargs)
        finally:
            for name, value in self._drafts().items():
                if value != before[name]:
                    self._note_set(name, before[name], value)

    def _note_set(self, name: str, before: Any, value: Any) -> None:
        if isinstance(value, dict):
            try:
                value = json.loads(json.dumps(value, allow_nan=False))
            except (TypeError, ValueError) as error:  # it must not keep the hook's outcome from being saved
                log.error("%s: what a hook has set in %s cannot be stored: %s", self._title(), name, error)
                setattr(self, "_spec" if name == "spec" else name, before)
                return
        first, _ = self._noted.get(name, (before, None))
        if value != first:
            self._noted[name] = (first, copy.deepcopy(value))

    def _with_noted(self, change: Callable[[JobRecord], Change | None]) -> Callable[[JobRecord], Change | None]:
        """The change, and with it what hooks have set since the last one."""
        noted, self._noted = self._noted, {}
        return change if not noted else lambda fresh: _noted_too(fresh, noted, change)

    def _user_changes(self, fresh: JobRecord) -> Change | None:
        """What was set here, on top of what others wrote meanwhile: field by field, and key by key in dicts."""
        base, now, mine = _drafts_of(self._record), _drafts_of(fresh), copy.deepcopy(self._drafts())
        values: dict[str, Any] = {}
        for name, value in mine.items():
            if value == base[name]:
                continue
            merged = _merge(base[name], value, now[name]) if isinstance(value, dict) else value
            if merged != now[name]:
                values[name] = merged
        if "name" in values:
            values["name"] = str(values["name"]).replace("{id}", str(fresh.id))
            values["face_seq"] = fresh.face_seq + 1  # the flow run is named after the job
        return Change(values) if values else None


def _noted_too(
    fresh: JobRecord, noted: dict[str, tuple[Any, Any]], change: Callable[[JobRecord], Change | None]
) -> Change | None:
    values: dict[str, Any] = {}
    for name, (before, after) in noted.items():
        now = getattr(fresh, name)
        merged = _merge(before, after, now) if isinstance(after, dict) else after
        if merged != now:
            values[name] = merged
    if "name" in values:
        values["face_seq"] = fresh.face_seq + 1  # the flow run is named after the job
    wanted = change(replace(fresh, **values))
    if wanted is None:
        return Change(values) if values else None
    return Change({**values, **wanted.values}, wanted.messages, wanted.nodes)


def _drafts_of(record: JobRecord) -> dict[str, Any]:
    names = ("name", "description", "workspace", "extended_properties", "process_results_function", "spec")
    return {name: getattr(record, name) for name in names}


def _merge(base: dict[str, Any], mine: dict[str, Any], fresh: dict[str, Any]) -> dict[str, Any]:
    """``fresh`` with the keys that ``mine`` changed against ``base``."""
    merged = dict(fresh)
    for key in {*base, *mine}:
        if key not in mine:
            merged.pop(key, None)
        elif key not in base or mine[key] != base[key]:
            merged[key] = mine[key]
    return merged
