"""The states of flow runs in Prefect: set without overwriting commands, claimed, read."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import UUID, uuid4

from prefect_jobs.projection.prefect_connection import PrefectConnection
from prefect_jobs.projection.states import AWAITS_RETRY, Face

# Not in the client's list of paths.
_BULK_SET_STATE: Any = "/flow_runs/bulk_set_state"
_COMMANDS = ("CANCELLING", "CANCELLED")
#: The name of a run that waits for a place in a concurrency limit.
WAITING = "AwaitingConcurrencySlot"
#: The names of a run that is to be run again.
RETRIES = (AWAITS_RETRY, WAITING)
#: A filter of states that are not commands, for any state to be shown but a pause.
_NO_COMMAND = {"type": {"not_any_": [*_COMMANDS, "PAUSED"]}, "name": {"not_any_": [*RETRIES]}}
#: Names of states that are commands, whatever state is to be shown.
COMMANDED = ("Cancelling", "Cancelled", *RETRIES)
#: Seconds until a call that a server did not have is tried again: a proxy may have answered.
_OLDER = 600.0
#: Number of tries for a run that changes between our read and our write.
_LOOKS = 3
#: The state of a run whose retry the monitor has claimed; workers use the same name.
_CLAIMED = Face("PENDING", "Pending", "Retry: the job is being submitted again.")
#: Codes of an older server for a call that it does not have.
NO_SUCH_CALL = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)


def plain(face: Face) -> dict[str, str | None]:
    """A state in the form of the API."""
    return {"type": face.type or "PENDING", "name": face.name, "message": face.message or None}


@dataclass(frozen=True)
class Claim:
    """A flow run that was claimed."""

    state_id: str
    #: The lease on a place in the deployment's concurrency limit.
    lease: str | None

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "Claim":
        """From the claim's state, in the form of the API."""
        lease = (state.get("state_details") or {}).get("deployment_concurrency_lease_id")
        return cls(str(state["id"]), None if lease is None else str(lease))


def accepted(answer: Mapping[str, Any], face: Face) -> bool:
    """Whether Prefect has set a state, and not another one in its place."""
    state = answer["state"]
    return answer["status"] == "ACCEPT" and state is not None and state["type"] == face.type


