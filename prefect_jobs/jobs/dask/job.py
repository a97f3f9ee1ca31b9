"""DASK: delayed work, futures and collections on a Dask cluster, with results that outlive it."""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from threading import Event
from typing import Any, ClassVar

import anyio
from anyio.to_thread import run_sync

from prefect_jobs import statuses
from prefect_jobs.errors import (
    JobStateError,
    ResultUnavailable,
    SchedulerConnectionError,
    SchedulerEngineMismatch,
    SubmissionError,
)
from prefect_jobs.jobs import hooks
from prefect_jobs.jobs.base import Job
from prefect_jobs.jobs.dask import poll as dask_watch
from prefect_jobs.jobs.observation import Observation, OutputsNotFetched
from prefect_jobs.jobs.submission import TransientSubmissionError
from prefect_jobs.schedulers.dask import connection, values, work
from prefect_jobs.schedulers.dask.client import DaskClient, dask_client, forget_submission
from prefect_jobs.schedulers.dask.connection import DaskAccess, DaskError
from prefect_jobs.transition import News, Source

log = logging.getLogger(__name__)

RESULT, GRAPH = "result", "graph"
#: A graph larger than this is not kept: the job cannot be submitted again by itself.
GRAPH_LIMIT = 10 * 1024 * 1024
#: Seconds until it is looked again after the scheduler told the end, where that look finds the work going on: a result
#: was lost with its worker, or another process fetches it.
_AGAIN = 0.2
#: Seconds between two glances at whether the scheduler has told the end. It is a flag in memory.
_GLANCE = 0.1


