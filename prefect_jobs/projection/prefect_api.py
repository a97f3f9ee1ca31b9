"""The few calls to Prefect's API that faces need, typed, with "away" told apart from "refused"."""

import importlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx

from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.projection.states import Face

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect.settings import Settings

#: Prefect keeps names that begin with "prefect" for itself.
WORK_POOL = "jobs"
#: Seconds for one request.
REQUEST_TIMEOUT = 10.0
#: Of all task runs that are nodes.
_TASK_KEY = "prefect-jobs-node"
_COMMANDS = ("CANCELLING", "CANCELLED")


class PrefectAway(PrefectJobsError):
    """Prefect's API cannot be reached just now, or is out of order: try again later."""


class RunGone(PrefectJobsError):
    """The flow run, or what else was to be written, was deleted in Prefect."""


class PrefectApi:
    """A client that is opened at the first call. For one thread."""

    def __init__(self) -> None:
        self._client: SyncPrefectClient | None = None
        self._deployments: dict[tuple[str, str], UUID] = {}
        #: The settings that were in force at the last call, and ours made from them.
        self._settings: tuple[Settings, Settings] | None = None

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

    # -- nodes and artifacts ------------------------------------------------------------------------------

    def create_task_run(self, run_id: str, task_run_id: str, name: str, face: Face, parents: Iterable[str]) -> bool:
        """Creates a task run that no engine executes, or finds the one that is there.

        Args:
            run_id: the flow run.
            task_run_id: the task run's id, the same one at each repetition.
            name: unique within the flow run.
            face: its first state.
            parents: ids of the task runs that it comes after.

        Returns:
            Whether it shows ``face``: one that was there already keeps its state.

        Raises:
            RunGone: the flow run was deleted.
        """
        wanted = {
            "id": task_run_id,
            "flow_run_id": run_id,
            "name": name,
            "task_key": _TASK_KEY,
            "dynamic_key": name,
            "state": _plain(face),
            "task_inputs": {"parents": [{"input_type": "task_run", "id": parent} for parent in parents]},
        }
        with self._calling() as client:
            try:
                made = client.request("POST", "/task_runs/", json=wanted).json()
            except httpx.HTTPStatusError as error:
                if error.response.status_code == httpx.codes.CONFLICT:
                    # Nothing else can be in conflict: there is no flow run of that id.
                    raise RunGone(f"The flow run {run_id} was deleted.") from error
                raise
        state = made.get("state") or {}
        return bool(_plain(face) == {key: state.get(key) for key in ("type", "name", "message")})

    def set_task_run_state(self, task_run_id: str, face: Face) -> None:
        """Shows a node's state, whatever the state before.

        Raises:
            RunGone: the task run was deleted.
        """
        body = {"state": _plain(face), "force": True}
        with self._calling() as client:
            client.request("POST", "/task_runs/{id}/set_state", path_params={"id": task_run_id}, json=body)

    def find_artifact(self, run_id: str, kind: str, description: str) -> str | None:
        """The id of a flow run's artifact."""
        wanted = {"artifacts": {"flow_run_id": {"any_": [run_id]}, "type": {"any_": [kind]}}}
        with self._calling() as client:
            found = client.request("POST", "/artifacts/filter", json=wanted).json()
        return next((str(artifact["id"]) for artifact in found if artifact["description"] == description), None)

    def create_artifact(self, run_id: str, kind: str, data: str | float, description: str) -> str:
        """Creates an artifact of a flow run. It has no key, so it is on its run's page alone.

        Returns:
            Its id.
        """
        wanted = {"flow_run_id": run_id, "type": kind, "data": data, "description": description}
        with self._calling() as client:
            return str(client.request("POST", "/artifacts/", json=wanted).json()["id"])

    def update_artifact(self, artifact_id: str, data: str | float, description: str) -> None:
        """Writes an artifact anew.

        Raises:
            RunGone: the artifact was deleted.
        """
        body = {"data": data, "description": description}
        with self._calling() as client:
            client.request("PATCH", "/artifacts/{id}", path_params={"id": artifact_id}, json=body)

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

        with self._without_retries():
            try:
                yield self._opened()
            except ObjectNotFound as error:
                raise RunGone(f"Prefect does not know this any more: {_reason(error)}") from error
            except (PrefectHTTPStatusError, httpx.HTTPStatusError) as error:
                code = error.response.status_code
                if code == httpx.codes.NOT_FOUND:
                    raise RunGone(f"Prefect does not know this any more: {_reason(error)}") from error
                if code in (408, 425, 429) or code >= 500:
                    raise PrefectAway(f"Prefect's API answers with {code}.") from error
                raise PrefectJobsError(f"Prefect's API refuses ({code}): {_reason(error)}") from error
            except (httpx.TransportError, OSError, RuntimeError) as error:
                self.close()
                raise PrefectAway(f"Prefect's API cannot be reached: {error or type(error).__name__}") from error

    @contextmanager
    def _without_retries(self) -> Iterator[None]:
        """Prefect's own retries sleep for minutes; ours know that the picture can wait."""
        from prefect.context import SettingsContext, get_settings_context
        from prefect.settings import PREFECT_CLIENT_MAX_RETRIES

        present = get_settings_context()
        if self._settings is None or self._settings[0] is not present.settings:
            # Making settings takes longer than a call does.
            changed = present.settings.copy_with_update(updates={PREFECT_CLIENT_MAX_RETRIES: 0})
            self._settings = present.settings, changed
        with SettingsContext(profile=present.profile, settings=self._settings[1]):
            yield

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


def _plain(face: Face) -> dict[str, str | None]:
    return {"type": face.type or "PENDING", "name": face.name, "message": face.message or None}


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
