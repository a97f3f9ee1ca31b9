"""Work on a Dask cluster: polled, gathered, cancelled; :mod:`submitting` submits it."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from threading import Event
from typing import Any, ClassVar

import anyio
from anyio.to_thread import run_sync

from prefect_jobs import statuses
from prefect_jobs.errors import ResultUnavailable, SchedulerConnectionError
from prefect_jobs.jobs.dask import poll, results_many
from prefect_jobs.jobs.dask.state import encode
from prefect_jobs.jobs.dask.submitting import DaskSubmission
from prefect_jobs.jobs.observation import Fetched, Observation, OutputsNotFetched
from prefect_jobs.noted import REPLACED
from prefect_jobs.schedulers.connections import forget_submission
from prefect_jobs.schedulers.dask import values, work
from prefect_jobs.schedulers.dask.connection import DaskError
from prefect_jobs.transition import News, Source

log = logging.getLogger(__name__)

#: Kind of the blob with what the results function returned.
_RETURNED = "returned"
#: Seconds until the next poll if the work continues after the scheduler reported its end: a result was lost with its
#: worker, or another process fetches it.
_AGAIN = 0.2
#: Seconds between two checks of the flag in memory that is set when the scheduler reports the end.
_GLANCE = 0.1


class DaskEngine(DaskSubmission):
    """Delayed work, futures or collections on a cluster."""

    fetches_together: ClassVar[bool] = True
    refused: ClassVar[Mapping[str, str]] = {
        "pause": "Dask jobs cannot be paused: Dask has no way to hold work.",
        "resume": "Dask jobs cannot be resumed, since they cannot be paused.",
    }

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

    def stop(self) -> Observation:
        """Cancels the work. Nothing of it is left on the cluster."""
        self.client().cancel(self.handle.token, self.state.count, given=self.state.futures)
        return Observation(statuses.ABORTED, "Stopped.", encode(released=True))

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
            self.check_there(client.look(self.handle.token, state.count))
            result = self.put_together(client.gather(self.handle.token, state.done))
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

    def put_together(self, parts: Sequence[Any]) -> Any:
        """The results of the leaves that have one, in the structure of the submitted work."""
        known = dict(zip(self.state.done, parts, strict=True))
        missing = ResultUnavailable("This part of the work failed.")
        return work.put_together(self.state.shape, lambda number: known.get(number, missing))

    def check_there(self, found: Mapping[str, Any]) -> int:
        """Checks that the results are still on the cluster, by its answer; returns their bytes.

        Raises:
            DaskError: they are gone for good.
            SchedulerConnectionError: they are being computed again.
        """
        numbers = self.state.done
        if found["id"] != self.state.scheduler_id:
            raise DaskError(poll.FORGOTTEN)
        states = {str((found["leaves"][number] or {}).get("state", "forgotten")) for number in numbers}
        if "forgotten" in states:
            raise DaskError("It was cancelled on the cluster before its result was fetched. resubmit() runs it again.")
        if "erred" in states:
            raise DaskError("It was lost with its worker, computed again, and failed. resubmit() runs it again.")
        if states != {"memory"}:
            raise SchedulerConnectionError("A result was lost with its worker and is being computed again.")
        return sum(max(0, int(found["leaves"][number].get("bytes") or 0)) for number in numbers)

    @classmethod
    def fetch_many(cls, engines: Sequence["DaskEngine"]) -> Iterator[list[tuple[int, Fetched | Exception]]]:
        """As :meth:`Engine.fetch_many`: one call for each portion."""
        return results_many.fetched(engines)

    def fetched(self, parts: Sequence[Any]) -> Fetched:
        """What is kept of the results of the leaves.

        Raises:
            DaskError: they cannot be kept.
            OutputsNotFetched: there is no place for them now.
        """
        result = self.put_together(parts)
        # Only a results function needs it any more.
        given = result if self.handle.record.process_results_function is not None else None
        if self.forget:
            return Fetched(given)
        place, blobs = self.handle.backend.results.place(self.handle.record.id, values.result_to_bytes(result))
        return Fetched(given, encode(result=place), blobs=blobs)

    @classmethod
    def release_many(cls, engines: Sequence["DaskEngine"]) -> None:
        """As :meth:`Engine.release_many`: one call to each scheduler, and one commit."""
        for engine in engines:
            engine.drop_replaced()
        results_many.release(engines)

    def release(self) -> None:
        """Makes the cluster forget the work, after its result is kept and the results function has returned."""
        self.drop_replaced()
        try:
            self.client().release(self.handle.token, self.state.count)
        except SchedulerConnectionError as error:
            log.warning("What is left of %s on the cluster could not be released: %s", self.handle.title, error)
            return
        if not self.given_up:
            self.handle.apply(None, native=encode(released=True))

    @property
    def given_up(self) -> bool:
        """Whether futures of a user have failed, which :meth:`retried` computes again."""
        return self.state.futures and self.handle.status.text == statuses.ERROR

    def drop_replaced(self) -> None:
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
            self.drop_replaced()
            self.handle.backend.results.drop(self.handle.record.id, state.result)
