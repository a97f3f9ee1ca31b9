"""Jobs at one Dask scheduler, polled together."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from prefect_jobs import statuses
from prefect_jobs.errors import SchedulerConnectionError
from prefect_jobs.jobs.dask.engine import DaskEngine
from prefect_jobs.jobs.group import Group
from prefect_jobs.jobs.observation import Observation
from prefect_jobs.jobs.type_hooks import AnyJob
from prefect_jobs.schedulers.connections import forget_submission
from prefect_jobs.schedulers.dask.client import DaskClient
from prefect_jobs.schedulers.dask.connection import DaskError


class DaskGroup(Group):
    """Jobs at one Dask scheduler, or, without a block, on the clusters of the processes that submitted them."""

    def __init__(self) -> None:
        super().__init__()
        self._clients: list[DaskClient] = []

    def poll(self, jobs: Sequence[AnyJob], stop: Callable[[], bool] = bool) -> dict[int, Observation]:
        """As :meth:`Group.poll`: one call to each scheduler."""
        self._failed.clear()
        by_client: dict[DaskClient, list[tuple[AnyJob, DaskEngine]]] = {}
        others: list[AnyJob] = []
        for job in jobs:
            engine = job.engine
            if not isinstance(engine, DaskEngine) or job.polls_itself():
                others.append(job)
            elif engine.state.count:
                by_client.setdefault(engine.client(), []).append((job, engine))
        self._clients = list(by_client)
        found = self._each(others, stop)
        for client, ours in by_client.items():
            if stop():
                break
            try:
                answer = client.ask()
            except (SchedulerConnectionError, DaskError) as error:
                if len(by_client) == 1 and ours[0][0].handle.record.scheduler is not None:
                    raise SchedulerConnectionError(str(error)) from error
                # Each job knows whether the process with its cluster has ended.
                found.update(self._each([job for job, _ in ours], stop))
                continue
            going: list[DaskEngine] = []
            for _, engine in ours:
                handle = engine.handle
                news = found[handle.record.id] = engine.judge(answer.of(handle.token, engine.state.count))
                if not statuses.parse(news.status or statuses.RUNNING).kind.terminal:
                    going.append(engine)
            with suppress(SchedulerConnectionError):
                client.hold([(engine.handle.token, engine.state.count) for engine in going])
            for engine in going:
                engine.end()  # from now on the scheduler reports its end
        return found

    def forget(self, job: AnyJob) -> None:
        """As :meth:`Group.forget`: drops its futures, which keep its result on the cluster."""
        if job.handle.token:
            forget_submission(job.handle.token)

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """As :meth:`Group.wait`: schedulers report ends."""
        deadline = time.monotonic() + seconds
        while not stop.is_set() and (left := deadline - time.monotonic()) > 0:
            if len(self._clients) == 1:
                self._clients[0].ended.wait(min(left, 0.5))
            else:
                stop.wait(min(left, 0.2))
            ended = [client for client in self._clients if client.ended.is_set()]
            for client in ended:
                client.ended.clear()
            if ended:
                return
