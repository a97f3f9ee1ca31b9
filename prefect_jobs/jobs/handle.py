"""One job as this process knows it: its record, the changes that are not saved yet, and how both are combined with
what other processes write meanwhile."""

import copy
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from prefect_jobs.errors import JobStateError
from prefect_jobs.jobs import changes, hooks
from prefect_jobs.jobs.ports import Backend
from prefect_jobs.merging import merged
from prefect_jobs.records import Change, ChangeOf, JobRecord
from prefect_jobs.statuses import Status

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """The answer of a hook."""

    #: What the hook returned.
    value: Any
    #: The answers of the built-in hooks that it called, by name: a hook that overrides one need not return that.
    built_in: Mapping[str, Any]


@dataclass
class Drafts:
    """What a user may set: the values that will be saved. Dicts may be changed in place."""

    name: str
    description: str
    workspace: str
    extended_properties: dict[str, Any]
    process_results_function: str | None
    spec: dict[str, Any]

    @classmethod
    def of(cls, record: JobRecord) -> "Drafts":
        """The stored values."""
        return cls(**copy.deepcopy({name: getattr(record, name) for name in DRAFTED}))

    def values(self) -> dict[str, Any]:
        """The values by field."""
        return {name: getattr(self, name) for name in DRAFTED}


#: The fields of a record that a user may set.
DRAFTED = tuple(field.name for field in fields(Drafts))


