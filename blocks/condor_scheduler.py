"""The block of an HTCondor access point."""

from typing import Any, ClassVar, Literal

from anyio.to_thread import run_sync
from pydantic import Field, SecretStr, model_validator

from prefect_jobs.blocks.scheduler_block import SchedulerBlock
from prefect_jobs.schedulers.condor.client import Access, CondorClient
from prefect_jobs.schedulers.connections import connections


class CondorScheduler(SchedulerBlock):
    """An HTCondor access point and an identity there.

    With a ``token``: ``host`` and ``port`` are the collector, or the access point if ``pool`` names the collector.
    ``schedd_name`` selects one of several schedds. With ``username``: the access point by SSH (not
    in this version). With neither: the machine's own HTCondor configuration.
    """

    _block_type_name = "HTCondor Scheduler"
    _block_type_slug = "prefect-jobs-condor-scheduler"
    _logo_url = "https://htcondor.org/assets/images/HTCondor_Bird.svg"  # type: ignore[assignment]
    _documentation_url = "https://htcondor.readthedocs.io/en/latest/admin-manual/security.html"  # type: ignore[assignment]
    engine: ClassVar[str] = "htcondor"

    host: str = Field(description="Name or address of the pool's collector, or of the access point.")
    port: int | None = Field(default=None, ge=1, le=65535, description="Port: 9618 by token, 22 by SSH if not given.")
    username: str | None = Field(default=None, description="Account at the access point, for SSH.")
    password: SecretStr | None = Field(default=None, description="Password of the account, for SSH.")
    private_key_path: str | None = Field(default=None, description="File with the private key, for SSH.")
    private_key_pass: SecretStr | None = Field(default=None, description="Passphrase of the private key, for SSH.")
    token: SecretStr | None = Field(default=None, description="IDTOKEN made by condor_token_create or _fetch.")
    pool: str | None = Field(default=None, description="The collector, if host is the access point.")
    schedd_name: str | None = Field(default=None, description="Name of the schedd, if there are several.")
    adopt: Literal["none", "mine"] = Field(
        default="none",
        description="mine: the monitor takes over what the owner of the token submits elsewhere (app: default).",
    )

    @model_validator(mode="after")
    def _one_way(self) -> "CondorScheduler":
        if not self.host.strip():
            raise ValueError("host: a name or an address is needed.")
        if self.token is not None and not self.token.get_secret_value().strip():
            raise ValueError("token: it is empty.")
        if self.token is not None and self.username:
            raise ValueError("token and username exclude each other: by token, or by SSH.")
        return self

    def access(self) -> Access:
        """The connection, for the client."""
        return Access(
            host=self.host.strip(),
            port=self.port,
            token=_plain(self.token),
            pool=self.pool,
            schedd_name=self.schedd_name,
            username=self.username,
            password=_plain(self.password),
            private_key_path=self.private_key_path,
            private_key_pass=_plain(self.private_key_pass),
        )

    def get_client(self, *args: Any, **kwargs: Any) -> CondorClient:
        """The client: one for each identity and process."""
        return connections.condor(self.access())

    def check(self) -> str:
        """Connects, authenticates, and reports what it finds.

        Returns:
            A report for people: schedd, versions, slots, jobs.

        Raises:
            SchedulerConnectionError: within 10 s; the message says what to fix.
        """
        found = self.get_client().check()
        slots = found.get("slots", [])
        cpus = sum(int(slot.get("TotalCpus") or slot.get("Cpus") or 0) for slot in slots if _top(slot))
        memory = sum(int(slot.get("TotalMemory") or slot.get("Memory") or 0) for slot in slots if _top(slot))
        jobs = ", ".join(f"{number} {state}" for state, number in found["jobs"].items() if number is not None)
        return "\n".join(
            (
                f"HTCondor at {self.host}: reached and authorized",
                f"schedd:  {found['schedd']} on {found['machine']}",
                f"version: {found['version']}",
                f"client:  {found['client']}",
                f"slots:   {len(slots)} ({cpus} CPUs, {memory} MB)",
                f"jobs:    {jobs}",
            )
        )

    async def acheck(self) -> str:
        """As :meth:`check`."""
        return await run_sync(self.check)


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None


def _top(slot: dict[str, Any]) -> bool:
    """Whether a slot is not dynamic: a dynamic slot is part of a partitionable one, which is counted."""
    return "_" not in str(slot.get("Name", "")).partition("@")[0]
