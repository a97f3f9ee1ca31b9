"""The job types as they are with fake schedulers: what they do is theirs, what a scheduler would answer is told.

A class of somebody's own keeps its overrides: the fake comes right before the built-in class in its line of descent, so
that ``super()`` leads to it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, cast

from prefect_jobs import statuses
from prefect_jobs.errors import ResultUnavailable
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.condor import logs as condor_logs
from prefect_jobs.jobs.condor import poll as condor_watch
from prefect_jobs.jobs.condor.access_point import AccessPointJob
from prefect_jobs.jobs.condor.job import CondorJob
from prefect_jobs.jobs.dask.job import DaskJob
from prefect_jobs.jobs.observation import Observation
from prefect_jobs.jobs.workflow import logs as workflow_logs
from prefect_jobs.jobs.workflow import node_states as dag_observation
from prefect_jobs.jobs.workflow import poll as workflow_watch
from prefect_jobs.jobs.workflow.job import CondorWorkflow
from prefect_jobs.records import NodeRecord
from prefect_jobs.schedulers.condor import observation
from prefect_jobs.schedulers.condor.access import Access
from prefect_jobs.schedulers.condor.client import CondorClient, CondorRefusal, Dagman, Submitted
from prefect_jobs.schedulers.dask import values, work
from prefect_jobs.schedulers.dask.connection import DaskError
from prefect_jobs.testing.schedulers import COMPLETED, FakeSchedulers, Work
from prefect_jobs.transition import News, Source

if TYPE_CHECKING:
    from prefect_jobs.testing.runtime import FakeRuntime

_IMMEDIATELY = timedelta(0)
#: The identity of the fake Dask scheduler.
_DASK = "fake"


def fake_of(cls: type[Job]) -> type[Job]:
    """The class of which jobs are made instead of ``cls``; a type without a scheduler of ours is what it is."""
    if cls not in _made:
        _made[cls] = _fake_of(cls)
    return _made[cls]


def _fake_of(cls: type[Job]) -> type[Job]:
    for base, fake in _FAKES.items():
        if cls is base:
            return fake
        if issubclass(cls, base):
            return type(cls.__name__, (cls, fake), {"__module__": cls.__module__, "__qualname__": cls.__qualname__})
    return cls


def _stage(job: Job) -> FakeSchedulers:
    return cast("FakeRuntime", job._backend).schedulers


class FakeAccess:
    """What a job submits to in place of a :class:`CondorClient`."""

    access = Access()

    def __init__(self, job: AccessPointJob) -> None:
        self._job = job

    def submit(self, text: str, count: int, *, spool: bool) -> Submitted:
        """Takes a submission."""
        schedulers = _stage(self._job)
        schedulers.reach()
        if schedulers.refusal():
            raise CondorRefusal(schedulers.refusal())
        workflow = isinstance(self._job, CondorWorkflow)
        taken = schedulers.take(self._job, processes=0 if workflow else count, dagman=workflow)
        return Submitted(taken.cluster, count, "fake")

    def query(self, constraint: str, projection: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Nothing is left of interrupted submissions."""
        _stage(self._job).reach()
        return []

    def history(
        self, constraint: str, projection: Sequence[str] = (), match: int = -1, since: str | None = None
    ) -> list[dict[str, Any]]:
        """Nothing is left of interrupted submissions."""
        return self.query(constraint, projection)

    def dagman(self) -> Dagman:
        """DAGMan, which nobody starts."""
        return Dagman("/usr/bin", "$CondorVersion: 25.0.0 fake $")

    def retrieve(self, constraint: str) -> None:
        """What there is of outputs is in its place already."""


class _AtFakeAccess(AccessPointJob):
    """What jobs at a fake access point have in common."""

    update_status_interval: ClassVar[timedelta] = _IMMEDIATELY

    def _client(self) -> CondorClient:
        return cast("CondorClient", FakeAccess(self))

    def _found(self) -> bool:
        return False

    def _reach(self) -> None:
        _stage(self).reach()

    def _clean_up(self) -> None:
        _stage(self).forget(self)

    def _observation(self) -> Observation:
        raise NotImplementedError

    def _update_status(self) -> Observation:
        return self._observation()

    def _stop(self) -> Observation:
        _stage(self).stop(self)
        found = self._observation()
        return replace(found, message="Stopped.") if found.status == statuses.ABORTED else found

    def _pause(self) -> Observation:
        _stage(self).pause(self)
        return self._observation()

    def _resume(self) -> Observation:
        _stage(self).resume(self)
        return self._observation()

    def _put_outputs(self, told: Work) -> Path:
        directory = self._make_directory()
        for name, content in told.outputs.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return directory


class FakeCondorJob(_AtFakeAccess, CondorJob):
    """A CONDOR job at a fake access point."""

    def _observation(self) -> Observation:
        told = _stage(self).look(self)
        ads = told.ads if told is not None else {}
        procs = {number: observation.read_ad(ad, queued=True) for (_, number), ad in ads.items()}
        found = condor_watch.conclude(self._record, procs, self._backend.held_timeout)
        if found.native.pop("give_up", False):
            _stage(self).stop(self)
        return found

    def _process_results(self) -> None:
        told = _stage(self).look(self)
        if told is None:
            return
        directory = self._put_outputs(told)
        for (_, number, name), text in told.streams.items():
            path = condor_logs.paths(self._record, directory, number)[name]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self._fetched.update({"in_queue": None, "messages": tuple(condor_logs.tails(self._record, directory))})


