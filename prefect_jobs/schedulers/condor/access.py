"""How an access point is reached, and by which transport."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from prefect_jobs.errors import PrefectJobsError, SchedulerConnectionError

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


class Transport(Protocol):
    """Carries requests to an access point. A second one, over SSH, fits here."""

    def call(self, op: str, args: dict[str, Any], timeout: float) -> Any:
        """Does one of the operations of :class:`~prefect_jobs.schedulers.condor.helper.Session`.

        Raises:
            SchedulerConnectionError: not reached, refused, or no answer within ``timeout`` seconds.
            CondorRefusal, CondorError: the access point's own answer.
        """
        ...

    def close(self) -> None:
        """Ends what was started for it."""
        ...


def refuse_ssh(access: Access) -> None:
    """
    Raises:
        SchedulerConnectionError: the access is by user name, that is by SSH.
    """
    if access.username:
        raise SchedulerConnectionError(
            f"The access point {access.title} is set up with a user name, which means SSH; this version reaches "
            "access points by token only. Give the block a token (condor_token_create on the access point)."
        )


def _address(host: str, port: int | None) -> str:
    name, separator, number = host.rpartition(":")
    if separator and number.isdigit() and (":" not in name or name.startswith("[")):
        return host
    return f"{host}:{port or DEFAULT_PORT}"
