"""The deployments for runs of jobs."""

import pkgutil
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from prefect_jobs.projection.prefect_connection import PrefectConnection

#: Prefect reserves names that begin with "prefect".
WORK_POOL = "jobs"


class Deployments(PrefectConnection):
    """A deployment for each app and job type."""

    def __init__(self) -> None:
        super().__init__()
        self._deployments: dict[tuple[str, str], UUID] = {}

    def deploy(self, app: str, entrypoint: str) -> str:
        """Creates or updates the deployment of an app and job type.

        Returns:
            Its name, ``flow/app``.
        """
        flow = load_flow(entrypoint)
        self._deployments[app, entrypoint] = self._make_deployment(app, entrypoint, flow)
        return f"{flow.name}/{app}"

    def _deployment(self, app: str, entrypoint: str, *, fresh: bool) -> UUID:
        known = self._deployments.get((app, entrypoint))
        if known is not None and not fresh:
            return known
        from prefect.exceptions import ObjectNotFound

        flow = load_flow(entrypoint)
        with self._calling() as client:
            try:
                found = client.read_deployment_by_name(f"{flow.name}/{app}").id
            except ObjectNotFound:
                found = None
        if found is None:
            found = self._make_deployment(app, entrypoint, flow)
        self._deployments[app, entrypoint] = found
        return found

    def _make_deployment(
        self,
        app: str,
        entrypoint: str,
        flow: Any,
        *,
        name: str | None = None,
        parameters: dict[str, Any] | None = None,
        schedules: Any = None,
        tags: Sequence[str] = (),
        paused: bool | None = None,
    ) -> UUID:
        from prefect.client.schemas.actions import WorkPoolCreate
        from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

        with self._calling() as client:
            try:
                client.read_work_pool(WORK_POOL)
            except ObjectNotFound:
                try:
                    text = "Runs of prefect-jobs that people start or schedule in Prefect."
                    client.create_work_pool(WorkPoolCreate(name=WORK_POOL, type="process", description=text))
                except ObjectAlreadyExists:
                    pass  # another process has created it
            return client.create_deployment(
                flow_id=client.create_flow_from_name(flow.name),
                name=name or app,
                entrypoint=entrypoint,
                schedules=schedules,
                work_pool_name=WORK_POOL,
                parameters=parameters or {"app": app},
                parameter_openapi_schema=flow.parameters.model_dump_for_openapi(),
                description=flow.description,
                tags=list(dict.fromkeys(["prefect-jobs", f"app:{app}", *tags])),
                paused=paused,
                # These runs name their job in SQL, not in their parameters.
                enforce_parameter_schema=False,
            )


def load_flow(entrypoint: str) -> Any:
    """The flow at ``module:function``."""
    return pkgutil.resolve_name(entrypoint)
