"""Work on a Dask cluster: submitted, polled, gathered, cancelled."""

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from threading import Event
from typing import Any, ClassVar

import anyio
from anyio.to_thread import run_sync

from prefect_jobs import statuses
from prefect_jobs.errors import ResultUnavailable, SchedulerConnectionError, SchedulerEngineMismatch
from prefect_jobs.jobs.dask import poll
from prefect_jobs.jobs.dask.state import DaskState, Local, Values, encode
from prefect_jobs.jobs.engine import Engine
from prefect_jobs.jobs.observation import (
    Fetched,
    Observation,
    OutputsNotFetched,
    Submitted,
    TransientSubmissionError,
)
from prefect_jobs.noted import REPLACED
from prefect_jobs.schedulers.connections import dask_client, forget_submission
from prefect_jobs.schedulers.dask import connection, values, work
from prefect_jobs.schedulers.dask.client import DaskClient
from prefect_jobs.schedulers.dask.connection import DaskAccess, DaskError
from prefect_jobs.transition import News, Source

log = logging.getLogger(__name__)

#: Kind of the blob with the work, for submitting it again.
GRAPH = "graph"
#: Kind of the blob with what the results function returned.
_RETURNED = "returned"
#: A larger graph is not kept, so the job cannot be submitted again by itself.
GRAPH_LIMIT = 10 * 1024 * 1024
#: Seconds until the next poll if the work continues after the scheduler reported its end: a result was lost with its
#: worker, or another process fetches it.
_AGAIN = 0.2
#: Seconds between two checks of the flag in memory that is set when the scheduler reports the end.
_GLANCE = 0.1
_MAX_ID = 255


