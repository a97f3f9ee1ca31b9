"""The job manager of the peer: jobs of its classes, and sets of them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from anyio.to_thread import run_sync

from prefect_jobs import manager
from prefect_jobs.jobs import registry
from prefect_jobs.jobs.base import Job
from prefect_jobs.naming import number_of
from prefect_jobs.people import group_names, user_name
from prefect_jobs.store.filters import JobQuery
from prefect_jobs.tethys.jobs import PEERS, BasicJob, CondorJob, CondorWorkflow, DaskJob, TethysJob
from prefect_jobs.tethys.sets import JobSet

#: The peer's names of job types → classes.
JOB_TYPES: Mapping[str, type[TethysJob]] = MappingProxyType(
    {
        "CONDOR": CondorJob,
        "CONDORJOB": CondorJob,
        "CONDORWORKFLOW": CondorWorkflow,
        "BASIC": BasicJob,
        "DASK": DaskJob,
    }
)


class JobManager(manager.JobManager):
    """The jobs of one app."""

    def create_job(self, name: str, user: Any, groups: Any = None, job_type: Any = None, **kwargs: Any) -> Any:
        """As :meth:`prefect_jobs.JobManager.create_job`; also with ``_status`` and ``status_message``.

        Raises:
            ValueError, TypeError: as there.
        """
        type_name, cls = registry.job_class(job_type)
        cls = PEERS.get(type_name, cls)
        if not issubclass(cls, TethysJob):
            return super().create_job(name, user, groups, job_type, **kwargs)
        job = cls(name=name, user=user, label=kwargs.pop("label", None) or self.label, groups=groups, **kwargs)
        if groups is not None:
            job.save()
        return job

    def list_jobs(  # type: ignore[override]
        self,
        user: Any = None,
        groups: Any = None,
        order_by: Any = "id",
        filters: Mapping[str, Any] | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> JobSet[TethysJob]:
        """The app's jobs, or some of them; see :meth:`prefect_jobs.JobManager.list_jobs`.

        Raises:
            ValueError: ``user`` with ``groups``.
        """
        if user is not None and groups is not None:
            raise ValueError("list_jobs takes a user or groups, not both.")
        query = JobQuery(
            label=self.label,
            user=None if user is None else user_name(user),
            groups=None if groups is None else group_names(groups),
        )
        keys = (order_by,) if isinstance(order_by, str) else tuple(order_by or ("id",))
        found = JobSet(TethysJob, query).filter(**(filters or {})).order_by(*keys)
        return found if limit is None and not offset else found[offset : None if limit is None else offset + limit]

    async def alist_jobs(self, *args: Any, **kwargs: Any) -> list[Job]:
        """As :meth:`list_jobs`; read at once."""
        return await run_sync(lambda: list(self.list_jobs(*args, **kwargs)))

    def get_job(self, job_id: int | str, user: Any = None, filters: Mapping[str, Any] | None = None) -> Any:
        """As :meth:`prefect_jobs.JobManager.get_job`."""
        number = number_of(job_id)
        return None if number is None else self.list_jobs(user=user, filters=filters).filter(id=number).first()

    def count_jobs(self, user: Any = None, groups: Any = None, filters: Mapping[str, Any] | None = None) -> int:
        """The number of jobs that :meth:`list_jobs` would return."""
        return self.list_jobs(user, groups, filters=filters).count()

    def schedule_job(self, name: str, user: Any, job_type: Any, **kwargs: Any) -> Any:
        """As :meth:`prefect_jobs.JobManager.schedule_job`; the classes of the peer are scheduled as ours."""
        stored = next((key for key, cls in PEERS.items() if cls is job_type), job_type)
        return super().schedule_job(name, user, stored, **kwargs)
