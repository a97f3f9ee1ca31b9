"""What is measured of this process: how long calls take, CPU time, and requests to Prefect."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import httpx
import psutil


@contextmanager
def timed(owner: Any, name: str) -> Iterator[list[float]]:
    """Seconds of each call of ``owner.name`` while the context lasts."""
    found: list[float] = []
    wrapped = getattr(owner, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return wrapped(*args, **kwargs)
        finally:
            found.append(time.perf_counter() - began)

    with patch.object(owner, name, call):
        yield found


@contextmanager
def requests() -> Iterator["Counter[str]"]:
    """The HTTP requests of this process while the context lasts, by method and the kind of what they are about."""
    found: Counter[str] = Counter()
    send = httpx.HTTPTransport.handle_request

    def handle(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        parts = request.url.path.removeprefix("/api/").strip("/").split("/")
        found[" ".join([request.method, parts[0], *(["set_state"] if parts[-1] == "set_state" else [])])] += 1
        return send(self, request)

    with patch.object(httpx.HTTPTransport, "handle_request", handle):
        yield found


@dataclass(frozen=True)
class Cpu:
    """Seconds of CPU."""

    #: Of this process without the thread that shows jobs in Prefect.
    own: float
    #: Of that thread.
    showing: float
    #: Of the helper processes, in which HTCondor's bindings are.
    helpers: float

    @classmethod
    def now(cls) -> "Cpu":
        """Up to now."""
        projector = next((item for item in threading.enumerate() if item.name == "prefect-jobs-projector"), None)
        ident = projector.ident if projector else None
        showing = time.clock_gettime(time.pthread_getcpuclockid(ident)) if ident is not None else 0.0
        helpers = [child.cpu_times() for child in psutil.Process().children()]
        return cls(time.process_time() - showing, showing, sum(times.user + times.system for times in helpers))

    def __sub__(self, other: "Cpu") -> "Cpu":
        return Cpu(self.own - other.own, self.showing - other.showing, self.helpers - other.helpers)
