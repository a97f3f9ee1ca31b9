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
from prefect_jobs.threads import in_thread

T = TypeVar("T")
log = logging.getLogger(__name__)

#: Seconds for which a scheduler block is used before it is read again. In the last of them it is read beside the calls,
#: so that those of a busy app wait for no read.
BLOCK_TTL, _LAST = 30.0, 5.0
#: Seconds that a call waits for a block that was read before; then it uses that.
_AGAIN = 1.0
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
        #: Block → when reading it beside the calls began (monotonic).
        self._reading: dict[str, float] = {}
        self._lock = threading.Lock()
        #: Until when Prefect is not asked for schedulers, since it did not answer (monotonic).
        self._unasked_until = 0.0

    def get(self, name: str) -> Any:
        """The saved block of that name. If it was read recently, or Prefect cannot be reached, no call is made.

        Raises:
            SchedulerConnectionError: Prefect cannot be reached, or has none of that name.
        """
        known = self._known(name)
        if known is not None:
            return known
        try:
            block = self.find(name)
        except SchedulerConnectionError:
            self._projector.impatient()
            raise
        self._keep(name, block)
        if block is None:
            raise SchedulerMissing(
                f"There is no scheduler {name!r} in Prefect. Save a block of that name, or delete the job."
            )
        return block

    def _known(self, name: str) -> Any:
        """The block that was read before; ``None``: it must be read, or there is none."""
        with self._lock:
            known = self._blocks.get(name)
        if known is None:
            return None
        age = time.monotonic() - known[0]
        if age < BLOCK_TTL:
            if age > BLOCK_TTL - _LAST:
                self._read_beside(name)
            return known[1]
        if not self._unasked:
            try:
                self._keep(name, found := self.find(name, patience=_AGAIN))
            except SchedulerConnectionError:
                self._silent()
            else:
                return found
        return known[1]  # the last one: schedulers can be reached without Prefect

    def _read_beside(self, name: str) -> None:
        """Reads a block, in a thread of its own: no call waits for it."""
        with self._lock:
            if self._unasked or time.monotonic() - self._reading.get(name, -UNASKED) < UNASKED:
                return
            self._reading[name] = time.monotonic()

        def read() -> None:
            try:
                self._keep(name, self.find(name))
            except SchedulerConnectionError:
                self._silent()

        in_thread(read, "prefect-jobs-block", daemon=True)

    def _keep(self, name: str, block: Any) -> None:
        with self._lock:
            if block is None:
                self._blocks.pop(name, None)
            else:
                self._blocks[name] = (time.monotonic(), block)

    @property
    def _unasked(self) -> bool:
        """Whether Prefect did not answer a moment ago, and is not asked now."""
        return self._projector.away is not None or time.monotonic() < self._unasked_until

    def _silent(self) -> None:
        self._unasked_until = time.monotonic() + UNASKED
        self._projector.impatient()

    def check(self, name: str, engine: str) -> None:
        """Checks that there is a scheduler of that name and engine. If it was read recently, no call is made; if
        Prefect cannot be reached, the check is left to the execution of a job.

        Raises:
            ValueError: there is none; the message names the existing ones.
            SchedulerEngineMismatch: it is of the other engine.
        """
        began = time.monotonic()
        block = self._known(name)
        if block is None:
            if self._unasked:
                return
            try:
                block = self.find(name, strict=True)
            except SchedulerConnectionError as error:
                log.info("The scheduler %r is checked later: %s", name, error)
                self._unasked_until = time.monotonic() + UNASKED
                return
            self._keep(name, block)
        if block is not None and block.engine == engine:
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

    def find(self, name: str, patience: float = PATIENCE, *, strict: bool = False) -> Any:
        """The saved block of that name, or ``None``.

        Raises:
            SchedulerConnectionError: Prefect cannot be reached within ``patience`` seconds.
        """

        def find() -> Any:
            from prefect_jobs.blocks import get_scheduler

            return get_scheduler(name, timeout=PATIENCE)

        return answered(find, patience, strict=strict)


def answered(call: Callable[[], T], patience: float = PATIENCE, *, strict: bool = False) -> T:
    """The answer of a call to Prefect; if its server answers, the time to load Prefect is added.

    Raises:
        SchedulerConnectionError: no answer within ``patience`` seconds.
    """
    try:
        return loading.answer(call, patience, strict=strict)
    except TimeoutError:
        raise SchedulerConnectionError(f"Prefect's API did not answer within {patience:g} s.") from None
