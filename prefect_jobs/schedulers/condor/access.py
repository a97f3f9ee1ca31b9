"""How an access point is reached, and what carries requests and files there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from prefect_jobs.errors import PrefectJobsError

DEFAULT_PORT = 9618
SSH_PORT = 22


class CondorError(PrefectJobsError):
    """HTCondor did not do what it was asked; trying again later may help."""


class CondorRefusal(CondorError):
    """HTCondor refuses the request as it is; trying again does not help."""


@dataclass(frozen=True)
class Access:
    """Where an access point is and who we are there. Secrets are not part of its repr."""

    host: str | None = None
    port: int | None = None
    token: str | None = field(default=None, repr=False)
    pool: str | None = None
    schedd_name: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    private_key_path: str | None = None
    private_key_pass: str | None = field(default=None, repr=False)

    @property
    def local(self) -> bool:
        """The machine's own HTCondor configuration counts."""
        return not self.token and not self.username

    @property
    def title(self) -> str:
        """The access point for people."""
        if self.local:
            return "this machine's HTCondor"
        return f"{self.host}:{self.port or (SSH_PORT if self.username else DEFAULT_PORT)}"

    def settings(self, folder: str) -> dict[str, Any]:
        """What the helper process is told. With ``pool`` the host is the access point, else the collector."""
        collector: str | None = None
        at: str | None = None
        if not self.local:
            collector = _address(self.pool, DEFAULT_PORT) if self.pool else _address(str(self.host), self.port)
            if self.pool and self.schedd_name is None:
                at = self.host
        return {
            "folder": folder,
            "token": self.token,
            "collector": collector,
            "schedd_name": self.schedd_name,
            "schedd_host": at,
            "schedd_port": self.port,
        }


#: What an access point is asked, each answered by a method of :class:`~prefect_jobs.schedulers.condor.helper.Session`.
Question = Literal["query", "history", "edit", "act", "dagman", "check"]


@dataclass(frozen=True)
class Submission:
    """What an access point is asked to take: a description, of how many processes, with inputs to be sent or not."""

    text: str
    count: int
    spool: bool


@dataclass(frozen=True)
class Cluster:
    """A cluster that an access point has taken."""

    cluster_id: int
    num_procs: int
    schedd: str | None


class Transport(Protocol):
    """Carries questions and files between this machine and one access point, under one identity.

    For any threads: a transfer, however long, holds up no question. All of it may raise

    - SchedulerConnectionError: the access point is not reached, refuses us, or does not answer in time;
    - CondorRefusal: it refuses the request as it is;
    - CondorError: the request failed on the way; whether it was done is not known.
    """

    def ask(self, question: Question, args: Mapping[str, Any], timeout: float) -> Any:
        """The answer to a question, as JSON has it, within ``timeout`` seconds."""
        ...

    def submit(self, submission: Submission, timeout: float) -> Cluster:
        """Submits a description.

        With ``spool``, the access point has on return the files of this machine that the description names
        (``executable``, ``input``, ``transfer_input_files``); a cluster whose files do not arrive is removed.
        """
        ...

    def submit_all(self, submissions: Sequence[Submission], timeout: float) -> list[Cluster | PrefectJobsError]:
        """As :meth:`submit`, of many through one connection; what fails with one of them keeps no other.

        Returns:
            For each what :meth:`submit` would give or raise.
        """
        ...

    def retrieve(self, constraint: str, timeout: float) -> None:
        """Fetches what spooled jobs have written so far, each into the folder of this machine that its description
        names as ``initialdir``."""
        ...

    def close(self) -> None:
        """Ends what was started for it; the next request starts it anew. In a forked child, what the parent started
        goes on there."""
        ...


def _address(host: str, port: int | None) -> str:
    name, separator, number = host.rpartition(":")
    if separator and number.isdigit() and (":" not in name or name.startswith("[")):
        return host
    return f"{host}:{port or DEFAULT_PORT}"
