"""A job on a schedule: a Prefect deployment for it, whose runs a worker executes."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect_jobs.projection.prefect_api import PrefectApi
from prefect_jobs.runtime.wiring import get_runtime


@dataclass(frozen=True)
class Schedule:
    """A scheduled job. Start a worker for its runs: ``prefect worker start --pool jobs``."""

    #: The deployment, as ``flow/name``.
    name: str
    deployment_id: str

    @classmethod
    def create(
        cls,
        api: PrefectApi,
        app: str,
        name: str,
        entrypoint: str,
        parameters: dict[str, Any],
        *,
        cron: str | None,
        interval: timedelta | float | None,
        timezone: str | None,
    ) -> "Schedule":
        """Creates the deployment.

        Raises:
            ValueError: not exactly one of ``cron`` and ``interval``, or a value that Prefect cannot read.
        """
        from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule

        if (cron is None) == (interval is None):
            raise ValueError("A schedule needs either cron=… or interval=….")
        schedule: Any
        if cron is not None:
            schedule = CronSchedule(cron=cron, timezone=timezone or "UTC")
        else:
            length = interval if isinstance(interval, timedelta) else timedelta(seconds=float(interval or 0))
            if length <= timedelta(0):
                raise ValueError(f"The interval of a schedule must be longer than 0 s, not {length}.")
            schedule = IntervalSchedule(interval=length, timezone=timezone)
        full, deployment = api.create_scheduled(app, name, entrypoint, parameters, schedule)
        return cls(full, str(deployment))

    def pause(self) -> None:
        """Creates no new runs until :meth:`resume`."""
        self._ask(lambda api: api.pause_deployment(UUID(self.deployment_id), paused=True))

    def resume(self) -> None:
        """Creates new runs again."""
        self._ask(lambda api: api.pause_deployment(UUID(self.deployment_id), paused=False))

    def delete(self) -> None:
        """Deletes the schedule; the jobs that it created stay."""
        self._ask(lambda api: api.delete_deployment(UUID(self.deployment_id)))

    @staticmethod
    def _ask(question: Any) -> None:
        get_runtime().prefect.ask(question, patience=10.0)