class RunStates(PrefectConnection):
    """The states of flow runs."""

    def __init__(self) -> None:
        super().__init__()
        #: Until when the server is taken for one that cannot set a state on a condition (monotonic).
        self._unconditional_until = 0.0

    def set_state(self, run_id: str, face: Face, ours: str | None) -> str | None:
        """Shows a state without overwriting a command that was given meanwhile. Only a command between the server's own
        check and its write is lost (on servers without that call: between our read and our write).

        Args:
            run_id: the flow run.
            face: the state to be shown.
            ours: the id of the state that we wrote last.

        Returns:
            The new state's id; ``None`` if a command was found and left unchanged.

        Raises:
            RunGone: the run was deleted.
        """
        if ours is not None and not face.terminal:
            done, settled = self._set_guarded(run_id, face, ours)
            if settled:
                return done
        return self._set_anyway(run_id, face, ours)

    def _set_guarded(self, run_id: str, face: Face, ours: str) -> tuple[str | None, bool]:
        """Shows a state unless the present one is a command.

        Returns:
            The new state's id, ``None``: it was not set; and whether nothing more is to be done.
        """
        if face.type not in (None, "PAUSED"):
            done, _ = self._set_where(run_id, _NO_COMMAND, face, str(face.type))
            if done is not None:
                return done, True
        for _ in range(_LOOKS):
            now = self._state_of(run_id)
            if now is None:
                return None, False
            # Prefect would accept most states after a command, and the command would be lost.
            if str(now.id) != ours and _is_command(now.type.value, now.name, face):
                return None, True
            unchanged = {"type": {"any_": [now.type.value]}, "name": {"any_": [now.name]}}
            kind = face.type or now.type.value
            # By its rules, Prefect pauses only running runs; jobs are held while they are idle, too.
            for force in (True,) if kind == "PAUSED" else (False, True):
                done, matched = self._set_where(run_id, unchanged, face, kind, force=force)
                if done is not None:
                    return done, True
                if not matched:
                    break  # changed since: read it again
            else:
                return None, False
        return None, True  # it changes all the time: the monitor reads it later

    def force_state(self, run_id: str, face: Face) -> str | None:
        """Shows a state past all rules of Prefect; returns the new state's id."""
        with self._calling() as client:
            result = client.set_flow_run_state(UUID(run_id), _state(face, face.type or "PENDING"), force=True)
        return str(result.state.id) if result.state else None

    def _set_anyway(self, run_id: str, face: Face, ours: str | None) -> str | None:
        """Shows a state by Prefect's rules, or else by force; never over a Cancel, unless the new state is an end."""
        from prefect.client.schemas.responses import SetStateStatus

        kind = face.type
        if kind is None:
            now = self._state_of(run_id)
            kind = now.type.value if now is not None else "PENDING"
        with self._calling() as client:
            result = client.set_flow_run_state(UUID(run_id), _state(face, kind), force=kind == "PAUSED")
            if result.status == SetStateStatus.ACCEPT:
                return str(result.state.id) if result.state else None
            run = client.read_flow_run(UUID(run_id))
            commanded = run.state is not None and run.state.type.value in _COMMANDS and str(run.state_id) != ours
            if commanded and not face.terminal:
                return None
            result = client.set_flow_run_state(UUID(run_id), _state(face, kind), force=True)
            return str(result.state.id) if result.state else None

    def _state_of(self, run_id: str) -> Any:
        with self._calling() as client:
            return client.read_flow_run(UUID(run_id)).state

    def claim_retry(self, run_id: str, transition_id: str) -> Claim | None:
        """Claims a run that awaits a retry, as workers do: only one of several claims succeeds.

        Args:
            run_id: the flow run.
            transition_id: a UUID of this claim, which :meth:`claimed` recognizes.

        Returns:
            The claim; ``None``: the run no longer awaits a retry, or Prefect lets it wait for a place in a limit.
        """
        from prefect.client.schemas.responses import SetStateStatus

        awaits = {"type": {"any_": ["SCHEDULED"]}, "name": {"any_": [*RETRIES]}}
        # Prefect's rules do not allow this state after PENDING or RUNNING, the states of a run that a worker has.
        wanted = {"flow_runs": {"id": {"any_": [run_id]}, "state": awaits}, "force": False}
        details = {"flow_run_id": run_id, "transition_id": transition_id}
        if self.sets_conditionally:
            results = self._bulk_set_state({**wanted, "state": {**plain(_CLAIMED), "state_details": details}})
            if results is not None:
                return next((Claim.of(one["state"]) for one in results if accepted(one, _CLAIMED)), None)
        state = _state(_CLAIMED, "PENDING")  # an older server
        state.state_details.transition_id = UUID(transition_id)
        with self._calling() as client:
            result = client.set_flow_run_state(UUID(run_id), state)
        if result.status != SetStateStatus.ACCEPT or result.state is None:
            return None
        return Claim.of(result.state.model_dump(mode="json"))

    def claimed(self, run_id: str, transition_id: str) -> Claim | None:
        """The run's state, if that is the claim of :meth:`claim_retry` with this id.

        Raises:
            RunGone: the run was deleted.
        """
        now = self._state_of(run_id)
        if now is None or now.type.value != "PENDING" or now.state_details.transition_id != UUID(transition_id):
            return None
        return Claim.of(now.model_dump(mode="json"))

    def state_types(self, run_id: str) -> list[str]:
        """The types of the states that a run has had, oldest first."""
        with self._calling() as client:
            found = client.request("GET", "/flow_run_states/", params={"flow_run_id": run_id}).json()
        return [str(state["type"]) for state in sorted(found, key=lambda state: str(state["timestamp"]))]

    def _set_where(
        self,
        run_id: str,
        stands: Mapping[str, Any],
        face: Face,
        kind: str,
        force: bool = False,
        transition_id: str | None = None,
    ) -> tuple[str | None, bool]:
        """Shows a state in one call, if the present one matches a filter of states.

        Returns:
            The new state's id, ``None``: it was not set; and whether the filter matched, or is not available.
        """
        if not self.sets_conditionally:
            return None, True
        wanted = {"id": {"any_": [run_id]}, "state": dict(stands)}
        state = {"type": kind, "name": face.name, "message": face.message or None}
        details = {"flow_run_id": run_id, "transition_id": transition_id or str(uuid4()), **face.details}
        body = {"flow_runs": wanted, "state": {**state, "state_details": details}, "force": force}
        results = self._bulk_set_state(body)
        if results is None:
            return None, True
        found = next((one for one in results if one["status"] == "ACCEPT" and one["state"]), None)
        return str(found["state"]["id"]) if found is not None else None, bool(results)

    @property
    def sets_conditionally(self) -> bool:
        """Whether the server can set a state on a condition, as far as known."""
        return time.monotonic() >= self._unconditional_until

    def _bulk_set_state(self, body: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        """Sets the states of the runs that match a filter; ``None``: the server is an older one without this call."""
        from httpx import HTTPStatusError

        with self._calling() as client:
            try:
                found: list[dict[str, Any]] = client.request("POST", _BULK_SET_STATE, json=body).json()["results"]
            except HTTPStatusError as error:
                if error.response.status_code not in NO_SUCH_CALL:
                    raise
                self._unconditional_until = time.monotonic() + _OLDER
                return None
        return found

    def keep_run_count(self, run_id: str, *, engine: bool) -> None:
        """Keeps the next state of the type RUNNING from counting as another run: it belongs to the same one.

        Args:
            run_id: the flow run.
            engine: whether the flow engine executes it, and keeps a policy there.

        Raises:
            RunGone: the run was deleted.
        """
        with self._calling() as client:
            # As Prefect itself marks a run that continues after a pause; the rest of its policy stays.
            policy: dict[str, Any] = {}
            if engine:
                policy = client.read_flow_run(UUID(run_id)).empirical_policy.model_dump(mode="json", exclude_unset=True)
            body = {"empirical_policy": {**policy, "resuming": True}}
            client.request("PATCH", "/flow_runs/{id}", path_params={"id": run_id}, json=body)


def _is_command(kind: str, name: str | None, face: Face) -> bool:
    """Whether a state that is not ours is a command, and not just the state that we are about to show."""
    if kind in _COMMANDS or name in RETRIES:
        return True
    if face.type == "PAUSED":
        return kind in ("RUNNING", "SCHEDULED")
    return kind == "PAUSED"


def _state(face: Face, kind: str) -> Any:
    from prefect.client.schemas.objects import State, StateType

    found = State(type=StateType(kind), name=face.name, message=face.message or None)
    if face.lease is not None:
        found.state_details.deployment_concurrency_lease_id = UUID(face.lease)
    return found
