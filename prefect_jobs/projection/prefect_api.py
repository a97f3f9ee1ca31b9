"""The calls to Prefect's API that showing jobs needs, typed."""

import logging
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.projection.flow_runs import DELETED_AT_ONCE, KEY, FlowRuns, NewRun, RunSeen
from prefect_jobs.projection.prefect_connection import PrefectAway, RunGone, retried
from prefect_jobs.projection.run_states import COMMANDED, plain
from prefect_jobs.projection.states import Face

__all__ = [
    "COMMANDED",
    "DELETED_AT_ONCE",
    "KEY",
    "NewRun",
    "PrefectApi",
    "PrefectAway",
    "RunGone",
    "RunSeen",
    "retried",
]

log = logging.getLogger(__name__)

_BLOCK: Any = "/block_types/slug/{slug}/block_documents/name/{block_document_name}"
#: The tag of all task runs that show nodes.
_TASK_KEY = "prefect-jobs-node"


class PrefectApi(FlowRuns):
    """Flow runs, task runs, artifacts, log lines, deployments and variables. For one thread."""

    def check(self) -> None:
        """Checks that Prefect answers.

        Raises:
            PrefectAway: it does not.
        """
        with self._calling() as client:
            client.request("GET", "/health")

    def emit(self, happened: list[dict[str, Any]]) -> None:
        """Sends events, see :mod:`prefect_jobs.projection.events`."""
        with self._calling() as client:
            client.request("POST", "/events", json=happened)

    def create_logs(self, lines: list[dict[str, Any]]) -> None:
        """Adds lines to the Logs tabs of their runs."""
        with self._calling() as client:
            client.create_logs(lines)

    # -- nodes and artifacts ------------------------------------------------------------------------------

    def create_task_run(self, run_id: str, task_run_id: str, name: str, face: Face, parents: Iterable[str]) -> bool:
        """Creates a task run that no flow engine executes, or finds the existing one.

        Args:
            run_id: the flow run.
            task_run_id: the task run's id, the same one in each try.
            name: unique within the flow run.
            face: its first state.
            parents: ids of the task runs of its parents.

        Returns:
            Whether it shows ``face``: an existing one keeps its state.

        Raises:
            RunGone: the flow run was deleted.
        """
        from httpx import HTTPStatusError

        wanted = {
            "id": task_run_id,
            "flow_run_id": run_id,
            "name": name,
            "task_key": _TASK_KEY,
            "dynamic_key": name,
            "state": plain(face),
            "task_inputs": {"parents": [{"input_type": "task_run", "id": parent} for parent in parents]},
        }
        with self._calling() as client:
            try:
                made = client.request("POST", "/task_runs/", json=wanted).json()
            except HTTPStatusError as error:
                if error.response.status_code == HTTPStatus.CONFLICT:
                    # There is no other conflict: no flow run has that id.
                    raise RunGone(f"The flow run {run_id} was deleted.") from error
                raise
        state = made.get("state") or {}
        return bool(plain(face) == {key: state.get(key) for key in ("type", "name", "message")})

    def set_task_run_state(self, task_run_id: str, face: Face) -> None:
        """Shows a node's state, whatever the state before.

        Raises:
            RunGone: the task run was deleted.
        """
        body = {"state": plain(face), "force": True}
        with self._calling() as client:
            client.request("POST", "/task_runs/{id}/set_state", path_params={"id": task_run_id}, json=body)

    def find_artifact(self, run_id: str, kind: str, description: str) -> str | None:
        """The id of a flow run's artifact."""
        wanted = {"artifacts": {"flow_run_id": {"any_": [run_id]}, "type": {"any_": [kind]}}}
        with self._calling() as client:
            found = client.request("POST", "/artifacts/filter", json=wanted).json()
        return next((str(artifact["id"]) for artifact in found if artifact["description"] == description), None)

    def create_artifact(self, run_id: str, kind: str, data: str | float, description: str) -> str:
        """Creates an artifact of a flow run. It has no key, so only its run's page shows it.

        Returns:
            Its id.
        """
        wanted = {"flow_run_id": run_id, "type": kind, "data": data, "description": description}
        with self._calling() as client:
            return str(client.request("POST", "/artifacts/", json=wanted).json()["id"])

    def update_artifact(self, artifact_id: str, data: str | float, description: str) -> None:
        """Writes an artifact again.

        Raises:
            RunGone: the artifact was deleted.
        """
        body = {"data": data, "description": description}
        with self._calling() as client:
            client.request("PATCH", "/artifacts/{id}", path_params={"id": artifact_id}, json=body)

    # -- variables (shared by all machines that use the same server) ------------------------------------

    def default_result_storage(self) -> str | None:
        """The id of the block that the server names as the storage of results; ``None`` if it names none."""
        with self._calling() as client:
            found = client.read_server_default_result_storage().default_result_storage_block_id
        return str(found) if found else None

    def block_name(self, block_id: str) -> str:
        """The name of a block; its secrets are not read.

        Raises:
            RunGone: there is none.
        """
        with self._calling() as client:
            path = {"id": block_id}
            answer = client.request("GET", "/block_documents/{id}", path_params=path, params={"include_secrets": False})
            return str(answer.json()["name"])

    def block_id(self, kind: str, name: str) -> str:
        """The id of a block.

        Args:
            kind: the slug of its type.
            name: its name.

        Raises:
            RunGone: there is none.
        """
        with self._calling() as client:
            path = {"slug": kind, "block_document_name": name}
            return str(client.request("GET", _BLOCK, path_params=path, params={"include_secrets": False}).json()["id"])

    def put_automation(self, wanted: dict[str, Any], *, dry: bool = False) -> tuple[str, str]:
        """Creates an automation, unless there is one of its name, which people may have changed.

        Returns:
            Its name, and ``created`` or ``unchanged``.
        """
        name = str(wanted["name"])
        with self._calling() as client:
            body = {"automations": {"name": {"any_": [name]}}}
            there = client.request("POST", "/automations/filter", json=body).json()
            if there:
                return name, "unchanged"
            if not dry:
                client.request("POST", "/automations/", json=wanted)
        return name, "created"

    def read_variable(self, name: str) -> str | None:
        """A variable's text."""
        with self._calling() as client:
            found = client.read_variable_by_name(name)
        return None if found is None else str(found.value)

    def variables(self, tag: str) -> list[str]:
        """The values of our variables with a tag."""
        with self._calling() as client:
            body = {"variables": {"tags": {"all_": ["prefect-jobs", tag]}}, "limit": 200}
            found = client.request("POST", "/variables/filter", json=body).json()
        return sorted({str(each["value"]) for each in found if each["value"]})

    def write_variable(self, name: str, value: str, tags: Iterable[str] = ()) -> None:
        """Sets a variable, with these tags besides ours."""
        from prefect.client.schemas.actions import VariableCreate, VariableUpdate

        with self._calling() as client:
            if client.read_variable_by_name(name) is None:
                client.create_variable(VariableCreate(name=name, value=value, tags=["prefect-jobs", *tags]))
            else:
                client.update_variable(VariableUpdate(name=name, value=value, tags=["prefect-jobs", *tags]))


def emit_alone(event: dict[str, Any], patience: float) -> None:
    """Sends an event by a connection of its own; logs if that fails for so many seconds."""
    api = PrefectApi()
    try:
        retried(lambda: api.emit([event]), patience)
    except PrefectJobsError as error:
        log.info("An event could not be sent to Prefect: %s", error)
    finally:
        api.close()
