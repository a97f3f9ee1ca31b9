"""What the tests of nodes in Prefect share: a client that counts, what Prefect shows, a workflow that changes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx

from prefect_jobs import statuses
from prefect_jobs.projection.prefect_api import PrefectApi
from prefect_jobs.projection.projector import Projector
from prefect_jobs.records import Change, JobRecord, NodeRecord
from prefect_jobs.store import Store
from tests.support import draft, eventually, prefect_http

FLOW = "prefect_jobs.flows.basic_job:basic_job"


class Wire:
    """Every request of a projector that is answered, by method and path; it can be cut."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        #: Those that have no answer; the server of a busy machine may take longer than is waited for.
        self.unanswered: list[httpx.Request] = []
        self.cut = False
        #: Parts of paths for which it is cut alone.
        self.cut_at: tuple[str, ...] = ()
        #: After so many answers to requests whose path contains this, it is cut; 0: it is not.
        self.cut_after = ("", 0)
        #: How many answers will be lost.
        self.lose = 0
        #: Of the requests whose path contains this, the answer of which one will be lost; 0: of none.
        self.lose_at = ("", 0)
        self.lost = False

    def count(self, part: str) -> int:
        """The answered requests whose path contains ``part``."""
        return sum(part in path for _, path in self.requests)

    def clear(self) -> None:
        """Forgets all requests."""
        self.requests.clear()

    def asked(self, request: httpx.Request) -> None:
        """Called before a request is sent."""
        if self.cut or any(part in request.url.path for part in self.cut_at):
            raise httpx.ConnectError("the wire is cut", request=request)
        self.unanswered.append(request)

    def answered(self, response: httpx.Response) -> None:
        """Called when its answer is there."""
        if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            return  # the server's database was locked just then: nothing was done, and it is asked again
        self.unanswered.remove(response.request)
        self.requests.append((response.request.method, response.request.url.path))
        part, number = self.cut_after
        if number and self.count(part) == number:
            self.cut, self.cut_after = True, ("", 0)
        part, number = self.lose_at
        if number and part in response.request.url.path:
            self.lose_at = (part, number - 1)
            if number == 1:
                self.lost = True
                raise httpx.ReadError("the answer is lost", request=response.request)
        if self.lose and response.request.method == "POST":
            self.lose -= 1
            raise httpx.ReadError("the answer is lost", request=response.request)


class WiredApi(PrefectApi):
    """The real client on a wire."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self._wire = wire

    def _opened(self) -> Any:
        fresh = self._client is None
        client = super()._opened()
        if fresh:
            client._client.event_hooks = {"request": [self._wire.asked], "response": [self._wire.answered]}
        return client


class View:
    """Nodes and artifacts as Prefect's UI reads them."""

    def __init__(self, api_url: str) -> None:
        self._api = prefect_http(api_url)

    def graph(self, run: str) -> dict[str, set[str]]:
        """Names of the nodes with those of their parents."""
        nodes = dict(self._api.get(f"/flow_runs/{run}/graph-v2").raise_for_status().json()["nodes"])
        label = {key: node["label"] for key, node in nodes.items()}
        return {node["label"]: {label[parent["id"]] for parent in node["parents"]} for node in nodes.values()}

    def task_runs(self, run: str) -> list[dict[str, Any]]:
        """Task runs of a flow run, up to 200."""
        wanted = {"flow_runs": {"id": {"any_": [run]}}}
        found: list[dict[str, Any]] = self._api.post("/task_runs/filter", json=wanted).raise_for_status().json()
        return found

    def states(self, run: str) -> dict[str, tuple[str, str, str]]:
        """Type, name and message of each node's state."""
        return {
            one["name"]: (one["state"]["type"], one["state"]["name"], one["state"]["message"] or "")
            for one in self.task_runs(run)
        }

    def run_states(self, run: str) -> list[str]:
        """The states that the flow run itself has had."""
        found = self._api.get("/flow_run_states/", params={"flow_run_id": run}).raise_for_status().json()
        return [state["name"] for state in sorted(found, key=lambda state: state["timestamp"])]

    def artifacts(self, run: str) -> list[tuple[str, Any, str]]:
        """Type, data and description of its artifacts."""
        wanted = {"artifacts": {"flow_run_id": {"any_": [run]}}}
        found = self._api.post("/artifacts/filter", json=wanted).raise_for_status().json()
        return sorted((one["type"], one["data"], one["description"]) for one in found)

    def delete(self, path: str) -> None:
        """Deletes something, as a person does."""
        self._api.delete(path).raise_for_status()

    def close(self) -> None:
        """Closes the connection."""
        self._api.close()


def node(name: str, *parents: str, kind: str = "JOB") -> NodeRecord:
    return NodeRecord(name, spec={"kind": kind, "parents": list(parents)})


DIAMOND = [node("fetch"), node("left", "fetch"), node("right", "fetch"), node("merge", "left", "right")]


class Workflow:
    """A job with nodes, and what a scheduler would say of it."""

    def __init__(self, store: Store, projector: Projector, nodes: list[NodeRecord]) -> None:
        self._store = store
        self.projector = projector
        self.id = store.insert(draft("a workflow")).id
        store.save_nodes(self.id, [replace(one, position=place) for place, one in enumerate(nodes)])
        assert projector.wait([self.id], 30)

    @property
    def record(self) -> JobRecord:
        """The job as it is."""
        found = self._store.get(self.id)
        assert found is not None
        return found

    @property
    def run(self) -> str:
        """Its flow run."""
        found = self.record.flow_run_id
        assert found
        return found

    @property
    def behind(self) -> bool:
        """Whether there is anything that Prefect does not show."""
        return self.record.behind or self._store.count_nodes_behind(self.id) > 0

    def now(self, status: str | None = None, **nodes: str) -> None:
        """Writes what is so now: the job's status, and the nodes' by name."""
        self._write(status, None, nodes)

    def submit(self, attempt: int = 1, *names: str) -> None:
        """Some nodes, by default all, are to be shown as waiting."""
        wanted = names or [one.name for one in self._store.nodes(self.id)]
        self._write("Submitted", attempt, dict.fromkeys(wanted, "Pending"))

    def _write(self, status: str | None, attempt: int | None, nodes: dict[str, str]) -> None:
        known = {one.name: one for one in self._store.nodes(self.id)}

        def change(record: JobRecord) -> Change:
            state = record.state
            if status is not None:
                parsed = statuses.parse(status)
                state = replace(state, status=parsed.text, status_code=parsed.code, status_class=parsed.kind.encode())
            if attempt is not None:
                state = replace(state, attempt=attempt)
            values = {} if state == record.state else {"state": state, "face_seq": record.face_seq + 1}
            changed = [
                replace(known[name], status=now, message=f"{name} is {now}", seq=known[name].seq + 1)
                for name, now in nodes.items()
            ]
            return Change(values=values, nodes=tuple(changed))

        self._store.update(self.id, change)
        self.projector.kick(self.id)

    def shown(self, timeout: float = 60) -> None:
        """Waits until Prefect shows everything."""
        # While Prefect is away, nothing is waited for.
        eventually(
            lambda: not self.behind and self.projector.flush(1) and not self.projector.away,
            "Prefect shows the job and its nodes",
            timeout,
        )


MakeWorkflow = Callable[..., Workflow]