class Handle:
    """A job's record and drafts. All reads and writes of them go through this class."""

    def __init__(self, backend: Backend, record: JobRecord, workspace_of: Callable[[JobRecord], str]) -> None:
        """
        Args:
            backend: stores and shows jobs.
            record: the job; one without an id is new.
            workspace_of: the absolute workspace of a record of an earlier version, which may have none or a
                relative one.
        """
        self.backend = backend
        #: Whether the flow engine executes the job's flow run at this moment.
        self.engine_run = False
        #: The action (``stop``, …) that is in progress.
        self.acting: str | None = None
        #: Whether it is being stopped since it was not over in time.
        self.out_of_time = False
        #: Answers of built-in hooks within the present hook, see :class:`Answer`.
        self._built_in: dict[str, Any] = {}
        self._workspace_of = workspace_of
        #: Changes by hooks that are not saved yet: field → before and after.
        self._noted: dict[str, tuple[Any, Any]] = {}
        self.record = self._with_workspace(record)
        self._drafts: Drafts | None = None

    # -- the job as last known --------------------------------------------------------------------------

    @property
    def id(self) -> int | None:
        """Our id; ``None`` before the first save."""
        return self.record.id or None

    @property
    def drafts(self) -> Drafts:
        """What a user may set. Made at the first access, which most jobs never see."""
        if self._drafts is None:
            self._drafts = Drafts.of(self.record)
        return self._drafts

    @property
    def name(self) -> str:
        """The job's name."""
        return self.record.name if self._drafts is None else self._drafts.name

    @property
    def title(self) -> str:
        """The job's id and name, for messages."""
        return f"the unsaved job {self.name!r}" if self.id is None else f"job {self.id} ({self.name!r})"

    @property
    def status(self) -> Status:
        """The status as last known, with its class."""
        return self.record.state.as_status

    @property
    def token(self) -> str:
        """The token of the present submission; empty where there is none."""
        return self.record.submission_token or ""

    @property
    def has_noted(self) -> bool:
        """Whether a hook has set an attribute that is not saved yet."""
        return bool(self._noted)

    # -- reading ----------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Reads the job again.

        Raises:
            JobStateError: it was deleted, or never saved.
        """
        if self.id is None:
            raise JobStateError(f"{self.title} must be saved first.")
        record = self.backend.jobs.get(self.record.id)
        if record is None:
            raise JobStateError(f"{self.title} does not exist any more: it was deleted.")
        self.take(record)

    def take(self, record: JobRecord, *, keep: bool = True) -> None:
        """Replaces the record by ``record``; with ``keep``, changes made here that are not saved stay."""
        before, drafts = self._stored(), self._drafts
        self.record = self._with_workspace(record)
        self._drafts = None
        if drafts is None or not keep:
            return
        mine, fresh = drafts.values(), Drafts.of(self.record)
        if mine == before:
            return
        self._drafts = drafts
        for name, value in fresh.values().items():
            if mine[name] == before[name]:
                setattr(drafts, name, value)
            elif isinstance(value, dict) and isinstance(mine[name], dict):
                # Key by key: a save must not remove keys that other processes have added meanwhile.
                setattr(drafts, name, merged(before[name], mine[name], value))

    def _with_workspace(self, record: JobRecord) -> JobRecord:
        if os.path.isabs(record.workspace):  # noqa: PTH117 (lists have many jobs, and a Path takes longer)
            return record
        return replace(record, workspace=self._workspace_of(record))  # written by an earlier version

    def _stored(self) -> dict[str, Any]:
        return {name: getattr(self.record, name) for name in DRAFTED}

    # -- writing ----------------------------------------------------------------------------------------

    def save(self) -> bool:
        """Writes the changes made here; a new job gets its id. Returns whether there was anything to write."""
        if self.id is None:
            self.take(self.backend.jobs.insert(self.drafted()), keep=False)
        elif self._drafts is not None and self._drafts.values() != self._stored():
            self.update(self.user_changes, keep=False)
        else:
            return False
        return True

    def drafted(self) -> JobRecord:
        """The record with the changes made here."""
        return replace(self.record, **copy.deepcopy(self.drafts.values()))

    def user_changes(self, fresh: JobRecord) -> Change | None:
        """The changes made here, applied to what others wrote meanwhile: field by field, and key by key in dicts."""
        if self._drafts is None:
            return None
        base, mine = self._stored(), copy.deepcopy(self._drafts.values())
        set_here = {name: (base[name], value) for name, value in mine.items() if value != base[name]}
        values = _merged(fresh, set_here)
        if "name" in values:
            values["name"] = str(values["name"]).replace("{id}", str(fresh.id))
        return Change(values) if values else None

    def update(self, change: ChangeOf, *, keep: bool = True) -> Change | None:
        """Writes a change.

        Returns:
            What was written.

        Raises:
            JobStateError: the job was deleted.
        """
        written = self.backend.jobs.update(self.record.id, change, self.record)
        self.take(written.after, keep=keep)
        return written.change

    def apply(self, event: Any, *, native: dict[str, Any] | None = None, **more: Any) -> None:
        """Applies an event to the job, see :func:`changes.change_for`. Attributes that hooks have set are saved with
        it."""
        self.update(self.with_noted(lambda fresh: changes.change_for(fresh, event, native=native, **more)))

    def wait_shown(self) -> None:
        """Waits, 3 seconds at most, until Prefect shows the last change of the job. Only what needs its flow run does:
        it follows in the background."""
        record = self.backend.jobs.shown(self.record.id)
        if record is not None:
            self.take(record)

    def forget(self) -> None:
        """Makes the job an unsaved one, after it was deleted."""
        self.record = replace(self.record, id=0, version=0)

    # -- hooks ------------------------------------------------------------------------------------------

    def run_hook(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Answer:
        """Calls a hook of the job's type. Attributes that it sets are saved with its outcome, see :meth:`with_noted`;
        those that the user has set before, and not saved, are not."""
        before = copy.deepcopy(self.drafts.values())
        # A hook may call others: their answers are not answers of this one.
        outer, self._built_in = self._built_in, {}
        try:
            return Answer(hooks.call(function, *args, **kwargs), self._built_in)
        finally:
            self._built_in = outer
            for name, value in self.drafts.values().items():
                if value != before[name]:
                    self._note_set(name, before[name], value)

    def from_engine(self, hook: str, answer: T) -> T:
        """Notes the answer of a built-in hook, which the present hook may return or not."""
        self._built_in[hook] = answer
        return answer

    def answer_of_engine(self, hook: str) -> Any:
        """What the engine answered within the present hook; ``None``: it was not asked."""
        return self._built_in.get(hook)

    def _note_set(self, name: str, before: Any, value: Any) -> None:
        if isinstance(before, dict):
            problem = _why_not_kept(value)
            if problem:  # the hook's outcome must be saved anyway
                log.error("%s: what a hook set in %s cannot be stored: %s", self.title, name, problem)
                setattr(self.drafts, name, before)
                return
            value = json.loads(json.dumps(value))
        first, _ = self._noted.get(name, (before, None))
        if value != first:
            self._noted[name] = (first, copy.deepcopy(value))

    def with_noted(self, change: ChangeOf) -> ChangeOf:
        """The change, with the attributes that hooks have set since the last one."""
        noted, self._noted = self._noted, {}
        return change if not noted else lambda fresh: _with_set(fresh, noted, change)


def _why_not_kept(value: Any) -> str:
    """Why JSON cannot keep a value that should be a dict; empty: it can."""
    if not isinstance(value, dict):
        return f"it is a dict, not {value!r}"
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


def _with_set(fresh: JobRecord, noted: dict[str, tuple[Any, Any]], change: ChangeOf) -> Change | None:
    values = _merged(fresh, noted)
    wanted = change(replace(fresh, **values))
    if wanted is None:
        return Change(values) if values else None
    return replace(wanted, values={**values, **wanted.values})


def _merged(fresh: JobRecord, changed: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    """The values to write for fields that were changed here.

    Args:
        fresh: the present record of the job.
        changed: field → before and after.
    """
    values: dict[str, Any] = {}
    for name, (before, after) in changed.items():
        now = getattr(fresh, name)
        value = merged(before, after, now) if isinstance(after, dict) else after
        if value != now:
            values[name] = value
    if "name" in values:
        values["face_seq"] = fresh.face_seq + 1  # the flow run has the job's name
    return values
