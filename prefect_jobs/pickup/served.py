"""The deployments whose runs become jobs, and the job type of each."""

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from prefect_jobs.jobs import registry
from prefect_jobs.jobs.base import Job
from prefect_jobs.projection.offers import DeploymentSeen
from prefect_jobs.projection.prefect_api import PrefectApi, RunGone
from prefect_jobs.records import ScheduleRecord
from prefect_jobs.store import Store

log = logging.getLogger(__name__)

#: Seconds until a deployment is read again: people may have changed it.
_TTL = 30.0


@dataclass(frozen=True)
class Served:
    """A deployment whose runs become jobs."""

    id: str
    #: The flow, ``module:function``.
    entrypoint: str
    type_name: str
    cls: type[Job]
    #: Its work pool.
    pool: str | None = None
    #: The job variables of its work pool and its own.
    variables: Mapping[str, Any] = field(default_factory=dict)
    #: Whether it has a concurrency limit.
    limited: bool = False


class Deployments:
    """The deployments of one database. For one thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        #: Deployment → when it was read (monotonic), and what it is; ``None``: its runs do not become jobs here.
        self._known: dict[str, tuple[float, Served | None]] = {}
        self._unknown: set[str] = set()
        #: Flows of types that could not be loaded here: other processes may be able to.
        self._broken: set[str] = set()

    def served(self, api: PrefectApi) -> dict[str, Served]:
        """Those of this database without a work pool; the runs of the others belong to the workers of their pools."""
        found = self.find(api, self._store.deployments())
        return {name: served for name, served in found.items() if served.pool is None}

    def find(self, api: PrefectApi, ids: Iterable[str]) -> dict[str, Served]:
        """Those of the deployments whose runs become jobs, by id."""
        wanted, now = list(ids), time.monotonic()
        old = [each for each in wanted if each not in self._known or now - self._known[each][0] > _TTL]
        if old:
            pools: dict[str, Mapping[str, Any]] = {}
            read = {seen.id: seen for seen in api.deployments(old)}
            for each in old:
                seen = read.get(each)
                self._known[each] = (now, None if seen is None else self._served(api, seen, pools))
        known = {each: self._known[each][1] for each in wanted}
        return {each: served for each, served in known.items() if served is not None}

    def _served(self, api: PrefectApi, seen: DeploymentSeen, pools: dict[str, Mapping[str, Any]]) -> Served | None:
        """A deployment with its type; ``None`` if this process knows no type with that flow, which is logged once."""
        try:
            found = _type_of(seen.entrypoint, self.schedule(seen.id))
        except Exception as error:  # importing a user's module may raise anything
            found, why = None, f"cannot be loaded: {error}"
            self._broken.add(seen.id)
        else:
            self._broken.discard(seen.id)
            why = "is not that of a job type that this process knows"
        if found is None:
            if seen.entrypoint not in self._unknown:
                self._unknown.add(seen.entrypoint)
                log.warning("No jobs are made of runs of the flow %s here: it %s", seen.entrypoint, why)
            return None
        variables = dict(seen.job_variables)
        if seen.pool is not None:
            if seen.pool not in pools:
                pools[seen.pool] = _defaults(api, seen.pool)
            variables = {**pools[seen.pool], **variables}
        return Served(seen.id, seen.entrypoint, *found, pool=seen.pool, variables=variables, limited=seen.limited)

    def is_broken(self, deployment_id: str) -> bool:
        """Whether the job type of a deployment could not be loaded here."""
        return deployment_id in self._broken

    def schedule(self, deployment_id: str) -> ScheduleRecord | None:
        """The schedule that has a deployment."""
        return self._store.schedule_of(deployment_id)


def _defaults(api: PrefectApi, pool: str) -> dict[str, Any]:
    """The job variables that a work pool sets."""
    try:
        return api.pool_variables(pool)
    except RunGone:  # deleted at this moment
        return {}


def _type_of(entrypoint: str, schedule: ScheduleRecord | None) -> tuple[str, type[Job]] | None:
    if schedule is not None:
        cls = registry.load(schedule.type)
        return None if cls is None else (schedule.type, cls)
    for cls in registry.known_types():
        if registry.has_own_flow(cls) and cls.flow_entrypoint == entrypoint:
            return registry.name_of(cls), cls
    return None
