"""Flow runs that wait to be started: offered, claimed, refused; and the deployments that they belong to."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from prefect_jobs.projection.prefect_connection import RunGone
from prefect_jobs.projection.run_states import NO_SUCH_CALL, Claim, RunStates, accepted, plain
from prefect_jobs.projection.states import Face
from prefect_jobs.projection.times import time_of

# Not in the client's list of paths.
_OFFERS: Any = "/deployments/get_scheduled_flow_runs"
_SET_STATE: Any = "/flow_runs/{id}/set_state"
_POOL: Any = "/work_pools/{name}"
_RENEW: Any = "/v2/concurrency_limits/leases/{id}/renew"
#: Number of runs in one answer; the server's limit.
PAGE = 200
#: Number of runs whose states the server sets in one call: while it is busy, half a second for each.
CLAIMED_AT_ONCE = 20
#: Clocks that disagree by less are taken for equal.
_TOLERANCE = 2.0
#: The states of a run that nobody has claimed.
_WAITS = {"type": {"any_": ["SCHEDULED"]}}
_CLAIMED = Face("PENDING", "Pending", "The job is being submitted.")


@dataclass(frozen=True)
class Offer:
    """A flow run of a deployment, as read from Prefect."""

    run_id: str
    deployment_id: str
    parameters: Mapping[str, Any]
    tags: tuple[str, ...]
    #: The id, type and name of its state.
    state_id: str
    state_type: str
    state_name: str
    #: When it is to start; ``None``: not in this state.
    due: datetime | None
    #: Whether a schedule has made it.
    scheduled: bool
    #: Key of the object that it was made for; empty where there is none.
    key: str
    #: What executes it.
    pid: str
    job_variables: Mapping[str, Any]
    #: The id of the claim, if the state is one.
    claim: str | None
    #: The lease on a place in the concurrency limit of its deployment.
    lease: str | None = None
    #: How often it is run again after a failure, and seconds until then.
    retries: int | None = None
    retry_delay: float | None = None

    @classmethod
    def of(cls, run: Mapping[str, Any]) -> "Offer":
        """From the API's answer."""
        due, state = run.get("next_scheduled_start_time"), run.get("state") or {}
        by, policy = run.get("created_by") or {}, run.get("empirical_policy") or {}
        return cls(
            run_id=str(run["id"]),
            deployment_id=str(run["deployment_id"] or ""),
            parameters=run["parameters"] or {},
            tags=tuple(run["tags"]),
            state_id=str(run["state_id"] or ""),
            state_type=str(run["state_type"] or ""),
            state_name=str(run["state_name"] or ""),
            due=None if due is None else datetime.fromisoformat(due).astimezone(UTC),
            scheduled=bool(run.get("auto_scheduled")) or by.get("type") == "SCHEDULE",
            key=str(run.get("idempotency_key") or ""),
            pid=str(run.get("infrastructure_pid") or ""),
            job_variables=run.get("job_variables") or {},
            claim=(state.get("state_details") or {}).get("transition_id"),
            lease=(state.get("state_details") or {}).get("deployment_concurrency_lease_id"),
            retries=policy.get("retries") or None,
            retry_delay=policy.get("retry_delay") or None,
        )


@dataclass(frozen=True)
class DeploymentSeen:
    """A deployment as read from Prefect."""

    id: str
    #: The flow, ``module:function``.
    entrypoint: str
    #: Its work pool, whose workers get its runs.
    pool: str | None
    job_variables: Mapping[str, Any]
    #: Whether it has a concurrency limit.
    limited: bool