class DaskEngine(Engine):
    """Delayed work, futures or collections on a cluster."""

    together: ClassVar[bool] = False
    refused: ClassVar[Mapping[str, str]] = {
        "pause": "Dask jobs cannot be paused: Dask has no way to hold work.",
        "resume": "Dask jobs cannot be resumed, since they cannot be paused.",
    }

    @property
    def state(self) -> DaskState:
        """The state of the submission."""
        return DaskState(self.handle.record)

    # -- the cluster ------------------------------------------------------------------------------------

    def client(self) -> DaskClient:
        """The client for the scheduler.

        Raises:
            SchedulerConnectionError: its block cannot be read.
            SchedulerEngineMismatch: the block is not a Dask one.
        """
        record = self.handle.record
        access = DaskAccess()
        if record.scheduler is not None:
            block = self.site.scheduler(record.scheduler)
            found = block.access() if hasattr(block, "access") else None
            if not isinstance(found, DaskAccess):
                raise SchedulerEngineMismatch(
                    f"The scheduler {record.scheduler!r} is not a Dask one; {self.handle.title} needs one."
                )
            access = found
        local = self.state.local
        if local and not access.host:
            # The work is on the cluster of the process that submitted it; the cluster of this process has none of it.
            access = replace(access, host=local.address)
        return dask_client(access)

    def cluster_ended(self) -> bool:
        """Whether it was on the cluster of a process on this machine that has ended."""
        local = self.state.local
        return local is not None and local.host == self.site.host_name and connection.gone(local.address)

    def reach(self) -> None:
        """Requests the scheduler's id."""
        self.client().identity()

    # -- submission -------------------------------------------------------------------------------------

    def submit(self, given: Any) -> Submitted:
        """Submits work, and keeps its graph so that it can be submitted again."""
        taken = work.take_apart(given)
        kept = values.work_to_bytes(taken, GRAPH_LIMIT)
        self.handle.backend.results.put_blob(self.handle.record.id, GRAPH, kept.data)
        if kept.problem is not None:
            text = f"Its work is not kept, so resubmit() cannot run it again: {kept.problem}."
            self.handle.apply(None, messages=((logging.WARNING, text),))
        return self.send(taken)

    def send(self, taken: work.Work) -> Submitted:
        """Submits work."""
        client = self.client()
        try:
            keys, identity = client.submit(taken.leaves, self.handle.token)
        except SchedulerConnectionError as error:
            # Only the answer may be lost: the token finds the work.
            found = self.find()
            if found is not None:
                return found
            raise TransientSubmissionError(str(error)) from error
        native = encode(
            keys=keys,
            shape=taken.shape,
            scheduler_id=identity,
            in_queue=True,
            futures=work.has_futures(taken),
        )
        native.update(self._place(client))
        return Submitted(keys[0][:_MAX_ID], native, f"Submitted to {client.access.title}")

    def _place(self, client: DaskClient) -> dict[str, Any]:
        """The values that locate the work: other processes find the cluster of this process by its address."""
        name = self.handle.record.scheduler
        block = None if name is None else self.site.scheduler(name)
        found: Values = {"dashboard": getattr(block, "dashboard", None) or client.client.dashboard_link}
        if not client.access.host:
            found["local"] = Local(self.site.host_name, client.client.scheduler.address)
        return encode(**found)

    def find(self) -> Submitted | None:
        """Finds leaves that are published under the present token."""
        client, token = self.client(), self.handle.token
        count = client.find(token)
        if not count:
            return None
        data = self.handle.backend.results.get_blob(self.handle.record.id, GRAPH)
        shape, futures = values.shape_from_bytes(data) if data is not None else ({"leaf": 0}, False)
        if count < work.size(shape):
            client.cancel(token, count, given=False)  # its process died: only a part was submitted
            return None
        found = client.look(token, count)
        native = encode(
            keys=[str((leaf or {}).get("key", "")) for leaf in found["leaves"]],
            shape=shape,
            scheduler_id=found["id"],
            in_queue=True,
            futures=futures,
        )
        key = str((found["leaves"][0] or {}).get("key", token))
        native.update(self._place(client))
        return Submitted(key[:_MAX_ID], native, "Found again; it was submitted before an interruption.")

    def kept(self) -> work.Work | None:
        """The submitted work; ``None``: it is not kept.

        Raises:
            DaskError: it cannot be read in this process.
        """
        data = self.handle.backend.results.get_blob(self.handle.record.id, GRAPH)
        return None if data is None else values.work_from_bytes(data)

    def retried(self, kept: work.Work) -> work.Work | None:
        """The futures, with those that failed being computed again; ``None`` if the cluster no longer has them."""
        state = self.state
        if not (state.futures and state.failed):
            return None
        client = self.client()
        if not client.find(self.handle.token):
            return None
        return work.Work(client.retry(self.handle.token, state.count), kept.shape)

    # -- while it is on the cluster ---------------------------------------------------------------------

    def poll(self) -> Observation:
        """Polls the scheduler."""
        return self.judge(self.ask())

    def judge(self, answer: Mapping[str, Any]) -> Observation:
        """The observation for the scheduler's answer."""
        # It is valid for this version only: another process may fetch and release at the same moment.
        found = replace(poll.conclude(self.state, answer), version=self.handle.record.version)
        if found.status is not None and statuses.parse(found.status).kind.terminal:
            forget_submission(self.handle.token)
        return found

    def ask(self) -> dict[str, Any]:
        """The scheduler's answer about the submission.

        Raises:
            SchedulerConnectionError: the scheduler does not answer.
        """
        try:
            return self.client().look(self.handle.token, self.state.count)
        except DaskError as error:  # its versions do not fit; this says nothing about the job
            raise SchedulerConnectionError(str(error)) from error
        except SchedulerConnectionError:
            if self.cluster_ended():
                return {"id": None, "workers": 0, "leaves": []}
            raise

    def stop(self) -> str:
        """Cancels the work."""
        self.client().cancel(self.handle.token, self.state.count, given=self.state.futures)
        return statuses.ABORTED

    def logs(self) -> dict[str, Any]:
        """The newest lines of the scheduler's and of each worker's log."""
        return self.client().logs()

    def wait_change(self, seconds: float) -> None:
        """As :meth:`Engine.wait_change`; the scheduler reports the end."""
        deadline = time.monotonic() + seconds
        ended = self.end()
        left = max(0.0, deadline - time.monotonic())
        if ended is None:
            super().wait_change(left)
        elif ended.is_set():
            super().wait_change(min(left, _AGAIN))
        else:
            ended.wait(left)

    async def await_change(self, seconds: float) -> None:
        """As :meth:`wait_change`; blocks no thread."""
        deadline = time.monotonic() + seconds
        ended = await run_sync(self.end)
        if ended is not None and ended.is_set():
            deadline = min(deadline, time.monotonic() + _AGAIN)
        while (left := deadline - time.monotonic()) > 0:
            await anyio.sleep(min(left, _GLANCE))
            if ended is not None and ended.is_set():
                return

    def end(self) -> Event | None:
        """Set when the work ends; ``None`` if it is not running, or the scheduler does not answer."""
        if not self.handle.status.kind.active or not self.state.count:
            return None
        try:
            return self.client().end(self.handle.token, self.state.count)
        except SchedulerConnectionError:
            return None

    def ended(self) -> None:
        """As :meth:`Engine.ended`: drops the futures."""
        forget_submission(self.handle.token)

    # -- the end ----------------------------------------------------------------------------------------

    @property
    def forget(self) -> bool:
        """Whether the result is not kept."""
        return bool(self.handle.drafts.spec["forget"])

    @property
    def keeps_results(self) -> bool:
        """As :meth:`Engine.keeps_results`."""
        return not self.forget

    @property
    def gives_result(self) -> bool:
        """Always true: the result may be ``None``."""
        return True

    def fetch(self) -> Fetched:
        """Gathers the result, and keeps it."""
        if self.state.result is not None:
            return Fetched(self._read_again())
        state, client = self.state, self.client()
        try:
            self._check_there(state.done)
            parts = dict(zip(state.done, client.gather(self.handle.token, state.done), strict=True))
            missing = ResultUnavailable("This part of the work failed.")
            result = work.put_together(state.shape, lambda number: parts.get(number, missing))
            if not self.forget:
                self.keep(result)
        except SchedulerConnectionError as error:
            raise OutputsNotFetched(str(error)) from error
        return Fetched(result)

    def keep(self, result: Any) -> None:
        """Keeps a result, and notes its place."""
        kept = self.handle.backend.results.keep(self.handle.record.id, values.result_to_bytes(result))
        # For this submission: if there is another one by now, nothing is noted.
        mine = News(Source.RESULTS, None, attempt=self.handle.record.state.attempt)
        self.handle.apply(mine, native=encode(result=kept))

    def keep_returned(self, value: Any) -> dict[str, Any]:
        """As :meth:`Engine.keep_returned`: it replaces the result of the work."""
        if self.forget:
            return {}
        kept = self.handle.backend.results.keep(self.handle.record.id, values.result_to_bytes(value), _RETURNED)
        return encode(result={**kept, REPLACED: self.state.result})

    def _read_again(self) -> Any:
        """The result that was kept by a process that died before it ended the job."""
        try:
            data = self.handle.backend.results.read(self.handle.record.id, self.state.result or {})
        except ResultUnavailable as error:
            raise OutputsNotFetched(str(error)) from error
        if data is None:
            raise DaskError("The kept result was removed. Call resubmit() to compute it again.")
        return values.result_from_bytes(data)

    def _check_there(self, numbers: list[int]) -> None:
        """Checks that the results are still on the cluster.

        Raises:
            DaskError: they are gone for good.
            SchedulerConnectionError: the scheduler does not answer, or they are being computed again.
        """
        found = self.client().look(self.handle.token, self.state.count)
        if found["id"] != self.state.scheduler_id:
            raise DaskError(poll.FORGOTTEN)
        states = {str((found["leaves"][number] or {}).get("state", "forgotten")) for number in numbers}
        if "forgotten" in states:
            raise DaskError("It was cancelled on the cluster before its result was fetched. resubmit() runs it again.")
        if "erred" in states:
            raise DaskError("It was lost with its worker, computed again, and failed. resubmit() runs it again.")
        if states != {"memory"}:
            raise SchedulerConnectionError("A result was lost with its worker and is being computed again.")

    def release(self) -> None:
        """Makes the cluster forget the work, after its result is kept and the results function has returned."""
        self._drop_replaced()
        given_up = self.state.futures and self.handle.status.text == statuses.ERROR
        try:
            self.client().release(self.handle.token, self.state.count)
        except SchedulerConnectionError as error:
            log.warning("What is left of %s on the cluster could not be released: %s", self.handle.title, error)
            return
        if not given_up:
            self.handle.apply(None, native=encode(released=True))

    def _drop_replaced(self) -> None:
        """Removes the result of the work, if that of the results function has replaced it."""
        replaced = (self.state.result or {}).get(REPLACED)
        if replaced:
            self.handle.backend.results.drop(self.handle.record.id, replaced)

    def clean_up(self) -> None:
        """Cancels the work on the cluster, and removes the result."""
        state = self.state
        if state.count and not state.released and not self.cluster_ended():
            client = self.client()
            if state.futures:  # they belong to the user
                client.release(self.handle.token, state.count)
            else:
                client.cancel(self.handle.token, state.count, given=False)
        if state.result:
            self._drop_replaced()
            self.handle.backend.results.drop(self.handle.record.id, state.result)
