"""The block of a Dask scheduler."""

from typing import Any, ClassVar

from anyio.to_thread import run_sync
from pydantic import Field, SecretStr

from prefect_jobs.blocks.scheduler_block import SchedulerBlock
from prefect_jobs.schedulers.connections import connections
from prefect_jobs.schedulers.dask import connection


class DaskScheduler(SchedulerBlock):
    """A Dask scheduler."""

    _block_type_name = "Dask Scheduler"
    _block_type_slug = "prefect-jobs-dask-scheduler"
    _logo_url = "https://docs.dask.org/en/stable/_static/images/dask-horizontal-white.svg"  # type: ignore[assignment]
    _documentation_url = "https://distributed.dask.org/en/stable/client.html"  # type: ignore[assignment]
    engine: ClassVar[str] = "dask"

    host: str = Field(
        default="",
        description="Address of the scheduler, as host:port or tcp://host:port; empty: a cluster on this machine.",
    )
    timeout: float = Field(default=0, ge=0, description="Seconds to wait for an answer; 0: 10 seconds.")
    heartbeat_interval: float = Field(default=0, ge=0, description="Seconds between heartbeats; 0: Dask's default.")
    dashboard: str | None = Field(
        default=None, description="Address of the dashboard for people, if it differs from the scheduler's own."
    )
    tls_ca_file: str | None = Field(default=None, description="File with the certificate authority, for TLS.")
    tls_client_cert: SecretStr | None = Field(default=None, description="Certificate, or a file with it, for TLS.")
    tls_client_key: SecretStr | None = Field(default=None, description="Private key, or a file with it, for TLS.")

    @property
    def client(self) -> Any:
        """The ``distributed.Client``: one for each scheduler and process.

        Raises:
            SchedulerConnectionError: not reached within ``timeout``.
        """
        return connections.distributed(self.access())

    def access(self) -> connection.DaskAccess:
        """The connection, for the client."""
        return connection.DaskAccess(
            host=self.host.strip(),
            timeout=self.timeout,
            heartbeat_interval=self.heartbeat_interval,
            tls_ca_file=self.tls_ca_file,
            tls_client_cert=_plain(self.tls_client_cert),
            tls_client_key=_plain(self.tls_client_key),
        )

    def get_client(self, *args: Any, **kwargs: Any) -> Any:
        """As :attr:`client`."""
        return self.client

    def close(self) -> None:
        """Closes the client; the next use opens another."""
        connections.close_dask(self.access())

    def check(self) -> str:
        """Connects and reports what it finds.

        Returns:
            A report for people: versions, workers, threads, memory.

        Raises:
            SchedulerConnectionError: within ``timeout``; the message says what to fix.
        """
        found = connection.describe(self.access(), self.client)
        lines = (
            f"Dask at {found['address']}: reached",
            f"version:   {found['version']} (here {found['client_version']})",
            f"workers:   {found['workers']} ({found['threads']} threads, {found['memory'] / 2**30:.1f} GiB)",
            f"dashboard: {self.dashboard or found['dashboard'] or 'none'}",
        )
        different = [f"differs:   {text}" for text in found["differences"]]
        return "\n".join([*lines, *different])

    async def acheck(self) -> str:
        """As :meth:`check`."""
        return await run_sync(self.check)


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None
