"""Metrics of a monitor, for Prometheus."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from prefect_jobs.local.processes import LOOPBACK


class Metrics:
    """The metrics, in their own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._jobs = Gauge(
            "prefect_jobs_jobs", "Jobs that are not over, by status.", ["status"], registry=self.registry
        )
        self._duration = Histogram(
            "prefect_jobs_poll_seconds", "Time that a poll took.", ["scheduler"], registry=self.registry
        )
        self._cpu = Histogram(
            "prefect_jobs_poll_cpu_seconds", "CPU time that a poll took.", ["scheduler"], registry=self.registry
        )
        self._up = Gauge(
            "prefect_jobs_scheduler_up", "Whether the scheduler answers.", ["scheduler"], registry=self.registry
        )
        self._answered = Gauge(
            "prefect_jobs_answered_timestamp_seconds",
            "When the scheduler answered last, in seconds since 1970. The lag is the time since then.",
            ["scheduler"],
            registry=self.registry,
        )
        self._reading = Gauge(
            "prefect_jobs_scheduler_catching_up",
            "Whether the scheduler was not asked yet for each job that a monitor has found, as after its start.",
            ["scheduler"],
            registry=self.registry,
        )
        self._backlog = Gauge(
            "prefect_jobs_projection_backlog", "Jobs that are behind in Prefect.", registry=self.registry
        )
        self._removed = Counter(
            "prefect_jobs_removed", "Jobs that were removed since they had been over for long.", registry=self.registry
        )
        self._prefect = Gauge("prefect_jobs_prefect_up", "Whether Prefect's API answers.", registry=self.registry)

    def serve(self, port: int, host: str = LOOPBACK) -> Any:
        """Serves the metrics at a port; the returned server has ``shutdown()``.

        Raises:
            OSError: the port is in use.
        """
        server, _ = start_http_server(port, host, registry=self.registry)
        return server

    def polled(self, scheduler: str, seconds: float, cpu: float) -> None:
        """Notes a poll."""
        self._duration.labels(scheduler).observe(seconds)
        self._cpu.labels(scheduler).observe(cpu)

    def up(self, scheduler: str, up: bool, catching_up: bool = False) -> None:
        """Notes whether a scheduler answered, and whether it was not asked yet for each job."""
        self._up.labels(scheduler).set(1 if up else 0)
        if up:
            self._answered.labels(scheduler).set_to_current_time()
            self._reading.labels(scheduler).set(1 if catching_up else 0)

    def removed(self, number: int) -> None:
        """Notes that jobs were removed since they had been over for long."""
        self._removed.inc(number)

    def left(self, scheduler: str) -> None:
        """Removes a scheduler that another monitor watches now."""
        for gauge in (self._up, self._answered, self._reading):
            with suppress(KeyError):
                gauge.remove(scheduler)

    def counted(self, jobs: Mapping[str, int], backlog: int, prefect: bool) -> None:
        """Notes the number of jobs by status, and how far Prefect is behind."""
        self._jobs.clear()
        for status, number in jobs.items():
            self._jobs.labels(status).set(number)
        self._backlog.set(backlog)
        self._prefect.set(1 if prefect else 0)
