"""Work that was submitted without us, taken over as jobs."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from anyio.to_thread import run_sync

from prefect_jobs import arguments
from prefect_jobs.errors import SubmissionError
from prefect_jobs.jobs import registry
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.condor import foreign
from prefect_jobs.jobs.condor.access_point import AccessPointJob
from prefect_jobs.jobs.condor.foreign import Work
from prefect_jobs.jobs.log_file import ForeignLog
from prefect_jobs.jobs.workflow import dag_file
from prefect_jobs.records import JobRecord
from prefect_jobs.runtime.wiring import Runtime, get_runtime
from prefect_jobs.schedulers.condor.dag import existing
from prefect_jobs.schedulers.condor.dag.model import DagError

#: Largest DAG file of others that is read, in bytes, and the largest number of its nodes.
_LARGEST, _NODES = 20_000_000, 100_000
#: Keyword arguments of ``adopt_job``: what a job has besides its work.
_KEYWORDS = ("description", "extended_properties", "process_results_function")


class Adopting:
    """The part of a :class:`~prefect_jobs.manager.JobManager` that takes over work."""

    #: The package of the app.
    label: str

    def adopt_job(
        self, name: str, user: Any, scheduler: Any, remote_id: str | int, groups: Any = None, **kwargs: Any
    ) -> Job:
        """Takes over work that is in a queue of HTCondor already and was submitted without this package: a cluster, or
        a DAGMan, which becomes a CONDORWORKFLOW. From then on it is followed, shown in Prefect, and steered as any
        other job. It is never fetched, edited or run again, and stays in the queue when the job is deleted; its
        outputs are where its submitter wants them.

        Args:
            name: as in :meth:`create_job`; empty: that of its batch or of its program.
            user: the owner of the job.
            scheduler: an HTCondor Scheduler block or its name; ``None``: this machine's HTCondor.
            remote_id: ``"123"`` or ``"123.0"``.
            groups: as in :meth:`create_job`.
            **kwargs: ``description``, ``extended_properties``, ``process_results_function``.

        Returns:
            The job; the one that has this work already, if there is one.

        Raises:
            ValueError: not the id of a cluster, a bad name or value.
            SubmissionError: it is in neither the queue nor the history, or not ours to steer.
            SchedulerConnectionError: the access point does not answer.
        """
        return adopt(self.label, name, user, scheduler, remote_id, groups, kwargs)

    async def aadopt_job(self, *args: Any, **kwargs: Any) -> Job:
        """As :meth:`adopt_job`."""
        return await run_sync(lambda: self.adopt_job(*args, **kwargs))


def adopt(
    label: str, name: str, user: Any, scheduler: Any, remote_id: str | int, groups: Any, kwargs: Mapping[str, Any]
) -> Job:
    """See :meth:`JobManager.adopt_job`; ``label`` is the app's."""
    unknown = sorted(set(kwargs) - set(_KEYWORDS))
    if unknown:
        raise TypeError(
            f"adopt_job() takes no keyword {', '.join(map(repr, unknown))}. Valid: groups, {', '.join(_KEYWORDS)}."
        )
    cluster, runtime = foreign.cluster_of(remote_id), get_runtime()

    given = {**kwargs, "scheduler": scheduler}
    client = _draft(runtime, label, name or "cluster", user, groups, False, given).engine.client()
    work = foreign.look(client, cluster)
    foreign.check_ours(work, client.check().get("identity"))
    if token := work.first.get("PrefectJobsToken"):
        return _known(runtime, label, runtime.store.with_token(str(token)), work)
    if record := runtime.store.with_token(work.token):
        return _known(runtime, label, record, work)
    return take(runtime, _draft(runtime, label, name or work.name, user, groups, work.is_dag, given), work)


def draft(runtime: Runtime, label: str, work: Work, scheduler: str) -> AccessPointJob:
    """A job for work, of the user who submitted it."""
    return _draft(runtime, label, work.name, str(work.first.get("Owner")), None, work.is_dag, {"scheduler": scheduler})


def record_of(job: AccessPointJob, work: Work) -> JobRecord:
    """The record to write for a job that takes over work."""
    job.check_fields()
    if work.is_dag:
        _add_nodes(job, work)
    else:
        first = work.first
        said = {"executable": first.get("Cmd"), "arguments": first.get("Arguments") or first.get("Args")}
        job.spec["attributes"] = {name: str(value) for name, value in said.items() if value}
    return foreign.filled(job.handle.drafted(), work, job.engine.origin())


def take(runtime: Runtime, job: AccessPointJob, work: Work) -> Job:
    """Writes a new job for work; returns the one that has it.

    Raises:
        SubmissionError: a job of another app has it.
    """
    job.handle.record = record_of(job, work)
    record = foreign.write(job.save, lambda: runtime.store.with_token(work.token))
    return job if record is None else _known(runtime, job.handle.record.label, record, work)


def _draft(
    runtime: Runtime, label: str, name: str, user: Any, groups: Any, is_dag: bool, given: Mapping[str, Any]
) -> AccessPointJob:
    kind, cls = registry.job_class("CONDORWORKFLOW" if is_dag else "CONDOR")
    made = cls(runtime, arguments.draft(runtime, label, name, user, groups, kind, cls, given))
    assert isinstance(made, AccessPointJob)  # noqa: S101 (for mypy: both types are)
    return made


def _known(runtime: Runtime, label: str, record: JobRecord | None, work: Work) -> Job:
    """The job that has the work.

    Raises:
        SubmissionError: it is not one of this app.
    """
    if record is None or record.remote_id != str(work.cluster):
        raise SubmissionError(
            f"Cluster {work.cluster} was submitted by prefect-jobs with another database, which has its job."
        )
    if record.label != label:
        raise SubmissionError(f"Cluster {work.cluster} is job {record.id} of the app {record.label!r} already.")
    found: Job = runtime.job(record)
    return found


def _add_nodes(job: Any, work: Work) -> None:
    """Adds the nodes of the DAG file, if it and all that it includes are files of its owner that can be read here.
    Other nodes are added when they are seen."""
    path, owner = work.dag_file, str(work.first.get("Owner"))
    here = foreign.is_here(job.engine.client())

    def reading(file: Path) -> str:
        return ForeignLog(file, owner, here=here).text(_LARGEST)

    if path is None:
        return
    with suppress(DagError, OSError, RecursionError):
        specs = dag_file.specs_of(existing.read(path, reading))
        if len(specs) <= _NODES:
            job.graph.place(*dag_file.handles_of(specs))
