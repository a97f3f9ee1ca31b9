"""Flow runs in Prefect: created, found, renamed, deleted."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from prefect_jobs.projection.offers import OfferedRuns
from prefect_jobs.projection.prefect_connection import RunGone
from prefect_jobs.projection.run_states import NO_SUCH_CALL, plain
from prefect_jobs.projection.schedules import ScheduledDeployments
from prefect_jobs.projection.states import Face
from prefect_jobs.projection.times import time_of

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

T = TypeVar("T")

#: Number of flow runs in one answer; the server's limit.
_PAGE = 200
#: Number of flow runs that the server creates in one call.
_BULK = 100
#: Seconds until the next try after Prefect reports that its database is locked.
_LOCKED = (0.05, 0.1, 0.2, 0.4)
# Not in the client's list of paths.
_BULK_CREATE: Any = "/deployments/{id}/create_flow_run/bulk"
_BULK_DELETE: Any = "/flow_runs/bulk_delete"
#: Prefix of the keys of runs that were made to show a job.
KEY = "prefect-jobs:"
#: Number of flow runs that the server deletes in one call.
DELETED_AT_ONCE = 50


@dataclass(frozen=True)
class RunSeen:
    """A flow run as read from Prefect."""

    id: str
    state_id: str
    state_type: str
    state_name: str
    #: Whether it was made to show a job; others are made in Prefect, by a schedule or a flow engine.
    made_here: bool
    message: str = ""
    #: When it is to start, if it waits for that.
    due: datetime | None = None

    @classmethod
    def of(cls, run: Mapping[str, Any]) -> "RunSeen":
        """From the API's answer."""
        made_here = str(run["idempotency_key"]).startswith(KEY)
        message = str((run.get("state") or {}).get("message") or "")
        names = str(run["state_id"]), str(run["state_type"]), str(run["state_name"])
        due = run.get("next_scheduled_start_time")
        return cls(str(run["id"]), *names, made_here, message, None if due is None else datetime.fromisoformat(due))


@dataclass(frozen=True)
class NewRun:
    """A flow run to be created."""

    app: str
    #: The flow, ``module:function``.
    entrypoint: str
    name: str
    face: Face
    #: The parameters of the flow, with which a copy of the run makes such a job.
    parameters: Mapping[str, Any]
    #: Creating a run with the same key again returns the same run.
    key: str
    tags: list[str]
    labels: Mapping[str, str | int]

    def plain(self) -> dict[str, Any]:
        """The run in the form of the API."""
        return {
            "name": self.name,
            "state": plain(self.face),
            "parameters": dict(self.parameters),
            "tags": self.tags,
            "labels": dict(self.labels),
            "idempotency_key": self.key,
            # The job is there already, and its arguments were checked then.
            "enforce_parameter_schema": False,
        }


