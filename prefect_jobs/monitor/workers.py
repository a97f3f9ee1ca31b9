"""A few threads that run calls. Unlike those of an executor, they are not waited for when the program ends."""

import logging
import queue
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Workers:
    """Daemon threads and a queue."""

    def __init__(self, count: int, name: str, at_end: Callable[[], None] | None = None) -> None:
        """
        Args:
            count: number of threads.
            name: name of the threads.
            at_end: called in each thread before it ends.
        """
        self._at_end = at_end
        self._calls: queue.SimpleQueue[tuple[Callable[..., None], tuple[object, ...]] | None] = queue.SimpleQueue()
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, call: Callable[..., None], *args: object) -> None:
        """Runs a call, as soon as a thread is free."""
        self._calls.put((call, args))

    def stop(self) -> None:
        """Ends each thread after its present call; waiting calls are dropped."""
        self._stopped = True
        for _ in self._threads:
            self._calls.put(None)

    def _run(self) -> None:
        while (item := self._calls.get()) is not None and not self._stopped:
            call, args = item
            try:
                call(*args)
            except Exception:
                log.exception("A call failed")
        if self._at_end is not None:
            self._at_end()
