"""The address and identity of an access point, and the protocol for requests and files to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from prefect_jobs.errors import PrefectJobsError

DEFAULT_PORT = 9618
SSH_PORT = 22


class CondorError(PrefectJobsError):
    """HTCondor did not carry out a request; trying again later may help."""


class CondorRefusal(CondorError):
    """HTCondor refuses the request; trying again does not help."""


@dataclass(frozen=True)
class Access:
    """The address of an access point and our identity there. The repr contains no secrets."""

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
        """Whether the machine's own HTCondor configuration is used."""
        return not self.token and not self.username

    @property
    def title(self) -> str:
        """The access point's name in messages."""
        if self.local:
            return "this machine's HTCondor"
        return f"{self.host}:{self.port or (SSH_PORT if self.username else DEFAULT_PORT)}"

    def settings(self, folder: str) -> dict[str, Any]:
        """The settings for the helper process. With ``pool`` the host is the access point, else the collector."""
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


#: Requests to an access point, each answered by a method of :class:`~prefect_jobs.schedulers.condor.helper.Session`.
Question = Literal["query", "history", "analyze", "edit", "act", "dagman", "tail", "check"]


@dataclass(frozen=True)
class Submission:
    """A submission: a description, the number of procs, and whether to spool the inputs."""

    text: str
    count: int
    spool: bool
    #: Of each proc, values of more macros; empty: none.
    items: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True)
class Cluster:
    """A cluster that an access point has accepted."""

    cluster_id: int
    num_procs: int
    schedd: str | None


class Transport(Protocol):
    """Carries requests and files between this machine and one access point, under one identity.

    For any threads: a transfer does not block requests, however long it takes. Each method may raise

    - SchedulerConnectionError: the access point is not reached, refuses us, or does not answer in time;
    - CondorRefusal: it refuses the request;
    - CondorError: the request failed; whether it was carried out is not known.
    """

    def ask(self, question: Question, args: Mapping[str, Any], timeout: float) -> Any:
        """The answer to a request, as JSON values, within ``timeout`` seconds."""
        ...

    def submit(self, submission: Submission, timeout: float) -> Cluster:
        """Submits a description.

        With ``spool``, the files of this machine that the description names (``executable``, ``input``,
        ``transfer_input_files``) are spooled on return. A cluster whose files cannot be spooled is removed.
        """
        ...

    def submit_all(self, submissions: Sequence[Submission], timeout: float) -> list[Cluster | PrefectJobsError]:
        """As :meth:`submit`, for many through one connection; a failure of one does not affect the others.

        Returns:
            For each the return value or the exception of :meth:`submit`.
        """
        ...

    def retrieve(self, constraint: str, timeout: float) -> None:
        """Fetches what spooled jobs have written so far, each into the folder of this machine that its description
        names as ``initialdir``."""
        ...

    def close(self) -> None:
        """Ends the processes that were started; the next request starts them again. In a forked child, the parent's
        processes continue."""
        ...


def _address(host: str, port: int | None) -> str:
    name, separator, number = host.rpartition(":")
    if separator and number.isdigit() and (":" not in name or name.startswith("[")):
        return host
    return f"{host}:{port or DEFAULT_PORT}"
