"""The schedulers that are saved in Prefect as blocks, and that jobs name."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from prefect_jobs.errors import SchedulerConnectionError, SchedulerEngineMismatch, SchedulerMissing
from prefect_jobs.projection import loading
from prefect_jobs.projection.loading import PATIENCE
from prefect_jobs.projection.projector import Projector

T = TypeVar("T")
log = logging.getLogger(__name__)

#: Seconds for which a scheduler block is not read again.
BLOCK_TTL = 30.0
#: Seconds for which Prefect is not asked again for a scheduler after it did not answer.
UNASKED = 10.0


class Lookup:
    """Reads scheduler blocks, and keeps them for a moment."""

    def __init__(self, projector: Projector) -> None:
        """
        Args:
            projector: knows whether Prefect cannot be reached.
        """
        self._projector = projector
        self._blocks: dict[str, tuple[float, Any]] = {}
        self._lock = threading.Lock()
        #: Until when Prefect is not asked for schedulers, since it did not answer (monotonic).
        self._unasked_until = 0.0

    def get(self, name: str) -> Any:
        """The saved block of that name. If it was read recently, or Prefect cannot be reached, no call is made.

        Raises:
            SchedulerConnectionError: Prefect cannot be reached, or has none of that name.
        """
        with self._lock:
            known = self._blocks.get(name)
        if known is not None and time.monotonic() - known[0] < BLOCK_TTL:
            return known[1]
        try:
            block = self.find(name)
        except SchedulerConnectionError:
            self._projector.impatient()
            if known is None:
                raise
            block = known[1]  # the last one: HTCondor can be reached without Prefect
        if block is None:
            raise SchedulerMissing(
                f"There is no scheduler {name!r} in Prefect. Save a block of that name, or delete the job."
            )
        with self._lock:
            self._blocks[name] = (time.monotonic(), block)
        return block

    def check(self, name: str, engine: str) -> None:
        """Checks that there is a scheduler of that name and engine. If it was read recently, no call is made; if
        Prefect cannot be reached, the check is left to the execution of a job.

        Raises:
            ValueError: there is none; the message names the existing ones.
            SchedulerEngineMismatch: it is of the other engine.
        """
        began = time.monotonic()
        with self._lock:
            known = self._blocks.get(name)
        if known is None or began - known[0] >= BLOCK_TTL:
            if self._projector.away is not None or began < self._unasked_until:
                return
            try:
                known = (time.monotonic(), self.find(name, strict=True))
            except SchedulerConnectionError as error:
                log.info("The scheduler %r is checked later: %s", name, error)
                self._unasked_until = time.monotonic() + UNASKED
                return
        block = known[1]
        if block is not None and block.engine == engine:
            with self._lock:
                self._blocks[name] = known
            return
        others = self._names(engine, PATIENCE - (time.monotonic() - began))
        if block is None:
            raise ValueError(f"There is no scheduler {name!r}. {others}")
        raise SchedulerEngineMismatch(
            f"The scheduler {name!r} is a {block.engine} one; this job needs {engine}. {others}"
        )

    @staticmethod
    def _names(engine: str, patience: float) -> str:
        """A sentence that names the schedulers of an engine."""

        def find() -> list[str]:
            from prefect_jobs.blocks import list_schedulers

            return [str(block.name) for block in list_schedulers(timeout=patience) if block.engine == engine]

        try:
            names = answered(find, max(patience, 0.1), strict=True)
        except SchedulerConnectionError:
            return "List them: prefect-jobs schedulers"
        kind = {"htcondor": "HTCondor", "dask": "Dask"}[engine]
        if names:
            return f"Those for {kind} are: {', '.join(map(repr, names))}."
        return f"There is none for {kind}: save one with create_scheduler(…).save(), or in the Prefect UI."

    def find(self, name: str, *, strict: bool = False) -> Any:
        """The saved block of that name, or ``None``.

        Raises:
            SchedulerConnectionError: Prefect cannot be reached within 3 s.
        """

        def find() -> Any:
            from prefect_jobs.blocks import get_scheduler

            return get_scheduler(name, timeout=PATIENCE)

        return answered(find, strict=strict)


def answered(call: Callable[[], T], patience: float = PATIENCE, *, strict: bool = False) -> T:
    """The answer of a call to Prefect; if its server answers, the time to load Prefect is added.

    Raises:
        SchedulerConnectionError: no answer within ``patience`` seconds.
    """
    try:
        return loading.answer(call, patience, strict=strict)
    except TimeoutError:
        raise SchedulerConnectionError(f"Prefect's API did not answer within {patience:g} s.") from None
