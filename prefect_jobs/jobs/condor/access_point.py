"""What all jobs at an HTCondor access point have: a cluster id, and a job directory on this machine."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from prefect_jobs import folders
from prefect_jobs.errors import SchedulerConnectionError, SchedulerEngineMismatch
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.condor.ads import constraint
from prefect_jobs.jobs.condor.state import encode
from prefect_jobs.jobs.engine import Engine
from prefect_jobs.jobs.observation import Submitted, TransientSubmissionError
from prefect_jobs.naming import slug
from prefect_jobs.records import JobRecord
from prefect_jobs.schedulers.condor.access import Access, Cluster, CondorError, CondorRefusal
from prefect_jobs.schedulers.condor.client import CondorClient
from prefect_jobs.schedulers.connections import client_for

#: Key in ``spec``: the job directory, once it was made.
DIRECTORY = "initial_dir"


class AccessPointEngine(Engine):
    """A job at an access point."""

    #: The word for the job in messages about a refusal.
    word: ClassVar[str] = "job"

    #: The directory that was made for a submission whose intent is not committed yet.
    _made: Path | None = None

    # -- the access point -------------------------------------------------------------------------------

    def client(self) -> CondorClient:
        """The client for the access point.

        Raises:
            SchedulerConnectionError: the job is at the local HTCondor of another machine, or its block cannot be read.
            SchedulerEngineMismatch: the block is not an HTCondor one.
        """
        record = self.handle.record
        if record.scheduler is None:
            host = record.noted.host
            if host not in (None, self.site.host_name):
                raise SchedulerConnectionError(
                    f"{self.handle.title} was submitted to the local HTCondor of the machine {host}, which only "
                    "programs there can reach. Run this there (or set PREFECT_JOBS_HOST_NAME to that name here if this "
                    "machine had it before). A job with a scheduler block can be reached from anywhere."
                )
            return client_for(Access())
        block = self.site.scheduler(record.scheduler)
        client = block.get_client() if hasattr(block, "get_client") else None
        if not isinstance(client, CondorClient):
            raise SchedulerEngineMismatch(
                f"The scheduler {record.scheduler!r} is not an HTCondor one; {self.handle.title} needs one."
            )
        return client

    @property
    def mine(self) -> str:
        """The constraint that matches the job's own ads."""
        return constraint(self.handle.record)

    @property
    def ended_at(self) -> datetime | None:
        """When the job ended; ``None``: it is not over."""
        record = self.handle.record
        return record.state.completion_time if record.final else None

    @property
    def own_procs(self) -> str:
        """The constraint that matches the procs in which its work is done."""
        return self.mine

    def why_waiting(self) -> str:
        """As :meth:`AccessPointJob.why_waiting`."""
        record = self.handle.record
        if record.remote_id is None or not record.noted.in_queue or record.final:
            return ""
        return self.client().why_idle([self.own_procs])[0] or ""

    def origin(self) -> dict[str, Any]:
        """This machine, if the job goes to its local HTCondor, which other machines cannot reach."""
        return encode(host=self.site.host_name) if self.handle.record.scheduler is None else {}

    def reach(self) -> None:
        """Does nothing."""
        self.client().query("false", ("ClusterId",))

    # -- the job directory ------------------------------------------------------------------------------

    @property
    def directory(self) -> Path | None:
        """The job directory; ``None``: it is made when the job is submitted."""
        known = self.handle.drafts.spec.get(DIRECTORY)
        return Path(known) if known else None

    @property
    def initial_dir(self) -> Path:
        """The job directory, whether it exists yet or not."""
        return self.directory or self.workspace / self._directory_name()

    @property
    def workspace(self) -> Path:
        """The folder in which the job directory is made."""
        record = self.handle.record
        default = partial(self.site.default_workspace, record.label, record.user)
        return Path(folders.absolute(self.handle.drafts.workspace or "", default))

    @staticmethod
    def workspace_of(record: JobRecord, default: str) -> str:
        """The folder of the job directory, if there is one."""
        known = record.spec.get(DIRECTORY)
        return str(Path(known).parent) if known else Engine.workspace_of(record, default)

    def _directory_name(self) -> str:
        name = slug(self.handle.name)
        return f"{name}-{self.handle.id}" if self.handle.id else name

    def prepare(self, *args: Any, **kwargs: Any) -> None:
        """Makes the directory."""
        self._made = None if self.directory else self.make_directory(keep=False)

    def unprepare(self) -> None:
        """Removes the directory if it was just made and is empty."""
        made, self._made = self._made, None
        if made is not None:
            self.handle.drafts.spec.pop(DIRECTORY, None)
            with suppress(OSError):  # another process has written into it
                made.rmdir()

    def make_directory(self, *, keep: bool = True) -> Path:
        """Makes the job directory, once. A directory that existed before is never used: it may be another job's.

        Args:
            keep: whether to note it in SQL at once.
        """
        known = self.directory
        if known is not None:
            known.mkdir(parents=True, exist_ok=True)
            return known
        self.workspace.mkdir(parents=True, exist_ok=True)
        for number in range(1, 10_000):
            path = self.workspace / (self._directory_name() + (f"-{number}" if number > 1 else ""))
            try:
                path.mkdir()
            except FileExistsError:
                continue
            self.handle.drafts.spec[DIRECTORY] = str(path)
            if keep:
                self.handle.save()
            return path
        raise OSError(f"No directory can be made in {self.workspace}: all names are in use.")

    # -- submission -------------------------------------------------------------------------------------

    def taken(self, answer: Cluster | Exception) -> Cluster | Submitted:
        """The outcome of a submission: the cluster, or the work found by the token if the answer was lost.

        Raises:
            CondorRefusal: HTCondor refuses the submission.
            TransientSubmissionError: nothing was submitted; trying again may help.
            SchedulerConnectionError: the access point was not reached: nothing was submitted.
        """
        if isinstance(answer, Cluster):
            return answer
        if isinstance(answer, CondorRefusal):
            raise CondorRefusal(f"HTCondor refuses the {self.word}: {answer}") from answer
        if not isinstance(answer, CondorError):
            raise answer
        found = self.find()
        if found is None:
            raise TransientSubmissionError(str(answer)) from answer
        return found

    def hand_over(
        self, client: CondorClient, text: str, count: int, *, spool: bool, items: Sequence[Mapping[str, str]] = ()
    ) -> Cluster | Submitted:
        """Submits a description; see :meth:`taken`."""
        try:
            answer: Cluster | CondorError = client.submit(text, count, spool=spool, items=items)
        except CondorError as error:
            answer = error
        return self.taken(answer)

    def find(self) -> Submitted | None:
        """Searches the queue and the history."""
        return self.found(self.client())

    def found(self, client: CondorClient) -> Submitted | None:
        """The work submitted under the present token. A submission whose inputs are incomplete is removed.

        Raises:
            SchedulerConnectionError: the schedd does not answer.
        """
        raise NotImplementedError


