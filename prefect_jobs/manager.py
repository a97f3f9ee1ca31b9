"""The jobs of one app: create, list, get and count them, execute many at once, schedule them."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Event
from typing import Any, Protocol

import anyio
from anyio.to_thread import run_sync

from prefect_jobs import arguments, callbacks
from prefect_jobs.adoption import Adopting
from prefect_jobs.jobs import hooks, registry, submission_many, waiting_many
from prefect_jobs.jobs.base import Job
from prefect_jobs.naming import number_of
from prefect_jobs.people import group_names, user_name
from prefect_jobs.progress import shown
from prefect_jobs.records import ScheduleRecord
from prefect_jobs.runtime.wiring import Runtime, get_runtime
from prefect_jobs.schedule import Schedule, put, rules, timing
from prefect_jobs.store.filters import JobQuery


class Owner(Protocol):
    """The app that owns jobs, as its manager uses it; see :class:`prefect_jobs.App`."""

    @classmethod
    def check_package(cls) -> str:
        """The label of the app's jobs."""
        ...


class JobManager(Adopting):
    """The jobs of ``app``. Every method that waits has an async twin, with the prefix ``a``."""

    def __init__(self, app: type[Owner]) -> None:
        """
        Raises:
            ValueError: the app has no valid ``package``.
        """
        self.app = app
        self.label = app.check_package()

    # -- creating ---------------------------------------------------------------------------------------

    def create_job(self, name: str, user: Any, groups: Any = None, job_type: Any = None, **kwargs: Any) -> Job:
        """A new job, unsaved (saved at once if ``groups`` is given).

        Args:
            name: for people; ``{id}`` is replaced by the job's id at the first save.
            user: a name, or a user object of Django or Starlette.
            groups: names or objects with ``.name``, with which the job is shared.
            job_type: ``"BASIC"``, ``"CONDOR"``, …, a registered name, or a subclass of Job.
            **kwargs: ``description``, ``workspace``, ``extended_properties``, ``process_results_function``, and
                what the type takes.

        Raises:
            ValueError: an unknown type, a bad name or value, a scheduler that does not exist or is of the wrong engine
                (while Prefect cannot be reached, ``execute`` checks the scheduler).
            TypeError: an unknown keyword; the message names the valid ones.
        """
        type_name, cls = registry.job_class(job_type)
        runtime = get_runtime()
        job = cls(runtime, arguments.draft(runtime, self.label, name, user, groups, type_name, cls, kwargs))
        job.check_fields()
        if groups is not None:
            job.save()
        return job

    async def acreate_job(self, name: str, user: Any, groups: Any = None, job_type: Any = None, **kwargs: Any) -> Job:
        """As :meth:`create_job`."""
        return await run_sync(lambda: self.create_job(name, user, groups, job_type, **kwargs))

    # -- finding ----------------------------------------------------------------------------------------

    def list_jobs(
        self,
        user: Any = None,
        groups: Any = None,
        order_by: Any = "id",
        filters: Mapping[str, Any] | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Job]:
        """The app's jobs, as last known. No scheduler and no Prefect server is contacted, and the number of SQL
        statements does not depend on the number of jobs.

        Args:
            user: only this user's.
            groups: only jobs that are shared with any of these groups; not together with ``user``.
            order_by: a field, ``-field``, or a tuple of them.
            filters: ``{field: value}`` or ``{field__lookup: value}``, also ``extended_properties__key__subkey``.
            limit: the largest number of jobs.
            offset: the number of jobs to skip.

        Raises:
            ValueError: ``user`` with ``groups``, an unknown field or lookup.
        """
        runtime = get_runtime()
        query = self._query(user, groups, filters, order_by=order_by, limit=limit, offset=offset)
        return [runtime.job(record) for record in runtime.store.find(query)]

    async def alist_jobs(self, *args: Any, **kwargs: Any) -> list[Job]:
        """As :meth:`list_jobs`."""
        return await run_sync(lambda: self.list_jobs(*args, **kwargs))

    def count_jobs(self, user: Any = None, groups: Any = None, filters: Mapping[str, Any] | None = None) -> int:
        """The number of jobs that :meth:`list_jobs` would return.

        Raises:
            ValueError: as :meth:`list_jobs`.
        """
        return get_runtime().store.count(self._query(user, groups, filters))

    async def acount_jobs(self, *args: Any, **kwargs: Any) -> int:
        """As :meth:`count_jobs`."""
        return await run_sync(lambda: self.count_jobs(*args, **kwargs))

    def get_job(self, job_id: int | str, user: Any = None, filters: Mapping[str, Any] | None = None) -> Job | None:
        """The job; ``None`` if it does not exist, belongs to another app or, with ``user``, to another user.

        Args:
            job_id: an integer or a string of digits.
            user: only if it is this user's.
            filters: as in :meth:`list_jobs`.
        """
        number = number_of(job_id)
        if number is None:
            return None
        found = self.list_jobs(user=user, filters={**(filters or {}), "id": number}, limit=1)
        return found[0] if found else None

    async def aget_job(self, *args: Any, **kwargs: Any) -> Job | None:
        """As :meth:`get_job`."""
        return await run_sync(lambda: self.get_job(*args, **kwargs))

    def get_job_status_callback_url(self, request: Any, job_id: int | str) -> str:
        """The absolute URL that refreshes the job's status when it is called. It ends in ``/update-job-status/<id>/``.

        Args:
            request: a Starlette or Django request; ``None``: use the setting ``PUBLIC_URL``.
            job_id: the job.

        Raises:
            ValueError: neither a request nor ``PUBLIC_URL``, or not the id of a job.
        """
        number = number_of(job_id)
        if number is None:
            raise ValueError(f"{job_id!r} is not the id of a job.")
        settings = get_runtime().settings
        url = callbacks.absolute_url(request, number, settings.public_url)
        if settings.callback_secret is None:
            return url
        return f"{url}?token={callbacks.sign(settings.callback_secret.get_secret_value(), number)}"

    # -- many at once, and on a schedule ----------------------------------------------------------------

    def execute_jobs(
        self, jobs: Iterable[Job], progress: submission_many.Report | None = None, work: Iterable[Any] | None = None
    ) -> list[Job]:
        """Executes jobs in as few calls to schedulers, SQL and Prefect as possible. If one is refused, it gets the
        status Error with the cause, and the others continue.

        Args:
            jobs: jobs of this app.
            progress: called for each job when its outcome is known, with the exception if there is one.
            work: for each job the argument of its ``execute()``: the work of a Dask job; ``None`` for a job without.

        Returns:
            The jobs.

        Raises:
            ValueError: there is not one ``work`` for each job.
            DatabaseError: the database cannot be used; jobs that are submitted already are found again, not doubled.
        """
        orders = submission_many.orders(jobs, work)
        submission_many.execute_many(orders, submission_many.logged(progress))
        return [job for job, _ in orders]

    async def aexecute_jobs(self, *args: Any, **kwargs: Any) -> list[Job]:
        """As :meth:`execute_jobs`."""
        return await run_sync(lambda: self.execute_jobs(*args, **kwargs))

    def wait_jobs(
        self,
        jobs: Iterable[Job],
        timeout: float | None = None,
        progress: bool | waiting_many.Progress | None = None,
    ) -> list[Job]:
        """Blocks until all of the jobs are over. Each scheduler is asked once for all of its jobs. An interrupt
        (Ctrl-C) ends the wait and leaves the jobs alone.

        Args:
            jobs: saved jobs.
            timeout: seconds; none: no limit.
            progress: ``True``: a live bar, with the number of jobs in each status; a callable: called with each job
                that has ended, the number of those that have, and the number of all; ``None``: a bar if standard
                error is a terminal, or in a notebook.

        Returns:
            The jobs, in their order.

        Raises:
            TimeoutError: some are not over after ``timeout`` seconds; the message names them. They continue.
            JobStateError: one was never saved.
        """
        waiting = waiting_many.WaitingForAll(jobs, get_runtime().store.records, timeout)
        tell: waiting_many.Progress = progress if callable(progress) else lambda *_: None
        never = Event()  # a wait that a signal can interrupt
        try:
            with shown(waiting, progress) as show:
                while True:
                    ended = waiting.round()
                    show()
                    for job, done in ended:
                        hooks.call(tell, job, done, waiting.total)
                    pause = waiting.pause()
                    if pause is None:
                        return waiting.jobs
                    never.wait(pause)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(waiting.interrupted()) from None

    async def await_jobs(
        self,
        jobs: Iterable[Job],
        timeout: float | None = None,  # noqa: ASYNC109  (as its twin)
        progress: bool | waiting_many.Progress | None = None,
    ) -> list[Job]:
        """As :meth:`wait_jobs`; blocks no thread between two rounds, and calls ``progress`` in the event loop."""
        waiting = waiting_many.WaitingForAll(jobs, get_runtime().store.records, timeout)
        tell: waiting_many.Progress = progress if callable(progress) else lambda *_: None
        try:
            with shown(waiting, progress) as show:
                while True:
                    ended = await run_sync(waiting.round)
                    show()
                    for job, done in ended:
                        answer = tell(job, done, waiting.total)
                        if inspect.isawaitable(answer):
                            await answer
                    pause = waiting.pause()
                    if pause is None:
                        return waiting.jobs
                    await anyio.sleep(pause)
        finally:
            waiting.cancelled = True

    def schedule_job(
        self,
        name: str,
        user: Any,
        job_type: Any,
        *,
        cron: str | None = None,
        interval: timedelta | float | None = None,
        rrule: str | None = None,
        timezone: str | None = None,
        anchor: datetime | None = None,
        overlap: str = "allow",
        max_lateness: timedelta | float | None = None,
        catch_up: str = "all",
        active: bool = True,
        **kwargs: Any,
    ) -> Schedule:
        """Puts a job on a schedule: a Prefect deployment, whose runs the monitor turns into jobs of this kind.

        A name is one schedule in the app for each user. A second call with the same name changes it: what differs
        from the last call is changed, everything else stays as people have set it in Prefect, pauses included.

        Args:
            name: of each job, and of the schedule.
            user: the owner of the jobs.
            job_type: as in :meth:`create_job`.
            cron: a cron expression; or
            interval: a timedelta or seconds; or
            rrule: a rule of iCalendar (RFC 5545).
            timezone: an IANA name. UTC if not given; an interval of a day or more keeps the local hour in it.
            anchor: a time from which intervals are counted; the present if not given.
            overlap: what happens to a run while a job of the schedule is active: ``"allow"``: it begins; ``"skip"``:
                it is cancelled; ``"wait"``: it begins after that. It does not concern runs that people start.
            max_lateness: a timedelta or seconds: a run that is later than that is cancelled.
            catch_up: what happens to missed runs, those that are picked up over 60 s after their time: ``"all"`` of
                them begin, only the ``"latest"``, or ``"none"``; the others are cancelled.
            active: whether a new schedule makes runs at once, or only after :meth:`Schedule.resume`.
            **kwargs: as in :meth:`create_job`, and ``timeout`` (seconds, after which a job is stopped); for DASK also
            ``function`` (one that the workers can import, or its dotted path), ``arguments``,
            ``keyword_arguments`` and ``map_over``. They are the deployment's parameters, so JSON must be able to
            keep them.

        Raises:
            ValueError: not exactly one of ``cron``, ``interval`` and ``rrule``, or a bad value.
            TypeError: an unknown keyword.
            SchedulerConnectionError: Prefect cannot be reached.
        """
        times = timing(cron, interval, rrule, timezone, anchor)
        own_rules = rules(overlap, max_lateness, catch_up)
        type_name, cls = registry.job_class(job_type)
        if not registry.has_own_flow(cls):
            raise ValueError(
                f"Jobs of the type {type_name!r} have no flow that a schedule could run: "
                "set flow_entrypoint = 'module:function' on the class."
            )
        parameters = arguments.flow_parameters(self.label, name, user, type_name, cls, kwargs)
        wanted = ScheduleRecord(self.label, user_name(user), name, type_name, times, parameters, own_rules)
        return self.schedule_for(put(wanted, cls.flow_entrypoint, active=active))

    def list_schedules(self, user: Any = None) -> list[Schedule]:
        """The app's schedules, in the order of their names; with ``user`` only this user's. Prefect is not asked."""
        owner = None if user is None else user_name(user)
        return [self.schedule_for(record) for record in get_runtime().store.schedules(self.label, owner)]

    async def alist_schedules(self, user: Any = None) -> list[Schedule]:
        """As :meth:`list_schedules`."""
        return await run_sync(self.list_schedules, user)

    def get_schedule(self, name: str, user: Any = None) -> Schedule | None:
        """The schedule of that name; ``None`` if there is none.

        Args:
            name: as given to :meth:`schedule_job`.
            user: the owner of its jobs; not needed if only one user of the app has a schedule of that name.

        Raises:
            ValueError: several users have one, and ``user`` is not given.
        """
        found = [schedule for schedule in self.list_schedules(user) if schedule.name == name]
        if len(found) > 1:
            users = ", ".join(repr(schedule.user) for schedule in found[:5])
            raise ValueError(f"Several users have a schedule {name!r}: {users}. Give one as user=….")
        return found[0] if found else None

    async def aget_schedule(self, name: str, user: Any = None) -> Schedule | None:
        """As :meth:`get_schedule`."""
        return await run_sync(self.get_schedule, name, user)

    async def aschedule_job(self, *args: Any, **kwargs: Any) -> Schedule:
        """As :meth:`schedule_job`."""
        return await run_sync(lambda: self.schedule_job(*args, **kwargs))

    # -- for flows --------------------------------------------------------------------------------------

    def job_of_run(
        self, flow_run_id: str, make: Callable[[], Job], deployment_id: str | None = None
    ) -> tuple[Job, bool]:
        """The job that a flow run shows while the flow engine executes that run; made by ``make`` the first time.

        Args:
            flow_run_id: the run.
            make: makes the job.
            deployment_id: the run's deployment, which may be a schedule's.

        Returns:
            The job, and whether it existed already (the run was retried, or its process was started again).
        """
        runtime: Runtime = get_runtime()
        if found := runtime.store.find(JobQuery(filters={"flow_run_id": flow_run_id})):
            return runtime.job(found[0]), True
        job = make()
        schedule = runtime.store.schedule_of(deployment_id) if deployment_id is not None else None
        job.handle.record = replace(
            job.handle.record,
            flow_run_id=flow_run_id,
            engine_run=True,
            deployment_id=deployment_id,
            schedule=schedule.name if schedule is not None and schedule.label == self.label else None,
        )
        return job, False

    # -- inside -----------------------------------------------------------------------------------------

    def schedule_for(self, record: ScheduleRecord) -> Schedule:
        """The schedule of a row, for those who extend this package."""
        return Schedule(record.name, record.user, record.deployment_id or "", self, record)

    def _query(self, user: Any, groups: Any, filters: Mapping[str, Any] | None, **more: Any) -> JobQuery:
        if user is not None and groups is not None:
            raise ValueError("list_jobs takes a user or groups, not both.")
        return JobQuery(
            label=self.label,
            user=None if user is None else user_name(user),
            groups=None if groups is None else group_names(groups),
            filters=dict(filters or {}),
            **more,
        )


def known_run(flow_run_id: str) -> bool:
    """Whether a flow run shows a job."""
    return bool(get_runtime().store.records_of_runs([flow_run_id]))