class FlowRuns(ScheduledDeployments, OfferedRuns):
    """Flow runs, their states, and their deployments."""

    def __init__(self) -> None:
        super().__init__()
        #: The server's time at the last request for runs, by its clock; ``None``: not known.
        self.time: datetime | None = None

    def create_run(self, run: NewRun) -> tuple[str, str | None, str | None]:
        """Creates the flow run of a job; a repeat with the same key returns the same run, unchanged.

        Returns:
            The run's id, its state's id, and its state's name.
        """
        body = run.plain()

        # Not with the client's own method, which makes an object of the whole run.
        def create(client: "SyncPrefectClient", deployment: UUID) -> Any:
            path = {"id": str(deployment)}
            return client.request("POST", "/deployments/{id}/create_flow_run", path_params=path, json=body)

        made = self._from_deployment(run, create).json()
        return str(made["id"]), made["state_id"], made["state_name"]

    def create_runs(self, runs: Sequence[NewRun]) -> list[tuple[str, str, str] | None]:
        """As :meth:`create_run`, for many runs of one app and flow: one call for each hundred, and one that reads.

        Returns:
            For each run the same; ``None`` if it was refused.

        Raises:
            RunGone: the server does not have such a call.
        """
        ids: list[str | None] = [None] * len(runs)
        for start in range(0, len(runs), _BULK):
            left = list(range(start, min(start + _BULK, len(runs))))
            for pause in _LOCKED:
                left = self._create_some(runs, left, ids)
                if not left:
                    break
                time.sleep(pause)
        made = [run_id for run_id in ids if run_id is not None]
        there: dict[str, RunSeen] = {}
        for start in range(0, len(made), _PAGE):
            there.update({run.id: run for run in self.runs({"id": {"any_": made[start : start + _PAGE]}})})
        seen = [there.get(run_id or "") for run_id in ids]
        return [None if run is None else (run.id, run.state_id, run.state_name) for run in seen]

    def _create_some(self, runs: Sequence[NewRun], which: list[int], ids: list[str | None]) -> list[int]:
        """Creates some of the runs, and stores their ids at their indexes.

        Returns:
            Those for which the server's database was locked: on SQLite, Prefect does not wait for other writers.
        """
        body = [runs[number].plain() for number in which]

        def create(client: "SyncPrefectClient", deployment: UUID) -> Any:
            return client.request("POST", _BULK_CREATE, path_params={"id": str(deployment)}, json=body)

        answers = self._from_deployment(runs[which[0]], create).json()["results"]
        locked: list[int] = []
        for number, answer in zip(which, answers, strict=True):
            if answer["status"] == "CREATED":
                ids[number] = str(answer["flow_run_id"])
            elif "database is locked" in str(answer["error"]):
                locked.append(number)
        return locked

    def _from_deployment(self, run: NewRun, create: Callable[["SyncPrefectClient", UUID], T]) -> T:
        """Calls ``create`` with the deployment of an app and flow; with a new one, if it was deleted meanwhile."""
        deployment = self._deployment(run.app, run.entrypoint, fresh=False)
        try:
            with self._calling() as client:
                return create(client, deployment)
        except RunGone:
            deployment = self._deployment(run.app, run.entrypoint, fresh=True)
            with self._calling() as client:
                return create(client, deployment)

    def runs(self, wanted: Mapping[str, Any]) -> list[RunSeen]:
        """Reads flow runs.

        Args:
            wanted: a filter of flow runs, in the form of the API.
        """
        found: list[RunSeen] = []
        with self._calling() as client:
            while True:
                body = {"flow_runs": dict(wanted), "limit": _PAGE, "offset": len(found), "sort": "ID_DESC"}
                answer = client.request("POST", "/flow_runs/filter", json=body)
                page = answer.json()
                self.time = time_of(answer) or self.time
                found += [RunSeen.of(run) for run in page]
                if len(page) < _PAGE:
                    return found

    def set_labels(self, run_id: str, labels: Mapping[str, str | int]) -> None:
        """Sets labels; other labels stay."""
        with self._calling() as client:
            client.update_flow_run_labels(UUID(run_id), dict(labels))

    def adopt_run(self, run_id: str, name: str, tags: Sequence[str]) -> None:
        """Sets the name and tags of a flow run that the flow engine has made to those of its job."""
        with self._calling() as client:
            run = client.read_flow_run(UUID(run_id))
            client.update_flow_run(UUID(run_id), name=name, tags=sorted({*run.tags, *tags}))

    def dress_run(self, run_id: str, name: str, tags: Sequence[str], pid: str) -> None:
        """Sets the name and tags of a flow run that was picked up, and what executes it."""
        with self._calling() as client:
            client.update_flow_run(UUID(run_id), name=name, tags=sorted(tags), infrastructure_pid=pid)

    def set_parameters(self, run_id: str, parameters: Mapping[str, Any]) -> None:
        """Sets the parameters of a flow run."""
        with self._calling() as client:
            client.update_flow_run(UUID(run_id), parameters=dict(parameters))

    def rename(self, run_id: str, name: str) -> None:
        """Renames a flow run."""
        with self._calling() as client:
            client.set_flow_run_name(UUID(run_id), name)

    def delete_runs(self, run_ids: Sequence[str]) -> None:
        """Deletes flow runs, at most :data:`DELETED_AT_ONCE`; runs that do not exist count as deleted."""
        from httpx import HTTPStatusError

        body = {"flow_runs": {"id": {"any_": list(run_ids)}}, "limit": DELETED_AT_ONCE}
        with self._calling() as client:
            try:
                client.request("POST", _BULK_DELETE, json=body)
            except HTTPStatusError as error:
                if error.response.status_code not in NO_SUCH_CALL:
                    raise
            else:
                return
        for run_id in run_ids:  # an older server
            with suppress(RunGone), self._calling() as client:
                client.delete_flow_run(UUID(run_id))