class DaskJob(Job):
    """Work on a Dask cluster.

    Args (of ``create_job``):
        scheduler: a saved DaskScheduler block or its name; none: a cluster on this machine, shared by the process.
        forget: the result is given to ``process_results_function`` and not kept.
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

    #: Futures that are being computed again.
    _again: work.Work | None = None

    @classmethod
    def check_spec(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The spec from the keyword arguments of ``create_job``."""
        return {"forget": bool(given.get("forget"))}

    @classmethod
    def check_flow_parameters(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """As told there: ``function`` is one, or its dotted path; the others are JSON."""
        function = given.get("function")
        if not function:
            raise ValueError("A schedule of DASK jobs needs a function: function=…, or its path as a text.")
        # A path is for the workers to import; this process need not have it.
        path = function if isinstance(function, str) else hooks.dotted_path(function)
        if not all(part.isidentifier() for part in path.split(".")) or "." not in path:
            raise ValueError(f"The function is an import path as in 'module.function', not {path!r}.")
        found = {**super().check_flow_parameters(given), "function": path}
        for name in ("arguments", "map_over", "keyword_arguments"):
            value = found.get(name, [])
            wanted, word = (dict, "dict") if name == "keyword_arguments" else ((list, tuple), "list")
            if name in found and not isinstance(value, wanted):
                raise ValueError(f"{name} is a {word}, not {value!r}.")
            try:
                json.dumps(value)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{name} of a schedule are kept by Prefect as JSON: {error}") from error
        return found

    @property
    def forget(self) -> bool:
        """Whether the result is not kept."""
        return bool(self.spec["forget"])

    @property
    def client(self) -> Any:
        """The ``distributed.Client`` of the scheduler.

        Raises:
            SchedulerConnectionError: not reached in time.
        """
        return self._client().client

    @property
    def key(self) -> str | None:
        """Dask's key of the (first) leaf; ``None`` before it is submitted."""
        keys = self._record.native.get("keys")
        return str(keys[0]) if keys else None

    @property
    def future(self) -> Any:
        """The future, in the form in which the work was given (a list of futures for a list, …).

        Raises:
            ResultUnavailable: it was not submitted, or the cluster has it no more.
            SchedulerConnectionError: not reached.
        """
        if self.key is None or self._record.native.get("released"):
            raise ResultUnavailable(f"{self._title()} has no future on the cluster: it is {self.cached_status!r}.")
        futures = self._client().futures(self._token(), self._count())
        return work.put_together(self._record.native["shape"], lambda number: futures[number])

    def done(self) -> bool:
        """Whether the work is over, asked for now."""
        self.update_status()
        return statuses.parse(self.cached_status).kind.terminal

    def retry(self) -> None:
        """Has Dask run again what erred; as :meth:`resubmit`, which also runs futures again that have failed."""
        self.resubmit()

    @property
    def result(self) -> Any:
        """The result, in the form in which the work was given.

        Raises:
            ResultUnavailable: it is not over yet, it failed, or it was not kept (``forget=True``).
        """
        if self.id is not None:
            self._refresh()
        kept = self._record.native.get("result")
        if kept is None:
            why = "its result is not kept (forget=True)" if self.forget else f"it is {self.cached_status!r}"
            said = f": {self.status_message.splitlines()[0]}" if self.status_message else ""
            raise ResultUnavailable(f"{self._title()} has no result: {why}{said}")
        data = self._backend.read_result(self._record.id, kept)
        if data is None:
            raise ResultUnavailable(f"The result of {self._title()} was removed from where it was kept ({kept}).")
        try:
            return values.result_from_bytes(data)
        except DaskError as error:
            raise ResultUnavailable(f"{self._title()}: {error}") from error

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
            SubmissionError: refused (the job is Error then) or not reached (it stays Pending).
            JobStateError: the job is active already, or over: resubmit() it.
        """
        taken = work.take_apart(future_or_delayed)
        work.check_callable_here(taken)
        super().execute(future_or_delayed)

    def _check_reached(self) -> None:
        """What is kept of an earlier submission goes with a new one: not before it is known that there can be one."""
        if self.id is None or self._record.native.get("result") is None or self._record.native.get("local"):
            return  # without a scheduler it goes to a cluster of this process
        try:
            self._reach()
        except SchedulerConnectionError as error:
            raise SubmissionError(f"{self._title()} was not submitted: {error} Nothing was changed.") from error

    # -- hooks ------------------------------------------------------------------------------------------

    def _execute(self, given: Any) -> None:
        """Submits work."""
        taken = work.take_apart(given)
        self._backend.put_blob(self._record.id, GRAPH, values.work_to_bytes(taken, GRAPH_LIMIT))
        self._send(taken)

    def _send(self, taken: work.Work) -> None:
        client, token = self._client(), self._token()
        try:
            keys, identity = client.submit(taken.leaves, token)
        except SchedulerConnectionError as error:
            # Perhaps it got through and only the answer was lost: the token tells.
            if self._find_submission():
                return
            raise TransientSubmissionError(str(error)) from error
        self._submitted = {
            "remote_id": keys[0][:255],
            "keys": keys,
            "shape": taken.shape,
            "dask": identity,
            "in_queue": True,
            "futures": work.has_futures(taken),
            "message": f"Submitted to {client.access.title}",
            **self._where(client),
        }

    def _where(self, client: DaskClient) -> dict[str, Any]:
        """What is noted of the cluster: others find the one of this process by its address."""
        found: dict[str, Any] = {
            "dashboard": getattr(self.scheduler, "dashboard", None) or client.client.dashboard_link
        }
        if not client.access.host:
            found["local"] = {"host": self._backend.host_name, "address": client.client.scheduler.address}
        return found

    def _find_submission(self) -> bool:
        client, token = self._client(), self._token()
        count = client.find(token)
        if not count:
            return False
        data = self._backend.get_blob(self._record.id, GRAPH)
        shape, futures = values.shape_from_bytes(data) if data is not None else ({"leaf": 0}, False)
        if count < work.size(shape):
            client.cancel(token, count, given=False)  # it died on the way: what got through is a part
            return False
        found = client.look(token, count)
        self._submitted = {
            "remote_id": str((found["leaves"][0] or {}).get("key", token))[:255],
            "keys": [str((leaf or {}).get("key", "")) for leaf in found["leaves"]],
            "shape": shape,
            "dask": found["id"],
            "in_queue": True,
            "futures": futures,
            "message": "Found again; it was submitted before an interruption.",
            **self._where(client),
        }
        return True

    def resubmit(self) -> None:
        """Computes the work once more: its graph, which was kept when it was submitted, or, where it was futures, those
        of them that failed, if the cluster still has them.

        Raises:
            JobStateError: it is not over, was never submitted, or there is nothing that could be run again.
            SchedulerConnectionError: it was futures, and the scheduler cannot be reached.
            SubmissionError: as :meth:`execute`.
        """
        self._refresh()
        kept = self._kept()
        self._again = None
        if kept is not None and not kept.leaves and self.cached_status == statuses.ERROR:
            self._again = self._retried(kept)
        if kept is not None and not kept.leaves and self._again is None:
            raise JobStateError(
                f"What {self._title()} computed is not kept: it was a future, larger than "
                f"{GRAPH_LIMIT // 2**20} MiB, or it cannot be pickled. Create a new job for new work."
            )
        self._check_reached()
        super().resubmit()

    def _retried(self, kept: work.Work) -> work.Work | None:
        """The futures, those that failed being computed again; ``None`` where the cluster has them no more."""
        native = self._record.native
        if not (native.get("futures") and native.get("failed")):
            return None
        client = self._client()
        if not client.find(self._token()):
            return None
        return work.Work(client.retry(self._token(), self._count()), kept.shape)

    def _resubmit(self) -> None:
        again, self._again = self._again, None
        kept = again or self._kept()
        if kept is None:
            raise DaskError("What it computed is not kept. Create a new job for new work.")
        self._send(kept)

    def _kept(self) -> work.Work | None:
        data = self._backend.get_blob(self._record.id, GRAPH)
        return None if data is None else values.work_from_bytes(data)

    def _update_status(self) -> Observation:
        return self.judged(self._look())

    def judged(self, answer: Mapping[str, Any]) -> Observation:
        """What the job is, by what the scheduler says of its submission."""
        # It is of this state of the job: another process may fetch and release at the same moment.
        found = replace(dask_watch.conclude(self._record.native, answer), version=self._record.version)
        if found.status is not None and statuses.parse(found.status).kind.terminal:
            forget_submission(self._token())
        return found

    def _look(self) -> dict[str, Any]:
        """What the scheduler says.

        Raises:
            SchedulerConnectionError: nobody can tell now.
        """
        try:
            return self._client().look(self._token(), self._count())
        except DaskError as error:  # its versions do not fit: no verdict on the job
            raise SchedulerConnectionError(str(error)) from error
        except SchedulerConnectionError:
            if self._cluster_ended():
                return {"id": None, "workers": 0, "leaves": []}
            raise

    def _process_results(self) -> Any:
        native = self._record.native
        client = self._client()
        done = [int(number) for number in native.get("done", range(self._count()))]
        if native.get("result") is None:
            try:
                self._check_there(done)
                fetched = dict(zip(done, client.gather(self._token(), done), strict=True))
                missing = ResultUnavailable("This part of the work failed.")
                result = work.put_together(native["shape"], lambda number: fetched.get(number, missing))
                if not self.forget:
                    kept = self._backend.keep_result(self._record.id, values.result_to_bytes(result))
                    # Of this submission: should there be another one by now, nothing is noted.
                    mine = News(Source.RESULTS, None, attempt=self._record.state.attempt)
                    self._apply(mine, native={"result": kept})
            except SchedulerConnectionError as error:
                raise OutputsNotFetched(str(error)) from error
        else:
            result = self._read_again()
        return result

    def _read_again(self) -> Any:
        """The result that a process kept which died before the end."""
        try:
            data = self._backend.read_result(self._record.id, self._record.native["result"])
        except ResultUnavailable as error:
            raise OutputsNotFetched(str(error)) from error
        if data is None:
            raise DaskError("The result was removed from where it was kept. resubmit() computes it again.")
        return values.result_from_bytes(data)

    def _reach(self) -> None:
        self._client().identity()

    def _results_done(self) -> None:
        """The result is kept, and the results function had it: the cluster may forget it."""
        given_up = self._record.native.get("futures") and self._record.state.status == statuses.ERROR
        try:
            self._client().release(self._token(), self._count())
        except SchedulerConnectionError as error:
            log.warning("What is left of %s on the cluster could not be released: %s", self._title(), error)
            return
        if not given_up:
            self._apply(None, native={"released": True})

    def _check_there(self, numbers: list[int]) -> None:
        """Whether the results are still on the cluster.

        Raises:
            DaskError: they are not, and never will be.
            SchedulerConnectionError: nobody can tell now, or they are computed anew.
        """
        found = self._client().look(self._token(), self._count())
        if found["id"] != self._record.native.get("dask"):
            raise DaskError(dask_watch.FORGOTTEN)
        states = {str((found["leaves"][number] or {}).get("state", "forgotten")) for number in numbers}
        if "forgotten" in states:
            raise DaskError("It was cancelled on the cluster before its result was fetched. resubmit() runs it again.")
        if "erred" in states:
            raise DaskError("It was lost with its worker, computed again, and failed. resubmit() runs it again.")
        if states != {"memory"}:
            raise SchedulerConnectionError("A result was lost with its worker, and is computed anew.")

    def _keeps_results(self) -> bool:
        return not self.forget

    def _for_function(self, result: Any) -> Any:
        return result

    def _check_supported(self, action: str) -> None:
        if action in ("pause", "resume"):
            getattr(self, f"_{action}")()

    def _stop(self) -> str:
        self._client().cancel(self._token(), self._count(), given=bool(self._record.native.get("futures")))
        return statuses.ABORTED

    def _pause(self) -> None:
        raise NotImplementedError("Dask jobs cannot be paused: Dask has no way to hold work that it was given.")

    def _resume(self) -> None:
        raise NotImplementedError("Dask jobs cannot be paused, and so not resumed.")

    def _get_logs(self) -> dict[str, Any]:
        return self._client().logs()

    def _clean_up(self) -> None:
        native = self._record.native
        if self.key is not None and not native.get("released") and not self._cluster_ended():
            client = self._client()
            if native.get("futures"):  # they are their owner's
                client.release(self._token(), self._count())
            else:
                client.cancel(self._token(), self._count(), given=False)
        if native.get("result"):
            self._backend.drop_result(self._record.id, native["result"])

    def _await_change(self, seconds: float) -> None:
        """Waits for the end of the work, which the scheduler tells."""
        deadline = time.monotonic() + seconds
        ended = self._end()
        left = max(0.0, deadline - time.monotonic())
        if ended is None:
            super()._await_change(left)
        elif ended.is_set():
            super()._await_change(min(left, _AGAIN))
        else:
            ended.wait(left)

    async def _aawait_change(self, seconds: float) -> None:
        """As :meth:`_await_change`; holds no thread."""
        deadline = time.monotonic() + seconds
        ended = await run_sync(self._end)
        if ended is not None and ended.is_set():
            deadline = min(deadline, time.monotonic() + _AGAIN)
        while (left := deadline - time.monotonic()) > 0:
            await anyio.sleep(min(left, _GLANCE))
            if ended is not None and ended.is_set():
                return

    def _end(self) -> Event | None:
        """Set when the work ends; ``None`` where it is not at work, or nobody can tell."""
        if not self._record.state.as_status.kind.active or self.key is None:
            return None
        try:
            return self._client().end(self._token(), self._count())
        except SchedulerConnectionError:
            return None

    # -- inside -----------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        super()._refresh()
        status = self._record.state.as_status
        if statuses.is_final(status) or status.text == statuses.RESULTS_READY:
            forget_submission(self._token())  # it may have been another process that saw its end

    def _client(self) -> DaskClient:
        block = self.scheduler
        if block is None:
            access = DaskAccess()
        elif not hasattr(block, "access") or not isinstance(access := block.access(), DaskAccess):
            raise SchedulerEngineMismatch(
                f"The scheduler {self._record.scheduler!r} is not a Dask one, as {self._title()} needs."
            )
        local = self._record.native.get("local")
        if local and not access.host:
            # The cluster is the submitting process'; one of our own would know nothing of it.
            access = replace(access, host=local["address"])
        return dask_client(access)

    def _cluster_ended(self) -> bool:
        """Whether it was at work on the cluster of a process, on this machine, that has ended."""
        local = self._record.native.get("local")
        if not local or local["host"] != self._backend.host_name:
            return False
        return connection.gone(local["address"])

    def _token(self) -> str:
        return self._record.submission_token or ""

    def _count(self) -> int:
        return len(self._record.native.get("keys", ()))
