"""Work that is given to a Dask cluster: one or many at once, with the graph to submit it again, and found again."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from prefect_jobs.errors import DatabaseError, SchedulerConnectionError, SchedulerEngineMismatch
from prefect_jobs.jobs.dask.state import DaskState, Local, Values, encode
from prefect_jobs.jobs.engine import Engine
from prefect_jobs.jobs.observation import Submitted, TransientSubmissionError
from prefect_jobs.records import Change
from prefect_jobs.schedulers.connections import dask_client
from prefect_jobs.schedulers.dask import connection, values, work
from prefect_jobs.schedulers.dask.client import Accepted, DaskClient
from prefect_jobs.schedulers.dask.connection import DaskAccess

#: Kind of the blob with the work, for submitting it again.
GRAPH = "graph"
#: A larger graph is not kept, so the job cannot be submitted again by itself.
GRAPH_LIMIT = 10 * 1024 * 1024
_MAX_ID = 255


@dataclass(frozen=True)
class Prepared:
    """Work before it is submitted."""

    #: As the user gave it.
    given: Any
    taken: work.Work
    kept: values.KeptWork

    @classmethod
    def of(cls, given: Any) -> "Prepared":
        """
        Raises:
            ValueError: it is not Dask's.
        """
        taken = work.take_apart(given)
        return cls(given, taken, values.work_to_bytes(taken, GRAPH_LIMIT))

    @property
    def change(self) -> Change:
        """The graph as bytes, and the log line that says why it is not kept."""
        problem = self.kept.problem
        text = f"Its work is not kept, so resubmit() cannot run it again: {problem}."
        return Change(messages=() if problem is None else ((logging.WARNING, text),), blobs={GRAPH: self.kept.data})


class DaskSubmission(Engine):
    """The submission of work to a cluster."""

    takes: ClassVar[int] = 1
    _prepared: Prepared | None = None

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

    def prepare(self, *args: Any, **kwargs: Any) -> None:
        """Takes the work apart, and makes the bytes with which it can be submitted again."""
        self._prepared = None
        with suppress(TypeError, ValueError):  # a type's own hook makes work of its arguments: submit() gets that
            self._prepared = Prepared.of(*args, **kwargs)

    def unprepare(self) -> None:
        """Drops the work."""
        self._prepared = None

    def beside_intent(self) -> Change:
        """The graph: from the moment of the intent on, the work may be at the scheduler."""
        return Change() if self._prepared is None else self._prepared.change

    def take_prepared(self) -> Prepared | None:
        """The work that :meth:`prepare` has prepared; it is dropped here."""
        prepared, self._prepared = self._prepared, None
        return prepared

    def submit(self, given: Any) -> Submitted:
        """Submits work. Its graph is kept already, so that it can be submitted again."""
        prepared = self.take_prepared()
        if prepared is None or prepared.given is not given:
            prepared = Prepared.of(given)  # a hook of the type has made it
            change = prepared.change
            self.handle.update(lambda _: change)
        return self.send(prepared.taken)

    def send(self, taken: work.Work) -> Submitted:
        """Submits work."""
        client = self.client()
        (answer,) = client.submit([(taken.leaves, self.handle.token)])
        return self.sent(client, taken, answer)

    @classmethod
    def submit_many(cls, engines: Sequence["DaskSubmission"]) -> list[Submitted | Exception]:
        """Submits the work of each scheduler together."""
        answers: dict[int, Submitted | Exception] = {}
        by_client: dict[DaskClient, list[tuple[int, work.Work]]] = {}
        for number, engine in enumerate(engines):
            try:
                prepared = engine.take_prepared()
                if prepared is None:
                    raise ValueError("There is no work to submit.")
                by_client.setdefault(engine.client(), []).append((number, prepared.taken))
            except DatabaseError:
                raise
            except Exception as error:  # of this one job
                answers[number] = error
        for client, items in by_client.items():
            away: Exception | None = None
            works = [(taken.leaves, engines[number].handle.token) for number, taken in items]
            try:
                found = client.submit(works)
            except SchedulerConnectionError as error:
                found, away = [error] * len(items), error
            for (number, taken), answer in zip(items, found, strict=True):
                try:
                    if away is not None and isinstance(answer, SchedulerConnectionError):
                        raise away  # asked once, not for each
                    answers[number] = engines[number].sent(client, taken, answer)
                except DatabaseError:
                    raise
                except SchedulerConnectionError as error:
                    answers[number] = away = error
                except Exception as error:  # of this one job
                    answers[number] = error
        return [answers[number] for number in range(len(engines))]

    def sent(self, client: DaskClient, taken: work.Work, answer: Accepted | Exception) -> Submitted:
        """What is noted of a scheduler's answer.

        Raises:
            TransientSubmissionError: nothing was submitted; trying again may help.
            Exception: the scheduler refuses it.
        """
        if isinstance(answer, SchedulerConnectionError):
            # Only the answer may be lost: the token finds the work.
            found = self.find()
            if found is not None:
                return found
            raise TransientSubmissionError(str(answer)) from answer
        if isinstance(answer, Exception):
            raise answer
        native = encode(
            keys=answer.keys,
            shape=taken.shape,
            scheduler_id=answer.scheduler_id,
            in_queue=True,
            futures=work.has_futures(taken),
        )
        native.update(self._place(client))
        return Submitted(answer.keys[0][:_MAX_ID], native, f"Submitted to {client.access.title}")

    def _place(self, client: DaskClient) -> dict[str, Any]:
        """The values that locate the work: other processes find the cluster of this process by its address."""
        name = self.handle.record.scheduler
        block = None if name is None else self.site.scheduler(name)
        found: Values = {"dashboard": getattr(block, "dashboard", None) or client.dashboard}
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
