"""The jobs that one poll needs."""

from collections.abc import Iterable

from prefect_jobs.jobs.condor.engine import CondorEngine
from prefect_jobs.jobs.group import Load
from prefect_jobs.jobs.type_hooks import AnyJob


class Loaded:
    """The jobs that one poll needs, each read once, many in one request."""

    def __init__(self, load: Load) -> None:
        """
        Args:
            load: reads jobs by their ids.
        """
        self._load = load
        self._jobs: dict[int, AnyJob] = {}

    def read(self, job_ids: Iterable[int]) -> None:
        """Reads jobs that were not read yet."""
        wanted = [job_id for job_id in dict.fromkeys(job_ids) if job_id not in self._jobs]
        if wanted:
            self._jobs.update({job.handle.record.id: job for job in self._load(wanted)})

    def get(self, job_id: int) -> AnyJob | None:
        """A job that was read; ``None``: it was deleted."""
        return self._jobs.get(job_id)

    def one(self, job_ids: Iterable[int]) -> CondorEngine | None:
        """The engine of any of these jobs."""
        for job_id in job_ids:
            self.read([job_id])
            if (job := self.get(job_id)) is not None and isinstance(job.engine, CondorEngine):
                return job.engine
        return None
