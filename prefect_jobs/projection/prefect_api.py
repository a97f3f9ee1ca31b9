"""The few calls to Prefect's API that faces need, typed, with "away" told apart from "refused"."""

import importlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx

from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.projection.states import Face

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

#: Prefect keeps names that begin with "prefect" for itself.
WORK_POOL = "jobs"
#: Seconds for one request.
REQUEST_TIMEOUT = 10.0
_COMMANDS = ("CANCELLING", "CANCELLED")


class PrefectAway(PrefectJobsError):
    """Prefect's API cannot be reached just now, or is out of order: try again later."""


class RunGone(PrefectJobsError):
    """The flow run was deleted in Prefect."""


class PrefectApi:
    """A client that is opened at the first call. For one thread."""

    def __init__(self) -> None:
        self._client: SyncPrefectClient | None = None
        self._deployments: dict[tuple[str, str], UUID] = {}

    def close(self) -> None:
        """Closes the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.__exit__(None, None, None)

    # -- runs -------------------------------------------------------------------------------------------

    def create_run(
        self,
        *,
        app: str,
        entrypoint: str,
        name: str,
        face: Face,
        key: str,
        tags: list[str],
        labels: Mapping[str, str | int],
    ) -> tuple[str, str | None, str | None]:
        """Creates the flow run of a job; a repeat with the same key gives the same run, as it is.

        Returns:
            The run's id, its state's id, and its state's name.
        """
        for fresh in (False, True):
            deployment = self._deployment(app, entrypoint, fresh=fresh)
            try:
                with self._calling() as client:
                    run: FlowRun = client.create_flow_run_from_deployment(
                        deployment,
                        state=_state(face, face.type or "PENDING"),
                        name=name,
                        tags=tags,
                        idempotency_key=key,
                        parameters={"name": name, "app": app},
                        labels=dict(labels),
                    )
                break
            except RunGone:
                # The deployment was deleted since we looked: make it again, once.
                if fresh:
                    raise
        return str(run.id), str(run.state_id) if run.state_id else None, run.state.name if run.state else None

    def set_state(self, run_id: str, face: Face, ours: str | None) -> str | None:
        """Shows a state; a command that a person gave meanwhile is not overwritten.

        Args:
            run_id: the flow run.
            face: the state to be.
            ours: the id of the state that we wrote last.

        Returns:
            The new state's id; ``None`` where a person's command stands there and was left.

        Raises:
            RunGone: the run was deleted.
        """
        from prefect.client.schemas.responses import SetStateStatus

        kind = face.type
        with self._calling() as client:
            if kind is None:
                kind = str(client.read_flow_run(UUID(run_id)).state_type.value)  # type: ignore[union-attr]
            # Prefect pauses only running runs by its rules; jobs are held while they are idle, too.
            force = kind == "PAUSED"
            result = client.set_flow_run_state(UUID(run_id), _state(face, kind), force=force)
            if result.status == SetStateStatus.ACCEPT:
                return str(result.state.id) if result.state else None
            run = client.read_flow_run(UUID(run_id))
            commanded = run.state is not None and run.state.type.value in _COMMANDS and str(run.state_id) != ours
            if commanded and not face.terminal:
                return None
            result = client.set_flow_run_state(UUID(run_id), _state(face, kind), force=True)
            return str(result.state.id) if result.state else None

    def set_labels(self, run_id: str, labels: Mapping[str, str | int]) -> None:
        """Sets labels; those not named stay."""
        with self._calling() as client:
            client.update_flow_run_labels(UUID(run_id), dict(labels))

    def adopt_run(self, run_id: str, name: str, tags: list[str]) -> None:
        """Gives a flow run that an engine has made the name and the tags of its job."""
        with self._calling() as client:
            run = client.read_flow_run(UUID(run_id))
            client.update_flow_run(UUID(run_id), name=name, tags=sorted({*run.tags, *tags}))

    def rename(self, run_id: str, name: str) -> None:
        """Gives the flow run another name."""
        with self._calling() as client:
            client.set_flow_run_name(UUID(run_id), name)

    def delete_run(self, run_id: str) -> None:
        """Deletes the flow run; one that is gone is deleted already."""
        try:
            with self._calling() as client:
                client.delete_flow_run(UUID(run_id))
        except RunGone:
            return

    def create_logs(self, lines: list[dict[str, Any]]) -> None:
        """Adds lines to the Logs tabs of their runs."""
        with self._calling() as client:
            client.create_logs(lines)

    # -- deployments --------------------------------------------------------------------------------------

    def deploy(self, app: str, entrypoint: str) -> str:
        """Creates the deployment of an app and job type, or brings it up to date.

        Returns:
            Its name, ``flow/app``.
        """
        flow = _load_flow(entrypoint)
        self._deployments[app, entrypoint] = self._make_deployment(app, entrypoint, flow)
        return f"{flow.name}/{app}"

    def _deployment(self, app: str, entrypoint: str, *, fresh: bool) -> UUID:
        known = self._deployments.get((app, entrypoint))
        if known is not None and not fresh:
            return known
        from prefect.exceptions import ObjectNotFound

        flow = _load_flow(entrypoint)
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
                    pass  # another process was faster
            return client.create_deployment(
                flow_id=client.create_flow_from_name(flow.name),
                name=name or app,
                entrypoint=entrypoint,
                schedules=schedules,
                work_pool_name=WORK_POOL,
                parameters=parameters or {"app": app},
                parameter_openapi_schema=flow.parameters.model_dump_for_openapi(),
                description=flow.description,
                tags=["prefect-jobs", f"app:{app}"],
                # Runs of the facade carry their job in SQL, not in their parameters.
                enforce_parameter_schema=False,
            )

    def create_scheduled(
        self, app: str, name: str, entrypoint: str, parameters: dict[str, Any], schedule: Any
    ) -> tuple[str, UUID]:
        """A deployment with a schedule.

        Returns:
            Its name, ``flow/name``, and its id.
        """
        from prefect.client.schemas.actions import DeploymentScheduleCreate

        flow = _load_flow(entrypoint)
        deployment = self._make_deployment(
            app,
            entrypoint,
            flow,
            name=f"{app} {name}".replace("/", "-").replace("%", "-")[:200],
            parameters=parameters,
            schedules=[DeploymentScheduleCreate(schedule=schedule, active=True)],
        )
        return f"{flow.name}/{app} {name}", deployment

    def pause_deployment(self, deployment: UUID, *, paused: bool) -> None:
        """Pauses a deployment's schedules, or lets them go on."""
        with self._calling() as client:
            if paused:
                client.pause_deployment(deployment)
            else:
                client.resume_deployment(deployment)

    def delete_deployment(self, deployment: UUID) -> None:
        """Deletes a deployment; its runs stay."""
        try:
            with self._calling() as client:
                client.delete_deployment(deployment)
        except RunGone:
            return

    # -- variables (what every machine of the same server shares) ---------------------------------------

    def read_variable(self, name: str) -> str | None:
        """A variable's text."""
        with self._calling() as client:
            found = client.read_variable_by_name(name)
        return None if found is None else str(found.value)

    def write_variable(self, name: str, value: str) -> None:
        """Sets a variable."""
        from prefect.client.schemas.actions import VariableCreate, VariableUpdate

        with self._calling() as client:
            if client.read_variable_by_name(name) is None:
                client.create_variable(VariableCreate(name=name, value=value, tags=["prefect-jobs"]))
            else:
                client.update_variable(VariableUpdate(name=name, value=value))

    # -- inside -------------------------------------------------------------------------------------------

    @contextmanager
    def _calling(self) -> Iterator["SyncPrefectClient"]:
        from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
        from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

        # Its own retries sleep for minutes; ours know that the picture can wait.
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            try:
                yield self._opened()
            except ObjectNotFound as error:
                raise RunGone(f"Prefect does not know this any more: {_reason(error)}") from error
            except (PrefectHTTPStatusError, httpx.HTTPStatusError) as error:
                code = error.response.status_code
                if code in (408, 425, 429) or code >= 500:
                    raise PrefectAway(f"Prefect's API answers with {code}.") from error
                raise PrefectJobsError(f"Prefect's API refuses ({code}): {_reason(error)}") from error
            except (httpx.TransportError, OSError, RuntimeError) as error:
                self.close()
                raise PrefectAway(f"Prefect's API cannot be reached: {error or type(error).__name__}") from error

    def _opened(self) -> "SyncPrefectClient":
        if self._client is None:
            from prefect.client.orchestration import get_client

            client = get_client(sync_client=True, httpx_settings={"timeout": REQUEST_TIMEOUT})
            client.__enter__()
            self._client = client
        return self._client


def _state(face: Face, kind: str) -> Any:
    from prefect.client.schemas.objects import State, StateType

    return State(type=StateType(kind), name=face.name, message=face.message or None)


def _load_flow(entrypoint: str) -> Any:
    module, _, function = entrypoint.partition(":")
    return getattr(importlib.import_module(module), function)


def _reason(error: Exception) -> str:
    response = getattr(error, "response", None)
    if response is None:
        return str(error)
    try:
        return json.dumps(response.json().get("detail") or response.json().get("exception_message"))[:300]
    except ValueError:
        return str(response.text)[:300]
