"""The jobs of one app: create, list, get and count them, execute many at once, schedule them."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol

from anyio.to_thread import run_sync

from prefect_jobs import callbacks, clock, folders
from prefect_jobs.errors import SchedulerEngineMismatch
from prefect_jobs.jobs import hooks, registry, submission_many
from prefect_jobs.jobs.base import Job
from prefect_jobs.naming import number_of
from prefect_jobs.people import group_names, user_name
from prefect_jobs.records import JobRecord
from prefect_jobs.runtime.wiring import Runtime, get_runtime
from prefect_jobs.schedule import Schedule
from prefect_jobs.store.filters import JobQuery

log = logging.getLogger(__name__)

#: Keyword arguments of ``create_job`` that every type takes.
COMMON = ("description", "workspace", "extended_properties", "process_results_function")


class Owner(Protocol):
    """The app that owns jobs, as its manager uses it; see :class:`prefect_jobs.App`."""

    @classmethod
    def check_package(cls) -> str:
        """The label of the app's jobs."""
        ...


class JobManager:
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
        job = cls(get_runtime(), self._draft(name, user, groups, type_name, cls, kwargs))
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
        self, jobs: Iterable[Job], progress: Callable[[Job, Exception | None], None] | None = None
    ) -> list[Job]:
        """Executes jobs in as few calls to schedulers, SQL and Prefect as possible. If one is refused, it gets the
        status Error with the cause, and the others continue.

        Args:
            jobs: jobs of this app.
            progress: called for each job when its outcome is known, with the exception if there is one.

        Returns:
            The jobs.

        Raises:
            DatabaseError: the database cannot be used; jobs that are submitted already are found again, not doubled.
        """
        every = list(jobs)

        def report(job: Job, problem: Exception | None) -> None:
            if problem is not None:
                log.warning("%s", problem)
            if progress is not None:
                progress(job, problem)

        submission_many.execute_many(every, report)
        return every

    async def aexecute_jobs(self, *args: Any, **kwargs: Any) -> list[Job]:
        """As :meth:`execute_jobs`."""
        return await run_sync(lambda: self.execute_jobs(*args, **kwargs))

    def schedule_job(
        self,
        name: str,
        user: Any,
        job_type: Any,
        *,
        cron: str | None = None,
        interval: timedelta | float | None = None,
        timezone: str | None = None,
        **kwargs: Any,
    ) -> Schedule:
        """Puts a job on a schedule: a Prefect deployment whose runs, on a worker, create jobs of this kind.

        Args:
            name: of each job, and of the schedule.
            user: the owner of the jobs.
            job_type: as in :meth:`create_job`.
            cron: a cron expression; or
            interval: a timedelta or seconds.
            timezone: an IANA name for ``cron``, UTC if not given.
            **kwargs: as in :meth:`create_job`, and ``timeout`` (seconds, after which a job is stopped); for DASK also
            ``function`` (one that the workers can import, or its dotted path), ``arguments``,
            ``keyword_arguments`` and ``map_over``. They are the deployment's parameters, so JSON must be able to
            keep them.

        Raises:
            ValueError: not exactly one of ``cron`` and ``interval``, or a bad one.
            TypeError: an unknown keyword.
        """
        type_name, cls = registry.job_class(job_type)
        if not registry.has_own_flow(cls):
            raise ValueError(
                f"Jobs of the type {type_name!r} have no flow that a schedule could run: "
                "set flow_entrypoint = 'module:function' on the class."
            )
        own = {key: kwargs.pop(key) for key in cls.flow_parameters if key in kwargs}
        self._draft(name, user, None, type_name, cls, kwargs)  # raises now what create_job would raise in the run
        owner = user_name(user)
        parameters = {"name": name, "user": owner, "app": self.label, **_serializable(kwargs)}
        # Other processes, in other folders, execute the runs.
        if parameters.get("workspace"):
            parameters["workspace"] = self._workspace(parameters["workspace"], owner)
        parameters = cls.portable(parameters)
        parameters.update(cls.check_flow_parameters(own))
        scheduler = parameters.get("scheduler")
        if scheduler is not None:
            parameters["scheduler"] = _scheduler_name(scheduler)
        return get_runtime().prefect.ask(
            lambda api: Schedule.create(
                api, self.label, name, cls.flow_entrypoint, parameters, cron=cron, interval=interval, timezone=timezone
            ),
            patience=10.0,
        )

    async def aschedule_job(self, *args: Any, **kwargs: Any) -> Schedule:
        """As :meth:`schedule_job`."""
        return await run_sync(lambda: self.schedule_job(*args, **kwargs))

    # -- for flows --------------------------------------------------------------------------------------

    def job_of_run(self, flow_run_id: str, make: Callable[[], Job]) -> tuple[Job, bool]:
        """The job that a flow run shows while the flow engine executes that run; made by ``make`` the first time.

        Returns:
            The job, and whether it existed already (the run was retried, or its process was started again).
        """
        runtime: Runtime = get_runtime()
        found = runtime.store.find(JobQuery(filters={"flow_run_id": flow_run_id}))
        if found:
            return runtime.job(found[0]), True
        job = make()
        job.handle.record = replace(job.handle.record, flow_run_id=flow_run_id, engine_run=True)
        return job, False

    # -- inside -----------------------------------------------------------------------------------------

    def _draft(
        self, name: str, user: Any, groups: Any, type_name: str, cls: type[Job], kwargs: dict[str, Any]
    ) -> JobRecord:
        own = dict(cls.spec_defaults)
        takes_scheduler = cls.scheduler_engine is not None
        valid = (*COMMON, *own, *(("scheduler",) if takes_scheduler else ()))
        unknown = sorted(set(kwargs) - set(valid))
        if unknown:
            raise TypeError(
                f"create_job() of {cls.__name__} takes no keyword {', '.join(map(repr, unknown))}. "
                f"Valid: {', '.join(valid)}."
            )
        owner = user_name(user)
        function = kwargs.get("process_results_function")
        scheduler = kwargs.get("scheduler")
        if ":" in type_name:
            registry.remember(cls)
        return JobRecord(
            id=0,
            version=0,
            label=self.label,
            type=type_name,
            class_name=cls.__name__,
            name=name,
            user=owner,
            creation_time=clock.now(),
            groups=group_names(groups),
            description=str(kwargs.get("description") or ""),
            workspace=self._workspace(kwargs.get("workspace"), owner),
            extended_properties=dict(kwargs.get("extended_properties") or {}),
            process_results_function=None if function is None else hooks.dotted_path(function),
            spec=cls.check_spec({**own, **{key: kwargs[key] for key in own if key in kwargs}}),
            scheduler=None if scheduler is None else _scheduler_name(scheduler, cls.scheduler_engine),
        )

    def _workspace(self, given: str | os.PathLike[str] | None, user: str) -> str:
        return folders.absolute(given or "", get_runtime().site.default_workspace(self.label, user))

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


def _scheduler_name(scheduler: Any, engine: str | None = None) -> str:
    """The name by which other processes find the scheduler.

    Raises:
        ValueError: there is none of that name, or the block was never saved, so that only this process has it.
        SchedulerEngineMismatch: one of the other engine.
    """
    if isinstance(scheduler, str):
        if engine is not None:
            get_runtime().prefect.lookup.check(scheduler, engine)
        return scheduler
    name = getattr(scheduler, "name", None)
    if not name or not getattr(scheduler, "saved", False):
        raise ValueError(f"The scheduler {name or scheduler!r} must be saved first: call its save().")
    if engine is not None and scheduler.engine != engine:
        raise SchedulerEngineMismatch(f"The scheduler {name!r} is a {scheduler.engine} one; this job needs {engine}.")
    return str(name)


def _serializable(values: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in values.items() if key in COMMON or value is not None}
    function = found.get("process_results_function")
    if function is not None:
        found["process_results_function"] = hooks.dotted_path(function)
    return found