class AccessPointJob(Job):
    """A job at an access point."""

    scheduler_engine: ClassVar[str | None] = "htcondor"
    engine_type: ClassVar[type[Engine]] = AccessPointEngine

    engine: AccessPointEngine

    @property
    def cluster_id(self) -> int | None:
        """HTCondor's cluster id; ``None`` before the job is submitted."""
        return int(self.remote_id) if self.remote_id else None

    @property
    def initial_dir(self) -> str:
        """The job directory, in the workspace: logs are in its folder ``logs``, outputs come back into it."""
        return str(self.engine.initial_dir)

    @property
    def resources(self) -> dict[Any, dict[str, Any]]:
        """What the job has requested and used; see the types."""
        raise NotImplementedError

    @property
    def resource_hints(self) -> list[str]:
        """Where its requests were far too large, or too small, with what would do. Of procs that run, the use is not
        known to its end."""
        raise NotImplementedError

    def why_waiting(self) -> str:
        """Why its idle procs wait for a machine, as far as the pool's collector tells: requests that no slot is large
        enough for, requirements that none fulfils, slots that are busy, the negotiator's reason. Empty if none waits.
        It is asked now; it does not change the job.

        Raises:
            SchedulerConnectionError: the access point or the collector does not answer.
        """
        return self.engine.why_waiting()


def submitted_text(cluster: Cluster, client: CondorClient) -> str:
    """The status message of a submission."""
    return f"Submitted as cluster {cluster.cluster_id} to {cluster.schedd or client.access.title}"


def found_text(cluster: int) -> str:
    """The status message of a submission that was found again."""
    return f"Found again as cluster {cluster}; it was submitted before an interruption."


def first_line(error: BaseException) -> str:
    """The text of an error, in one line."""
    return (str(error) or type(error).__name__).splitlines()[0]