class FakeWorkflow(_AtFakeAccess, CondorWorkflow):
    """A workflow at a fake access point. Scripts of nodes are not run, and retries not made."""

    def _observation(self) -> Observation:
        return self._observe(self._backend.held_timeout)

    def _observe(self, held_timeout: float | None) -> Observation:
        self._refresh()
        told = _stage(self).look(self)
        status = self._record.state.as_status
        if told is None or told.dagman is None or status.text == statuses.RESULTS_READY or statuses.is_final(status):
            return Observation(None)
        before = self._backend.nodes(self._record.id)
        plain = [replace(node, spec={**node.spec, "retry": 0, "post_script": None}) for node in before]
        queued = [ad for ad in told.ads.values() if ad["JobStatus"] != COMPLETED]
        gone = [ad for ad in told.ads.values() if ad["JobStatus"] == COMPLETED]
        seen = dag_observation.apply_ads(plain, queued, gone)
        now = [replace(node, spec=old.spec) for node, old in zip(seen, before, strict=True)]
        found = workflow_watch.conclude(self._record, before, now, told.dagman, held_timeout)
        if found.native.pop("give_up", False):
            _stage(self).stop(self)
        return found

    def _process_results(self) -> None:
        told = _stage(self).look(self)
        if told is None or told.dagman is None:
            return
        self._put_outputs(told)
        before = self._backend.nodes(self._record.id)
        removed = told.dagman["JobStatus"] != COMPLETED
        nodes = dag_observation.finish(before, {}, removed=removed)
        self._fetched.update({"in_queue": None, "nodes": _changed(before, nodes)})

    def _get_logs(self) -> dict[str, Any]:
        told = _stage(self).look(self)
        states, directory = self._states(), Path(self.initial_dir)
        for (name, _, kind), text in (told.streams if told is not None else {}).items():
            for path in workflow_logs.last(states[name], directory)[kind]:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        return workflow_logs.read(states.values(), directory)


def _changed(before: Sequence[NodeRecord], now: Sequence[NodeRecord]) -> tuple[NodeRecord, ...]:
    return tuple(workflow_watch.marked(old, new) for old, new in zip(before, now, strict=True) if old != new)


class FakeDaskJob(DaskJob):
    """A DASK job on a fake cluster."""

    update_status_interval: ClassVar[timedelta] = _IMMEDIATELY

    @property
    def client(self) -> NoReturn:
        """There is none."""
        raise ResultUnavailable("Fake schedulers have no Dask client.")

    @property
    def future(self) -> NoReturn:
        """There is none."""
        raise ResultUnavailable("Fake schedulers have no futures; finish() the job, and read its result.")

    def _send(self, taken: work.Work) -> None:
        schedulers = _stage(self)
        schedulers.reach()
        if schedulers.refusal():
            raise DaskError(schedulers.refusal())
        told = schedulers.take(self, graph=taken.leaves)
        keys = [f"fake-{told.cluster}-{number}" for number in range(len(taken.leaves))]
        self._submitted = {
            "remote_id": keys[0],
            "keys": keys,
            "shape": taken.shape,
            "dask": _DASK,
            "in_queue": True,
            "futures": work.has_futures(taken),
            "message": "Submitted to a fake Dask cluster",
        }

    def _look(self) -> dict[str, Any]:
        told = _stage(self).look(self)
        leaves: list[Mapping[str, Any] | None] = [leaf.seen() for leaf in told.leaves] if told is not None else []
        return {"id": _DASK, "workers": 1, "leaves": leaves or [None] * self._count()}

    def _process_results(self) -> Any:
        told = _stage(self).look(self)
        if told is None or not told.leaves:
            raise DaskError("It was removed from the cluster before its result was fetched.")
        missing = ResultUnavailable("This part of the work failed.")
        shape = self._record.native["shape"]
        result = work.put_together(
            shape, lambda number: missing if told.leaves[number].exception else told.leaves[number].result
        )
        if not self.forget:
            kept = self._backend.keep_result(self._record.id, values.result_to_bytes(result))
            self._apply(News(Source.RESULTS, None, attempt=self._record.state.attempt), native={"result": kept})
        return result

    def _find_submission(self) -> bool:
        return False

    def _reach(self) -> None:
        _stage(self).reach()

    def _results_done(self) -> None:
        self._apply(None, native={"released": True})

    def _stop(self) -> str:
        _stage(self).stop(self)
        return statuses.ABORTED

    def _get_logs(self) -> dict[str, Any]:
        return {}

    def _end(self) -> None:
        return None

    def _cluster_ended(self) -> bool:
        return False

    def _clean_up(self) -> None:
        _stage(self).forget(self)
        if self._record.native.get("result"):
            self._backend.drop_result(self._record.id, self._record.native["result"])


#: Built-in class → the one that stands for it.
_FAKES: dict[type[Job], type[Job]] = {
    CondorJob: FakeCondorJob,
    CondorWorkflow: FakeWorkflow,
    DaskJob: FakeDaskJob,
}
#: Class → the one that was made of it: all jobs of a type are of one class.
_made: dict[type[Job], type[Job]] = {}