class OfferedRuns(RunStates):
    """Runs that wait to be started."""

    def __init__(self) -> None:
        super().__init__()
        #: Seconds by which the server's clock is ahead of ours.
        self._ahead = 0.0

    def deployments(self, ids: Sequence[str]) -> list[DeploymentSeen]:
        """Reads deployments; those that do not exist are left out."""
        found: list[DeploymentSeen] = []
        for start in range(0, len(ids), PAGE):
            body = {"deployments": {"id": {"any_": list(ids[start : start + PAGE])}}, "limit": PAGE}
            with self._calling() as client:
                answer = client.request("POST", "/deployments/filter", json=body).json()
            found += [
                DeploymentSeen(
                    str(one["id"]),
                    str(one["entrypoint"] or ""),
                    one["work_pool_name"],
                    one["job_variables"] or {},
                    bool(one.get("global_concurrency_limit") or one.get("concurrency_limit")),
                )
                for one in answer
            ]
        return found

    def pool_variables(self, pool: str) -> dict[str, Any]:
        """The job variables that the template of a work pool sets.

        Raises:
            RunGone: there is no such pool.
        """
        with self._calling() as client:
            answer = client.request("GET", _POOL, path_params={"name": pool}).json()
        fields = ((answer["base_job_template"] or {}).get("variables") or {}).get("properties") or {}
        return {name: each["default"] for name, each in fields.items() if each.get("default") is not None}

    def offers(self, deployment_ids: Sequence[str]) -> list[Offer]:
        """The runs of deployments that are due, the oldest first; at most :data:`PAGE`."""
        now = datetime.fromtimestamp(time.time() + self._ahead, UTC)
        body = {"deployment_ids": list(deployment_ids), "scheduled_before": now.isoformat(), "limit": PAGE}
        with self._calling() as client:
            answer = client.request("POST", _OFFERS, json=body)
        there = time_of(answer)
        if there is not None:
            ahead = there.timestamp() - time.time()
            self._ahead = ahead if abs(ahead) > _TOLERANCE else 0.0
        return [Offer.of(run) for run in answer.json()]

    def now(self) -> datetime:
        """The time by the server's clock, as far as known."""
        return datetime.fromtimestamp(time.time() + self._ahead, UTC)

    def read_offers(self, run_ids: Sequence[str]) -> list[Offer]:
        """Runs in any state, with those parts of the state that tell who has claimed them."""
        found: list[Offer] = []
        for start in range(0, len(run_ids), PAGE):
            body = {"flow_runs": {"id": {"any_": list(run_ids[start : start + PAGE])}}, "limit": PAGE}
            with self._calling() as client:
                found += [Offer.of(run) for run in client.request("POST", "/flow_runs/filter", json=body).json()]
        return found

    def claim(self, run_ids: Sequence[str], transition_id: str) -> dict[str, Claim]:
        """Claims runs that wait, as workers do: of several claims on a run only one succeeds.

        Args:
            run_ids: the flow runs, at most :data:`CLAIMED_AT_ONCE`.
            transition_id: a UUID of this claim, see :attr:`Offer.claim`.

        Returns:
            Those that were claimed. The others were claimed by another process, or are no longer to be started, or
            Prefect lets them wait for a place in a concurrency limit.
        """
        results = self.set_waiting(run_ids, _CLAIMED, transition_id)
        return {run_id: Claim.of(state) for run_id, state in results.items()}

    def set_waiting(
        self, run_ids: Sequence[str], face: Face, transition_id: str | None = None
    ) -> dict[str, dict[str, Any]]:
        """Sets the state of runs that wait to be started, by Prefect's rules; others are left unchanged.

        Returns:
            The new states of those that were set.
        """
        state: dict[str, Any] = dict(plain(face))
        details = face.details if transition_id is None else {**face.details, "transition_id": transition_id}
        if details:
            state["state_details"] = details
        if self.sets_conditionally:
            wanted = {"id": {"any_": list(run_ids)}, "state": _WAITS}
            body = {"flow_runs": wanted, "state": state, "force": False}
            answer = self._bulk_set_state(body)
            if answer is not None:
                return {str(one["flow_run_id"]): one["state"] for one in answer if accepted(one, face)}
        found: dict[str, dict[str, Any]] = {}
        for run_id in run_ids:  # an older server
            try:
                (now,) = self.read_offers([run_id]) or (None,)
                if now is None or now.state_type != "SCHEDULED":
                    continue
                with self._calling() as client:
                    body = {"state": state, "force": False}
                    one = client.request("POST", _SET_STATE, path_params={"id": run_id}, json=body).json()
            except RunGone:
                continue
            if accepted(one, face):
                found[run_id] = one["state"]
        return found

    def renew_lease(self, lease: str, seconds: float) -> bool:
        """Keeps a place in a concurrency limit; returns whether the lease still exists."""
        from httpx import HTTPStatusError

        with self._calling() as client:
            body = {"lease_duration": seconds}
            try:
                client.request("POST", _RENEW, path_params={"id": lease}, json=body)
            except HTTPStatusError as error:
                if error.response.status_code not in (*NO_SUCH_CALL, HTTPStatus.GONE):
                    raise
                return False
        return True
