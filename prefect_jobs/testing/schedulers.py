"""Schedulers that accept every job, and do with it what a test decides."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prefect_jobs.errors import JobStateError, SchedulerConnectionError
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.engine import Engine
from prefect_jobs.jobs.workflow.engine import WorkflowEngine
from prefect_jobs.jobs.workflow.node_states import WORK
from prefect_jobs.schedulers.condor import observation
from prefect_jobs.testing.work import (
    COMPLETED,
    HELD,
    IDLE,
    OVER,
    REMOVED,
    RUNNING,
    UNSET,
    Leaf,
    Work,
    finish_leaves,
    now,
    over,
)


class FakeSchedulers:
    """Replaces every HTCondor pool and Dask cluster; made by :func:`prefect_jobs.testing.fake_schedulers`.

    An executed job stays Submitted until you call one of the methods below; ``job.status`` shows the change at once.
    Each of them raises :class:`JobStateError` for a job that is not at a scheduler.
    """

    def __init__(self, outcome: str | None = None) -> None:
        if outcome not in (None, "Complete", "Error"):
            raise ValueError(f"outcome must be 'Complete', 'Error' or None, not {outcome!r}.")
        self._outcome = outcome
        self._works: dict[int, Work] = {}
        self._clusters = 0
        self._away = ""
        self._refusal = ""
        self._lock = threading.RLock()
        #: The ids of jobs in the order of their submissions, resubmissions included.
        self.submissions: list[int] = []

    # -- for the test -------------------------------------------------------------------------------------

    def run(self, job: Job, *, process: int | None = None, node: str | None = None) -> None:
        """The work begins: the job, one of its procs, or a node of a workflow, is Running.

        Args:
            job: the job.
            process: the number of a proc of a CONDOR job; ``None``: all procs that are not over.
            node: a node of a workflow; ``None``: all whose parents are done.
        """
        with self._lock:
            work = self._work(job)
            for leaf in work.leaves:
                leaf.begun = True
            for name, proc in self._chosen(job.engine, work, process, node):
                work.start(name, proc)

    def hold(
        self, job: Job, reason: str, *, code: int = 13, process: int | None = None, node: str | None = None
    ) -> None:
        """HTCondor holds the work.

        Args:
            job: a CONDOR job or a workflow.
            reason: HTCondor's text for people.
            code: HTCondor's HoldReasonCode, such as 13 (input files), 34 (memory), 1 (by a user).
            process: as in :meth:`run`.
            node: as in :meth:`run`.
        """
        with self._lock:
            work = self._work(job)
            if work.graph:
                raise ValueError(f"{job.handle.title} is a Dask job: Dask holds no work.")
            for key in self._chosen(job.engine, work, process, node):
                work.ads.setdefault(key, work.new(*key)).update(
                    JobStatus=HELD, HoldReason=reason, HoldReasonCode=code, EnteredCurrentStatus=now()
                )

    def finish(
        self,
        job: Job,
        *,
        exit_code: int = 0,
        process: int | None = None,
        node: str | None = None,
        outputs: Mapping[str, str | bytes] | None = None,
        stdout: str = "",
        stderr: str = "",
        result: Any = UNSET,
        exception: BaseException | None = None,
    ) -> None:
        """The work ends.

        Args:
            job: the job.
            exit_code: the exit code of the procs (HTCondor).
            process: as in :meth:`run`.
            node: a node of a workflow whose parents are done; ``None``: all that can run, one after the other. The
            workflow is over once no node can run.
            outputs: files, by their path in the job directory; they exist once the job is over.
            stdout: the standard output of these procs in ``get_logs()``.
            stderr: their standard error.
            result: the result of a Dask job; if not given, the work is computed in this process.
            exception: the error with which a Dask job fails.
        """
        with self._lock:
            work = self._work(job)
            self._check_fits(job, work, exit_code, result, exception)
            work.outputs.update(
                {path: text.encode() if isinstance(text, str) else text for path, text in (outputs or {}).items()}
            )
            self._finish(
                job.engine,
                work,
                exit_code=exit_code,
                process=process,
                node=node,
                stdout=stdout,
                stderr=stderr,
                result=result,
                exception=exception,
            )

    def fail(self, job: Job, why: str = "it failed", *, process: int | None = None, node: str | None = None) -> None:
        """The work fails: exit code 1 with ``why`` as standard error, or on Dask a RuntimeError with it."""
        with self._lock:
            self._fail(job.engine, self._work(job), why, process=process, node=node)

    @staticmethod
    def _check_fits(job: Job, work: Work, exit_code: int, result: Any, exception: BaseException | None) -> None:
        """
        Raises:
            ValueError: an end that is not possible for jobs of this type.
        """
        if work.graph and exit_code:
            raise ValueError(f"{job.handle.title} is a Dask job: it fails with an exception, not with an exit code.")
        if not work.graph and (result is not UNSET or exception is not None):
            raise ValueError(f"{job.handle.title} is not a Dask job: it ends with an exit code and outputs.")
        if result is not UNSET and len(work.leaves) > 1:
            raise ValueError(f"{job.handle.title} has several parts: give no result; each part is computed.")

    def remove(self, job: Job, reason: str = "removed by an administrator") -> None:
        """A person removes the work from the scheduler."""
        with self._lock:
            self._remove(self._work(job), reason)

    @contextmanager
    def away(self, why: str = "The scheduler does not answer.") -> Iterator[None]:
        """No scheduler can be reached while the context lasts."""
        before, self._away = self._away, why
        try:
            yield
        finally:
            self._away = before

    @contextmanager
    def refusing(self, why: str) -> Iterator[None]:
        """Submissions are refused while the context lasts."""
        before, self._refusal = self._refusal, why
        try:
            yield
        finally:
            self._refusal = before

    # -- for engines --------------------------------------------------------------------------------------

    def reach(self) -> None:
        """
        Raises:
            SchedulerConnectionError: the test has made the scheduler unreachable.
        """
        if self._away:
            raise SchedulerConnectionError(self._away)

    def refusal(self) -> str:
        """Why submissions are refused; empty: they are accepted."""
        return self._refusal

    def take(self, engine: Engine, *, processes: int = 0, graph: Iterable[Any] = (), dagman: bool = False) -> Work:
        """Accepts a submission of a job."""
        with self._lock:
            self._clusters += 1000  # the numbers in between are for nodes
            work = Work(self._clusters, graph=list(graph))
            work.leaves = [Leaf() for _ in work.graph]
            for number in range(processes):
                work.add("", number)
            if dagman:
                work.dagman = {"ClusterId": work.cluster, "ProcId": 0, "JobStatus": RUNNING, "ShadowBday": now()}
            self._works[engine.handle.record.id] = work
            self.submissions.append(engine.handle.record.id)
            return work

    def look(self, engine: Engine) -> Work | None:
        """The work of a job; ``None``: none.

        Raises:
            SchedulerConnectionError: the test has made the scheduler unreachable.
        """
        self.reach()
        with self._lock:
            work = self._works.get(engine.handle.record.id)
            if work is not None and self._outcome is not None and not over(work):
                self._finish(engine, work) if self._outcome == "Complete" else self._fail(engine, work, "it failed")
            return work

    def stop(self, engine: Engine) -> None:
        """Removes the parts of a job that are not over from the queue."""
        self.reach()
        with self._lock:
            if (work := self._works.get(engine.handle.record.id)) is not None:
                self._remove(work, "stopped by prefect-jobs")

    def pause(self, engine: Engine) -> None:
        """Holds a job."""
        self._each(
            engine, (IDLE, RUNNING), JobStatus=HELD, HoldReasonCode=observation.HOLD_BY_USER, HoldReason="paused"
        )

    def resume(self, engine: Engine) -> None:
        """Releases a job, and the held nodes of a workflow."""
        self._each(engine, (HELD,), nodes=True, JobStatus=IDLE, HoldReasonCode=None, HoldReason=None)

    def forget(self, engine: Engine) -> None:
        """Removes the work of a job."""
        self._works.pop(engine.handle.record.id, None)

    # -- inside -------------------------------------------------------------------------------------------

    def _work(self, job: Job) -> Work:
        work = self._works.get(job.handle.record.id)
        if work is None or over(work):
            raise JobStateError(
                f"{job.handle.title} is at no scheduler: it is {job.cached_status!r}. Call execute() first."
            )
        return work

    def _finish(
        self,
        engine: Engine,
        work: Work,
        *,
        exit_code: int = 0,
        process: int | None = None,
        node: str | None = None,
        stdout: str = "",
        stderr: str = "",
        result: Any = UNSET,
        exception: BaseException | None = None,
    ) -> None:
        """See :meth:`finish`."""
        finish_leaves(work, result, exception)
        while chosen := self._chosen(engine, work, process, node):
            for key in chosen:
                work.ads.setdefault(key, work.new(*key)).update(
                    JobStatus=COMPLETED, ExitCode=exit_code, ExitBySignal=False, CompletionDate=now()
                )
                work.streams.update({(*key, "output"): stdout, (*key, "error"): stderr})
        if isinstance(engine, WorkflowEngine):
            _end_dagman(engine, work)

    def _fail(
        self, engine: Engine, work: Work, why: str, *, process: int | None = None, node: str | None = None
    ) -> None:
        """See :meth:`fail`."""
        if work.graph:
            self._finish(engine, work, exception=RuntimeError(why))
        else:
            self._finish(engine, work, exit_code=1, process=process, node=node, stderr=f"{why}\n")

    def _each(self, engine: Engine, statuses: tuple[int, ...], *, nodes: bool = False, **values: Any) -> None:
        self.reach()
        with self._lock:
            work = self._works.get(engine.handle.record.id)
            if work is None:
                return
            ads = list(work.ads.values()) if nodes or work.dagman is None else []
            for ad in [*ads, *([work.dagman] if work.dagman is not None else [])]:
                if ad["JobStatus"] in statuses:
                    ad.update(values)
                    if work.dagman is ad and ad["JobStatus"] == IDLE:
                        ad["JobStatus"] = RUNNING  # DAGMan starts again at once

    def _remove(self, work: Work, reason: str) -> None:
        for ad in [*work.ads.values(), *([work.dagman] if work.dagman is not None else [])]:
            if ad["JobStatus"] not in OVER:
                ad.update(JobStatus=REMOVED, RemoveReason=reason, EnteredCurrentStatus=now())
                ad.pop("ShadowBday", None)
        work.leaves.clear()

    def _chosen(self, engine: Engine, work: Work, process: int | None, node: str | None) -> list[tuple[str, int]]:
        """The selected procs, among those that are not over."""
        if isinstance(engine, WorkflowEngine):
            return [(name, 0) for name in _nodes(engine, work, node)]
        if node is not None:
            raise ValueError(f"{engine.handle.title} is not a workflow and has no node {node!r}.")
        open_ = [key for key, ad in work.ads.items() if ad["JobStatus"] not in OVER]
        if process is None:
            return open_
        if ("", process) not in work.ads:
            raise ValueError(f"{engine.handle.title} has no process {process}.")
        return [key for key in open_ if key[1] == process]


def _nodes(engine: WorkflowEngine, work: Work, node: str | None) -> list[str]:
    """The selected nodes, among those that are not over and whose parents are done.

    Raises:
        ValueError: the named node is none of these.
    """
    every = {each.name: each for each in engine.graph.nodes()}
    states = engine.graph.states()
    ended = {name for (name, _), ad in work.ads.items() if ad["JobStatus"] in OVER}
    done = {name for (name, _), ad in work.ads.items() if ad["JobStatus"] == COMPLETED and not ad["ExitCode"]}
    done |= {name for name in every if states[name].status == "Complete" and name not in ended}
    if node is None:
        return [
            name
            for name, each in every.items()
            if each.kind in WORK and name not in ended | done and done.issuperset(each.parents)
        ]
    if node not in every:
        raise ValueError(f"{engine.handle.title} has no node {node!r}. It has: {', '.join(every) or 'none'}.")
    missing = [parent for parent in every[node].parents if parent not in done]
    if missing:
        raise ValueError(
            f"The node {node!r} of {engine.handle.title} cannot begin before {', '.join(missing)} is done."
        )
    return [] if node in ended | done else [node]


def _end_dagman(engine: WorkflowEngine, work: Work) -> None:
    """Ends DAGMan once no node can run."""
    assert work.dagman is not None  # noqa: S101  (it is a workflow's)
    if _nodes(engine, work, None):
        return
    failed = any(ad.get("ExitCode") for ad in work.ads.values() if ad["JobStatus"] == COMPLETED)
    work.dagman.update(JobStatus=COMPLETED, ExitCode=1 if failed else 0, CompletionDate=now())
    work.dagman.pop("ShadowBday", None)
