"""What every job at an HTCondor access point has: a number there, and a directory of its own here."""

from contextlib import suppress
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

#: Key in ``spec``: the job's own directory, once it was made.
DIRECTORY = "initial_dir"


class AccessPointEngine(Engine):
    """A job at an access point."""

    #: What a job is called where HTCondor refuses it.
    word: ClassVar[str] = "job"

    #: The directory that was made for a submission whose intent is not committed yet.
    _made: Path | None = None

    # -- where it is ------------------------------------------------------------------------------------

    def client(self) -> CondorClient:
        """The client for the access point.

        Raises:
            SchedulerConnectionError: the job is at another machine's own HTCondor, or its block cannot be read.
            SchedulerEngineMismatch: the block is not an HTCondor one.
        """
        record = self.handle.record
        if record.scheduler is None:
            host = record.noted.host
            if host not in (None, self.site.host_name):
                raise SchedulerConnectionError(
                    f"{self.handle.title} was submitted to the HTCondor of the machine {host}, which only programs "
                    "there can ask. Do this there (or here with PREFECT_JOBS_HOST_NAME set to that, if this machine "
                    "had that name before). A job with a scheduler block can be asked about anywhere."
                )
            return client_for(Access())
        block = self.site.scheduler(record.scheduler)
        client = block.get_client() if hasattr(block, "get_client") else None
        if not isinstance(client, CondorClient):
            raise SchedulerEngineMismatch(
                f"The scheduler {record.scheduler!r} is not an HTCondor one, as {self.handle.title} needs."
            )
        return client

    @property
    def mine(self) -> str:
        """The constraint that is true of the job's own ads."""
        return constraint(self.handle.record)

    def origin(self) -> dict[str, Any]:
        """The machine, where the job goes to its own HTCondor: those of other machines do not know it."""
        return encode(host=self.site.host_name) if self.handle.record.scheduler is None else {}

    def reach(self) -> None:
        """Asks for nothing."""
        self.client().query("false", ("ClusterId",))

    # -- its directory ----------------------------------------------------------------------------------

    @property
    def directory(self) -> Path | None:
        """The job's own directory; ``None``: it is made when the job is submitted."""
        known = self.handle.drafts.spec.get(DIRECTORY)
        return Path(known) if known else None

    @property
    def initial_dir(self) -> Path:
        """The job's own directory, whether it was made yet or not."""
        return self.directory or self.workspace / self._directory_name()

    @property
    def workspace(self) -> Path:
        """The folder under which the directory is made."""
        record = self.handle.record
        default = self.site.default_workspace(record.label, record.user)
        return Path(folders.absolute(self.handle.drafts.workspace or "", default))

    @staticmethod
    def workspace_of(record: JobRecord, default: str) -> str:
        """That of the directory, where there is one."""
        known = record.spec.get(DIRECTORY)
        return str(Path(known).parent) if known else Engine.workspace_of(record, default)

    def _directory_name(self) -> str:
        name = slug(self.handle.name)
        return f"{name}-{self.handle.id}" if self.handle.id else name

    def prepare(self) -> None:
        """Makes the directory."""
        self._made = None if self.directory else self.make_directory(keep=False)

    def unprepare(self) -> None:
        """Removes it, if it was made just now and is empty."""
        made, self._made = self._made, None
        if made is not None:
            self.handle.drafts.spec.pop(DIRECTORY, None)
            with suppress(OSError):  # another process has put something into it
                made.rmdir()

    def make_directory(self, *, keep: bool = True) -> Path:
        """The job's own directory; made once, never one that was there before (it may be another's).

        Args:
            keep: whether to write in SQL at once which it is.
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
        raise OSError(f"No name is left for a directory in {self.workspace}.")

    # -- submission -------------------------------------------------------------------------------------

    def taken(self, answer: Cluster | Exception) -> Cluster | Submitted:
        """What became of a submission: the cluster; or what was found by the token, where the answer was lost.

        Raises:
            CondorRefusal: HTCondor refuses it as it is.
            TransientSubmissionError: nothing was submitted; trying again may help.
            SchedulerConnectionError: not reached: nothing was submitted.
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

    def hand_over(self, client: CondorClient, text: str, count: int, *, spool: bool) -> Cluster | Submitted:
        """Submits a description; see :meth:`taken`."""
        try:
            answer: Cluster | CondorError = client.submit(text, count, spool=spool)
        except CondorError as error:
            answer = error
        return self.taken(answer)

    def find(self) -> Submitted | None:
        """Looks in queue and history."""
        return self.found(self.client())

    def found(self, client: CondorClient) -> Submitted | None:
        """What was submitted under the present token. What never arrived whole is removed.

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
        """HTCondor's number of the cluster; ``None`` before it is submitted."""
        return int(self.remote_id) if self.remote_id else None

    @property
    def initial_dir(self) -> str:
        """The job's own directory, under its workspace; logs are in ``logs`` in it, outputs come back into it."""
        return str(self.engine.initial_dir)


def submitted_text(cluster: Cluster, client: CondorClient) -> str:
    """What people are told of a submission."""
    return f"Submitted as cluster {cluster.cluster_id} to {cluster.schedd or client.access.title}"


def found_text(cluster: int) -> str:
    """What people are told of a submission that was found again."""
    return f"Found again as cluster {cluster}; it was submitted before an interruption."


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return (str(error) or type(error).__name__).splitlines()[0]
