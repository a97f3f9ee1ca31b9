"""A job on a schedule: a Prefect deployment that makes a run for each job."""

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any, Protocol, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from anyio.to_thread import run_sync

from prefect_jobs.errors import SchedulerConnectionError
from prefect_jobs.jobs import registry
from prefect_jobs.jobs.base import Job
from prefect_jobs.projection.prefect_api import PrefectApi, RunGone
from prefect_jobs.records import ScheduleRecord
from prefect_jobs.runtime.wiring import get_runtime

T = TypeVar("T")
log = logging.getLogger(__name__)

#: Seconds for which a call waits for Prefect.
PATIENCE = 10.0
#: What happens to a run while a job of its schedule is active, and to missed runs; the first is the default.
OVERLAP, CATCH_UP = ("allow", "skip", "wait"), ("all", "latest", "none")


class Manager(Protocol):
    """The manager of the app that the jobs belong to; see :class:`prefect_jobs.JobManager`."""

    def schedule_job(self, name: str, user: Any, job_type: Any, **kwargs: Any) -> "Schedule":
        """Creates or changes a schedule."""
        ...

    def list_jobs(
        self,
        user: Any = None,
        groups: Any = None,
        order_by: Any = "id",
        filters: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> list[Job]:
        """The app's jobs."""
        ...


@dataclass(frozen=True)
class Schedule:
    """A scheduled job. All calls but :meth:`jobs` need Prefect, and wait 10 seconds for it at most. Each has an async
    twin, with the prefix ``a``.

    A monitor starts the runs: ``prefect-jobs monitor`` or ``prefect-jobs serve``.
    """

    #: As given to ``schedule_job``; unique in the app and for the user.
    name: str
    user: str
    deployment_id: str
    _manager: Manager = field(repr=False, compare=False)
    _record: ScheduleRecord = field(repr=False, compare=False)

    @property
    def url(self) -> str | None:
        """The URL of the deployment in the Prefect UI; ``None`` if no UI is configured."""
        return get_runtime().prefect.deployment_url(self.deployment_id)

    def pause(self) -> None:
        """Makes no runs until :meth:`resume`.

        Raises:
            ValueError: the schedule was deleted in Prefect; as all calls that need it.
            SchedulerConnectionError: Prefect cannot be reached; as all calls that need it.
        """
        self._ask(lambda api: api.pause_schedule(self.deployment_id))

    def resume(self) -> None:
        """Makes runs again."""
        self._ask(lambda api: api.resume_schedule(self.deployment_id))

    def delete(self) -> None:
        """Deletes the schedule, and runs of it that have not begun; its jobs stay."""
        store = get_runtime().store
        present = store.schedule(self._record.label, self.user, self.name)
        # Another call may have made it again since this object was made.
        ids = {self.deployment_id, present.deployment_id if present is not None else None}

        def delete(api: PrefectApi) -> bool:
            return any([api.delete_deployment(UUID(each)) for each in ids if each])

        if not self._ask(delete):
            log.warning("Prefect has no deployment of the schedule %r; it was deleted there before", self.name)
        store.delete_schedule(self._record)

    def update(self, **changes: Any) -> "Schedule":
        """Changes some of the arguments of ``schedule_job``; the others stay.

        Args:
            **changes: ``cron``, ``interval`` or ``rrule``, ``timezone``, ``anchor``, ``overlap``, ``max_lateness``,
            ``catch_up``, and arguments of the job.

        Returns:
            The schedule as it is now.

        Raises:
            ValueError: a bad value.
            TypeError: an unknown keyword.
        """
        fixed = sorted({"name", "user", "job_type", "active"} & changes.keys())
        if fixed:
            raise TypeError(f"update() does not change {', '.join(fixed)}. See schedule_job(), pause() and resume().")
        record = get_runtime().store.schedule(self._record.label, self.user, self.name)
        if record is None:
            raise ValueError(f"The schedule {self.name!r} was deleted. Call schedule_job() again.")
        job_type = registry.load(record.type)
        if job_type is None:
            raise ValueError(f"The schedule {self.name!r} has the type {record.type!r}, which is not installed here.")
        stored = {name: value for name, value in record.timing.items() if name != "anchor_date"}
        if "anchor_date" in record.timing:
            stored["anchor"] = datetime.fromisoformat(record.timing["anchor_date"])
        if {"cron", "interval", "rrule"} & changes.keys():
            stored = {name: value for name, value in stored.items() if name == "timezone"}
        own = {name: value for name, value in record.parameters.items() if name not in ("name", "user", "app")}
        return self._manager.schedule_job(
            record.name, record.user, job_type, **{**stored, **record.rules, **own, **changes}
        )

    def run_now(self) -> str:
        """Starts a run of it now, besides those of the schedule; returns the id of the flow run."""
        key = uuid.uuid4().hex
        return self._ask(lambda api: api.run_deployment(self.deployment_id, key))

    def next_runs(self, count: int = 5) -> list[datetime]:
        """When it makes its next runs, in UTC; none while it is paused."""
        return self._ask(lambda api: api.next_runs(self.deployment_id, count))

    def jobs(self, limit: int | None = None) -> list[Job]:
        """The jobs of this schedule and user, the newest first; not those that an earlier version made."""
        return self._manager.list_jobs(user=self.user, filters={"schedule": self.name}, order_by="-id", limit=limit)

    def _ask(self, question: Callable[[PrefectApi], T]) -> T:
        try:
            return get_runtime().prefect.ask(question, patience=PATIENCE)
        except RunGone as error:
            raise ValueError(
                f"The schedule {self.name!r} was deleted in Prefect. Call schedule_job() again."
            ) from error

    # -- async twins ------------------------------------------------------------------------------------

    async def apause(self) -> None:
        """As :meth:`pause`."""
        await run_sync(self.pause)

    async def aresume(self) -> None:
        """As :meth:`resume`."""
        await run_sync(self.resume)

    async def adelete(self) -> None:
        """As :meth:`delete`."""
        await run_sync(self.delete)

    async def aupdate(self, **changes: Any) -> "Schedule":
        """As :meth:`update`."""
        return await run_sync(lambda: self.update(**changes))

    async def arun_now(self) -> str:
        """As :meth:`run_now`."""
        return await run_sync(self.run_now)

    async def anext_runs(self, count: int = 5) -> list[datetime]:
        """As :meth:`next_runs`."""
        return await run_sync(self.next_runs, count)

    async def ajobs(self, limit: int | None = None) -> list[Job]:
        """As :meth:`jobs`."""
        return await run_sync(self.jobs, limit)


@contextmanager
def changing(record: ScheduleRecord) -> Iterator[None]:
    """Lets one process at a time change a schedule.

    Raises:
        SchedulerConnectionError: another process does so for a long time.
    """
    store, owner = get_runtime().store, uuid.uuid4().hex
    name = f"schedule:{store.schedule_key(record)}"
    deadline = time.monotonic() + PATIENCE
    while not store.claim_lease(name, owner, 3 * PATIENCE):
        if time.monotonic() > deadline:
            raise SchedulerConnectionError(f"Another process changes the schedule {record.name!r}. Try again.")
        Event().wait(0.1)
    try:
        yield
    finally:
        store.release_lease(name, owner)


def put(wanted: ScheduleRecord, entrypoint: str, *, active: bool) -> ScheduleRecord:
    """Creates or changes a schedule; returns it with its deployment.

    Args:
        wanted: the schedule.
        entrypoint: the flow of its jobs, ``module:function``.
        active: whether a new one makes runs at once.

    Raises:
        ValueError: Prefect cannot read the timing, or the flow does not take one of the parameters.
        SchedulerConnectionError: Prefect cannot be reached.
    """
    runtime = get_runtime()
    with changing(wanted):
        before = runtime.store.schedule(wanted.label, wanted.user, wanted.name)
        deployment = runtime.prefect.ask(
            lambda api: api.put_schedule(wanted, before, runtime.store.identity, entrypoint, active), patience=PATIENCE
        )
        record = replace(wanted, deployment_id=deployment)
        runtime.store.save_schedule(record)
    return record


def timing(
    cron: str | None,
    interval: timedelta | float | None,
    rrule: str | None,
    timezone: str | None,
    anchor: datetime | None,
) -> dict[str, Any]:
    """The timing as it is stored, in the terms of Prefect's schedules.

    Raises:
        ValueError: not exactly one of ``cron``, ``interval`` and ``rrule``, or a bad value.
    """
    given = {"cron": cron, "interval": interval, "rrule": rrule}
    kinds = [name for name, value in given.items() if value is not None]
    if len(kinds) != 1:
        raise ValueError(f"A schedule needs one of cron, interval and rrule, not {' and '.join(kinds) or 'none'}.")
    found: dict[str, Any] = {kinds[0]: given[kinds[0]]}
    if interval is None and not isinstance(found[kinds[0]], str):
        raise ValueError(f"{kinds[0]} must be a text, not {found[kinds[0]]!r}.")
    if interval is not None:
        length = interval if isinstance(interval, timedelta) else _seconds(interval, "interval")
        if length <= timedelta(0):
            raise ValueError(f"The interval of a schedule must be longer than 0 s, not {length}.")
        found["interval"] = length.total_seconds()
    if anchor is not None:
        if interval is None:
            raise ValueError("anchor is for an interval: cron and rrule have their own times.")
        if not isinstance(anchor, datetime) or anchor.tzinfo is None:
            raise ValueError(f"anchor must be a time with a zone, not {anchor!r}.")
        found["anchor_date"] = anchor.astimezone(UTC).isoformat()
    if timezone is not None:
        try:
            ZoneInfo(timezone)
        except (LookupError, ValueError, OSError, TypeError) as error:
            raise ValueError(f"{timezone!r} is not a time zone. Use an IANA name such as 'Europe/Berlin'.") from error
    if timezone is not None or interval is None:
        found["timezone"] = timezone or "UTC"
    return found


def rules(overlap: str, max_lateness: timedelta | float | None, catch_up: str) -> dict[str, Any]:
    """What happens to runs that overlap, or are late, as it is stored.

    Raises:
        ValueError: a bad value.
    """
    found: dict[str, Any] = {}
    for name, value, known in (("overlap", overlap, OVERLAP), ("catch_up", catch_up, CATCH_UP)):
        if value not in known:
            raise ValueError(f"{name} is one of {', '.join(map(repr, known))}, not {value!r}.")
        if value != known[0]:
            found[name] = value
    if max_lateness is not None:
        most = max_lateness if isinstance(max_lateness, timedelta) else _seconds(max_lateness, "max_lateness")
        if most <= timedelta(0):
            raise ValueError(f"max_lateness must be longer than 0 s, not {most}.")
        found["max_lateness"] = most.total_seconds()
    return found


def _seconds(given: Any, name: str) -> timedelta:
    try:
        return timedelta(seconds=float(given))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be a timedelta or seconds, not {given!r}.") from error
