"""The engines of the built-in job types, with the scheduler's answers set by the test."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

from prefect_jobs import statuses
from prefect_jobs.errors import ResultUnavailable
from prefect_jobs.jobs.condor import logs as condor_logs
from prefect_jobs.jobs.condor import poll as condor_poll
from prefect_jobs.jobs.condor.access_point import AccessPointEngine
from prefect_jobs.jobs.condor.engine import CondorEngine
from prefect_jobs.jobs.condor.state import encode
from prefect_jobs.jobs.dask.engine import DaskEngine
from prefect_jobs.jobs.dask.state import encode as encode_dask
from prefect_jobs.jobs.engine import Engine
from prefect_jobs.jobs.handle import Handle
from prefect_jobs.jobs.observation import NOTHING_NEW, Fetched, Observation, Submitted, Todo
from prefect_jobs.jobs.workflow import logs as workflow_logs
from prefect_jobs.jobs.workflow import node_ends, node_states
from prefect_jobs.jobs.workflow import poll as workflow_poll
from prefect_jobs.jobs.workflow.engine import WorkflowEngine
from prefect_jobs.schedulers.condor import observation
from prefect_jobs.schedulers.condor.access import Access, Cluster, CondorRefusal
from prefect_jobs.schedulers.condor.client import CondorClient, Dagman
from prefect_jobs.schedulers.dask import work
from prefect_jobs.schedulers.dask.connection import DaskError
from prefect_jobs.testing.schedulers import FakeSchedulers
from prefect_jobs.testing.work import COMPLETED, Work

#: The identity of the fake Dask scheduler.
_DASK = "fake"


def _schedulers(handle: Handle) -> FakeSchedulers:
    """The fake schedulers; the fake runtime has them."""
    return cast("FakeSchedulers", cast(Any, handle.backend).schedulers)


class FakeAccess:
    """Replaces the :class:`CondorClient` to which a job submits."""

    access = Access()

    def __init__(self, engine: AccessPointEngine) -> None:
        self._engine = engine

    @property
    def _stage(self) -> FakeSchedulers:
        return _schedulers(self._engine.handle)

    def submit(self, text: str, count: int, *, spool: bool, items: Sequence[Mapping[str, str]] = ()) -> Cluster:
        """Accepts a submission."""
        self._stage.reach()
        if self._stage.refusal():
            raise CondorRefusal(self._stage.refusal())
        workflow = isinstance(self._engine, WorkflowEngine)
        taken = self._stage.take(self._engine, processes=0 if workflow else count, dagman=workflow)
        return Cluster(taken.cluster, count, "fake")

    def query(self, constraint: str, projection: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Always empty: no submission is ever interrupted."""
        self._stage.reach()
        return []

    def history(
        self, constraint: str, projection: Sequence[str] = (), match: int = -1, since: str | None = None
    ) -> list[dict[str, Any]]:
        """Always empty: no submission is ever interrupted."""
        return self.query(constraint, projection)

    def why_idle(self, constraints: Sequence[str]) -> list[str | None]:
        """Nothing: there are no slots that could be compared."""
        self._stage.reach()
        return ["" for _ in constraints]

    def dagman(self) -> Dagman:
        """DAGMan, which is never started."""
        return Dagman("/usr/bin", "$CondorVersion: 25.0.0 fake $")

    def retrieve(self, constraint: str) -> None:
        """Does nothing: outputs are in their place already."""


class _AtFakeAccess(AccessPointEngine):
    """The common part of engines at a fake access point."""

    together: ClassVar[bool] = False
    asks_freely: ClassVar[bool] = True

    @property
    def stage(self) -> FakeSchedulers:
        """The fake schedulers."""
        return _schedulers(self.handle)

    def client(self) -> CondorClient:
        """A fake client."""
        return cast("CondorClient", FakeAccess(self))

    def found(self, client: CondorClient) -> Submitted | None:
        """Always none: no submission is ever interrupted."""
        return None

    def reach(self) -> None:
        """As the test has set."""
        self.stage.reach()

    def clean_up(self) -> None:
        """Forgets the work."""
        self.stage.forget(self)

    def look(self) -> Observation:
        """The observation that the test has set."""
        raise NotImplementedError

    def poll(self) -> Observation:
        """The observation that the test has set."""
        return self.look()

    def stop(self) -> Observation:
        """Removes the work."""
        self.stage.stop(self)
        found = self.look()
        return replace(found, message="Stopped.") if found.status == statuses.ABORTED else found

    def pause(self) -> Observation:
        """Holds the work."""
        self.stage.pause(self)
        return self.look()

    def resume(self) -> Observation:
        """Releases the work."""
        self.stage.resume(self)
        return self.look()

    def carry_out(self, found: Observation) -> Observation:
        """Does what an observation requires."""
        if Todo.GIVE_UP in found.todo:
            self.stage.stop(self)
        return found

    def put_outputs(self, told: Work) -> Path:
        """Writes the outputs that the test has set into the job directory."""
        directory = self.make_directory()
        for name, content in told.outputs.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return directory


class FakeCondorEngine(_AtFakeAccess, CondorEngine):
    """A cluster at a fake access point."""

    def look(self) -> Observation:
        """The observation that the test has set."""
        told = self.stage.look(self)
        ads = told.ads if told is not None else {}
        procs = {number: observation.read_ad(ad, queued=True) for (_, number), ad in ads.items()}
        return self.carry_out(condor_poll.conclude(self.handle.record, procs, self.site.held_timeout))

    def fetch(self) -> Fetched:
        """The outputs that the test has set."""
        told = self.stage.look(self)
        if told is None:
            return Fetched()
        record, directory = self.handle.record, self.put_outputs(told)
        for (_, number, name), text in told.streams.items():
            path = condor_logs.paths(record, directory, number)[name]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Fetched(native=encode(in_queue=None), messages=tuple(condor_logs.tails(record, directory)))


