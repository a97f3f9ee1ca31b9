"""DASK: delayed work, futures and collections on a Dask cluster, with results that outlive it."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from anyio.to_thread import run_sync

from prefect_jobs import statuses
from prefect_jobs.errors import JobStateError, ResultUnavailable, SchedulerConnectionError, SubmissionError
from prefect_jobs.jobs import hooks, polling
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.dask.engine import DaskEngine
from prefect_jobs.jobs.dask.submitting import GRAPH_LIMIT
from prefect_jobs.jobs.engine import Engine
from prefect_jobs.jobs.type_hooks import SUBMISSION
from prefect_jobs.schedulers.dask import calls, values, work
from prefect_jobs.schedulers.dask.connection import DaskError


class DaskJob(Job):
    """Work on a Dask cluster.

    Args (of ``create_job``):
        scheduler: a saved DaskScheduler block or its name; none: a cluster on this machine, shared by the process.
        forget: the result is passed to ``process_results_function`` and not kept.
    """

    flow_entrypoint: ClassVar[str] = "prefect_jobs.flows.dask_job:dask_job"
    scheduler_engine: ClassVar[str | None] = "dask"
    spec_defaults: ClassVar[Mapping[str, Any]] = {"forget": False}
    flow_parameters: ClassVar[tuple[str, ...]] = (
        "function",
        "arguments",
        "keyword_arguments",
        "map_over",
        "timeout",
    )
    update_status_interval: ClassVar[timedelta] = timedelta(0)
    engine_type: ClassVar[type[Engine]] = DaskEngine

    engine: DaskEngine

    #: Futures that are being computed again.
    _again: work.Work | None = None

    @classmethod
    def check_spec(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The spec for the keyword arguments of ``create_job``."""
        return {"forget": bool(given.get("forget"))}

    @classmethod
    def check_flow_parameters(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """As :meth:`JobType.check_flow_parameters`: ``function`` or its dotted path; the others are JSON."""
        function = given.get("function")
        if not function:
            raise ValueError("A schedule of DASK jobs needs a function: set function=… to it, or to its import path.")
        # The workers import the path; this process may be unable to.
        path = calls.checked(function if isinstance(function, str) else hooks.dotted_path(function))
        found = {**super().check_flow_parameters(given), "function": path}
        for name in ("arguments", "map_over", "keyword_arguments"):
            value = found.get(name, [])
            wanted, word = (dict, "dict") if name == "keyword_arguments" else ((list, tuple), "list")
            if name in found and not isinstance(value, wanted):
                raise ValueError(f"{name} must be a {word}, not {value!r}.")
            try:
                json.dumps(value)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{name} of a schedule must be JSON values: {error}") from error
        return found

    @classmethod
    def work_of_run(cls, parameters: Mapping[str, Any]) -> tuple[Any, ...]:
        """As :meth:`JobType.work_of_run`: the calls of the function."""
        function, items = calls.checked(parameters.get("function") or ""), parameters.get("map_over")
        if items is not None and not items:
            raise ValueError("map_over is an empty list: there is nothing to call the function with.")
        arguments, keywords = parameters.get("arguments") or [], parameters.get("keyword_arguments") or {}
        if items is None:
            return (calls.by_path(function, arguments, keywords),)
        return ([calls.by_path(function, [item, *arguments], keywords) for item in items],)

    @property
    def forget(self) -> bool:
        """Whether the result is not kept."""
        return self.engine.forget

    @property
    def client(self) -> Any:
        """The ``distributed.Client`` of the scheduler.

        Raises:
            SchedulerConnectionError: the scheduler was not reached in time.
        """
        return self.engine.client().client

    @property
    def key(self) -> str | None:
        """Dask's key of the (first) leaf; ``None`` before it is submitted."""
        keys = self.engine.state.keys
        return keys[0] if keys else None

    @property
    def future(self) -> Any:
        """The future, in the structure of the submitted work (a list of futures for a list, …).

        Raises:
            ResultUnavailable: the work was not submitted, or the cluster no longer has it.
            SchedulerConnectionError: the scheduler was not reached.
        """
        state = self.engine.state
        if self.key is None or state.released:
            raise ResultUnavailable(f"{self.handle.title} has no future on the cluster: it is {self.cached_status!r}.")
        futures = self.engine.client().futures(self.handle.token, state.count)
        return work.put_together(state.shape, lambda number: futures[number])

    def done(self) -> bool:
        """Whether the work is over, polled now."""
        self.update_status()
        return statuses.parse(self.cached_status).kind.terminal

    def retry(self) -> None:
        """Runs what failed again. As :meth:`resubmit`, which also runs failed futures again."""
        self.resubmit()

    @property
    def result(self) -> Any:
        """The result, in the structure of the submitted work.

        Raises:
            ResultUnavailable: the job is not over yet, it failed, or its result was not kept (``forget=True``).
        """
        if self.id is not None:
            polling.refresh(self)
        kept = self.engine.state.result
        if kept is None:
            why = "its result is not kept (forget=True)" if self.forget else f"it is {self.cached_status!r}"
            said = f": {self.status_message.splitlines()[0]}" if self.status_message else ""
            raise ResultUnavailable(f"{self.handle.title} has no result: {why}{said}")
        data = self.handle.backend.results.read(self.handle.record.id, kept)
        if data is None:
            raise ResultUnavailable(f"The result of {self.handle.title} was removed from its storage ({kept}).")
        try:
            return values.result_from_bytes(data)
        except DaskError as error:
            raise ResultUnavailable(f"{self.handle.title}: {error}") from error

    async def aresult(self) -> Any:
        """As :attr:`result`."""
        return await run_sync(lambda: self.result)

    def execute(self, future_or_delayed: Any) -> None:
        """Saves the job and submits work.

        Args:
            future_or_delayed: a ``dask.delayed`` object, a ``distributed.Future``, a Dask collection, or a list, tuple
                or dict of these.

        Raises:
            ValueError: anything else.
            SubmissionError: the scheduler refused it (the job is Error) or was not reached (the job stays Pending).
            JobStateError: the job is active already, or over: call resubmit().
        """
        self.check_given(future_or_delayed)
        super().execute(future_or_delayed)

    def check_given(self, *args: Any) -> None:
        """As :meth:`AnyJob.check_given`."""
        for given in args:
            work.check_callable_here(work.take_apart(given))

    def resubmit(self) -> None:
        """Computes the work again: the graph that was kept at the submission, or, for futures, those that failed if
        the cluster still has them.

        Raises:
            JobStateError: the job is not over, was never submitted, or nothing can be run again.
            SchedulerConnectionError: the work is futures, and the scheduler cannot be reached.
            SubmissionError: as :meth:`execute`.
        """
        self.handle.refresh()
        kept = self.engine.kept()
        self._again = None
        if kept is not None and not kept.leaves and self.cached_status == statuses.ERROR:
            self._again = self.engine.retried(kept)
        if kept is not None and not kept.leaves and self._again is None:
            raise JobStateError(
                f"The work of {self.handle.title} is not kept: it was a future, larger than "
                f"{GRAPH_LIMIT // 2**20} MiB, or it cannot be pickled. Create a new job for new work."
            )
        self._check_reached()
        super().resubmit()

    def _check_reached(self) -> None:
        """A new submission removes what is kept of an earlier one, so the scheduler is contacted first."""
        state = self.engine.state
        if self.id is None or state.result is None or state.local:
            return  # without a scheduler block, the cluster of this process is used
        try:
            self.engine.reach()
        except SchedulerConnectionError as error:
            raise SubmissionError(f"{self.handle.title} was not submitted: {error} Nothing was changed.") from error

    def _resubmit(self) -> Any:
        again, self._again = self._again, None
        kept = again or self.engine.kept()
        if kept is None:
            raise DaskError("Its work is not kept. Create a new job for new work.")
        return self.handle.from_engine(SUBMISSION, self.engine.send(kept))
