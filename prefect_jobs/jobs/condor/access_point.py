"""What every job at an HTCondor access point has: a scheduler, a number there, a directory of its own."""

from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from prefect_jobs import folders
from prefect_jobs.errors import SchedulerConnectionError, SchedulerEngineMismatch
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.condor import poll as condor_watch
from prefect_jobs.jobs.submission import TransientSubmissionError
from prefect_jobs.naming import slug
from prefect_jobs.records import JobRecord
from prefect_jobs.schedulers.condor.client import (
    Access,
    CondorClient,
    CondorError,
    CondorRefusal,
    Submitted,
    client_for,
)

DIRECTORY = "initial_dir"
#: Key in what is known of a job that has no scheduler block: the machine whose HTCondor has it.
HOST = "host"


class AccessPointJob(Job):
    """A job at an access point."""

    scheduler_engine: ClassVar[str | None] = "htcondor"
    #: The directory that was made for a submission whose intent is not committed yet.
    _made: Path | None = None

    @property
    def cluster_id(self) -> int | None:
        """HTCondor's number of the cluster; ``None`` before it is submitted."""
        return int(self.remote_id) if self.remote_id else None

    @property
    def initial_dir(self) -> str:
        """The job's own directory, under its workspace; logs are in ``logs`` in it, outputs come back into it."""
        known = self.spec.get(DIRECTORY)
        return str(known) if known else str(Path(self._workspace()) / self._directory_name())

    # -- inside -----------------------------------------------------------------------------------------

    def _hand_over(self, client: CondorClient, text: str, count: int, *, spool: bool, what: str) -> Submitted | None:
        """Submits a description.

        Returns:
            The cluster; ``None`` where the answer was lost, and the work was found by its token.

        Raises:
            CondorRefusal: HTCondor refuses it as it is.
            TransientSubmissionError: nothing was submitted; trying again may help.
            SchedulerConnectionError: not reached: nothing was submitted.
        """
        try:
            answer: Submitted | CondorError = client.submit(text, count, spool=spool)
        except CondorError as error:
            answer = error
        return self._taken(answer, what)

    def _taken(self, answer: Submitted | Exception, what: str) -> Submitted | None:
        """What became of a submission; see :meth:`_hand_over`."""
        if isinstance(answer, Submitted):
            return answer
        if isinstance(answer, CondorRefusal):
            raise CondorRefusal(f"HTCondor refuses the {what}: {answer}") from answer
        if not isinstance(answer, CondorError):
            raise answer
        if self._find_submission():
            return None
        raise TransientSubmissionError(str(answer)) from answer

    def _reach(self) -> None:
        with condor_watch.asking():
            self._client().query("false", ("ClusterId",))

    def _find_submission(self) -> bool:
        with condor_watch.asking():
            return self._found()

    def _found(self) -> bool:
        """Looks for the submission by its token, and notes it."""
        raise NotImplementedError

    def _origin(self) -> dict[str, Any]:
        # Other machines' own HTCondor knows nothing of it.
        return {HOST: self._backend.host_name} if self._record.scheduler is None else {}

    def _directory(self) -> Path | None:
        known = self.spec.get(DIRECTORY)
        return Path(known) if known else None

    def _client(self) -> CondorClient:
        block = self.scheduler
        if block is None:
            host = self._record.native.get(HOST)
            if host not in (None, self._backend.host_name):
                raise SchedulerConnectionError(
                    f"{self._title()} was submitted to the HTCondor of the machine {host}, which only programs there "
                    "can ask. Do this there (or here with PREFECT_JOBS_HOST_NAME set to that, if this machine had that "
                    "name before). A job with a scheduler block can be asked about anywhere."
                )
            return client_for(Access())
        client = block.get_client() if hasattr(block, "get_client") else None
        if not isinstance(client, CondorClient):
            raise SchedulerEngineMismatch(
                f"The scheduler {self._record.scheduler!r} is not an HTCondor one, as {self._title()} needs."
            )
        return client

    def _workspace(self) -> str:
        return folders.absolute(self.workspace or "", self._backend.default_workspace(self.label, self.user))

    def _old_workspace(self, record: JobRecord) -> str:
        known = record.spec.get(DIRECTORY)
        return str(Path(known).parent) if known else super()._old_workspace(record)

    def _directory_name(self) -> str:
        return f"{slug(self.name)}-{self.id}" if self.id else slug(self.name)

    def _prepare(self) -> None:
        self._made = None if self.spec.get(DIRECTORY) else self._make_directory(keep=False)

    def _unprepare(self) -> None:
        made, self._made = self._made, None
        if made is not None:
            self.spec.pop(DIRECTORY, None)
            with suppress(OSError):  # somebody has put something into it
                made.rmdir()

    def _make_directory(self, *, keep: bool = True) -> Path:
        """The job's own directory; made once, never one that was there before (it may be another's).

        Args:
            keep: whether to write in SQL at once which it is.
        """
        known = self.spec.get(DIRECTORY)
        if known:
            Path(known).mkdir(parents=True, exist_ok=True)
            return Path(known)
        workspace = Path(self._workspace())
        workspace.mkdir(parents=True, exist_ok=True)
        for number in range(1, 10_000):
            path = workspace / (self._directory_name() + (f"-{number}" if number > 1 else ""))
            try:
                path.mkdir()
            except FileExistsError:
                continue
            self.spec[DIRECTORY] = str(path)
            if keep:
                self._take(self._backend.update(self._record.id, self._user_changes), keep=False)
            return path
        raise OSError(f"No name is left for a directory in {workspace}.")


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return (str(error) or type(error).__name__).splitlines()[0]