class FakeWorkflowEngine(_AtFakeAccess, WorkflowEngine):
    """A workflow at a fake access point. Scripts of nodes are not run, and failed nodes not tried again."""

    def look(self) -> Observation:
        """The observation that the test has set."""
        self.handle.refresh()
        told, record = self.stage.look(self), self.handle.record
        if told is None or told.dagman is None or record.final or record.state.status == statuses.RESULTS_READY:
            return NOTHING_NEW
        before = self.handle.backend.nodes.nodes(record.id)
        plain = [replace(node, spec={**node.spec, "retry": 0, "post_script": None}) for node in before]
        queued = [ad for ad in told.ads.values() if ad["JobStatus"] != COMPLETED]
        gone = [ad for ad in told.ads.values() if ad["JobStatus"] == COMPLETED]
        seen = node_states.apply_ads(plain, queued, gone)
        now = [replace(node, spec=old.spec) for node, old in zip(seen, before, strict=True)]
        return self.carry_out(workflow_poll.conclude(record, before, now, told.dagman, self.site.held_timeout))

    def fetch(self) -> Fetched:
        """The outputs that the test has set."""
        told = self.stage.look(self)
        if told is None or told.dagman is None:
            return Fetched()
        self.put_outputs(told)
        before = self.handle.backend.nodes.nodes(self.handle.record.id)
        nodes = node_ends.finish(before, {}, removed=told.dagman["JobStatus"] != COMPLETED)
        changed = tuple(workflow_poll.marked(old, new) for old, new in zip(before, nodes, strict=True) if old != new)
        return Fetched(native=encode(in_queue=None), nodes=changed)

    def log_files(self) -> dict[str, Any]:
        """The logs that the test has set."""
        told, states, directory = self.stage.look(self), self.graph.states(), self.initial_dir
        for (name, _, kind), text in (told.streams if told is not None else {}).items():
            for path in workflow_logs.last(states[name], directory)[kind]:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        return workflow_logs.files(states.values(), directory)


class FakeDaskEngine(DaskEngine):
    """Work on a fake cluster."""

    together: ClassVar[bool] = False
    fetches_together: ClassVar[bool] = False
    asks_freely: ClassVar[bool] = True

    @property
    def stage(self) -> FakeSchedulers:
        """The fake schedulers."""
        return _schedulers(self.handle)

    def client(self) -> Any:
        """
        Raises:
            ResultUnavailable: there is no client, and there are no futures.
        """
        raise ResultUnavailable(
            "Fake schedulers have no Dask client and no futures; call finish(), then read the result."
        )

    def send(self, taken: work.Work) -> Submitted:
        """Accepts a submission."""
        self.stage.reach()
        if self.stage.refusal():
            raise DaskError(self.stage.refusal())
        told = self.stage.take(self, graph=taken.leaves)
        keys = [f"fake-{told.cluster}-{number}" for number in range(len(taken.leaves))]
        native = encode_dask(
            keys=keys, shape=taken.shape, scheduler_id=_DASK, in_queue=True, futures=work.has_futures(taken)
        )
        return Submitted(keys[0], native, "Submitted to a fake Dask cluster")

    def ask(self) -> dict[str, Any]:
        """The answer that the test has set."""
        told = self.stage.look(self)
        leaves: list[Mapping[str, Any] | None] = [leaf.seen() for leaf in told.leaves] if told is not None else []
        return {"id": _DASK, "workers": 1, "leaves": leaves or [None] * self.state.count}

    def fetch(self) -> Fetched:
        """The result that the test has set."""
        told = self.stage.look(self)
        if told is None or not told.leaves:
            raise DaskError("It was removed from the cluster before its result was fetched.")
        missing = ResultUnavailable("This part of the work failed.")
        leaves = told.leaves
        result = work.put_together(
            self.state.shape, lambda number: missing if leaves[number].exception else leaves[number].result
        )
        if not self.forget:
            self.keep(result)
        return Fetched(result)

    def find(self) -> Submitted | None:
        """Always none: no submission is ever interrupted."""
        return None

    def reach(self) -> None:
        """As the test has set."""
        self.stage.reach()

    def release(self) -> None:
        """Forgets the result."""
        self.drop_replaced()
        self.handle.apply(None, native=encode_dask(released=True))

    def stop(self) -> Observation:
        """Cancels the work."""
        self.stage.stop(self)
        return Observation(statuses.ABORTED, "Stopped.", encode_dask(released=True))

    def logs(self) -> dict[str, Any]:
        """Always empty."""
        return {}

    def end(self) -> None:
        """Always none: nothing reports an end."""

    def cluster_ended(self) -> bool:
        """Never."""
        return False

    def clean_up(self) -> None:
        """Forgets the work."""
        self.stage.forget(self)
        self.drop_replaced()
        if self.state.result:
            self.handle.backend.results.drop(self.handle.record.id, self.state.result)


#: The engine of a built-in type → its double.
FAKES: dict[type[Engine], type[Engine]] = {
    CondorEngine: FakeCondorEngine,
    WorkflowEngine: FakeWorkflowEngine,
    DaskEngine: FakeDaskEngine,
}
