"""The jobs that an address asks for, with their numbers: for the page and for the API."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from anyio.to_thread import run_sync

from prefect_jobs.jobs.base import Job
from prefect_jobs.runtime.wiring import get_runtime
from prefect_jobs.web.queries import Wanted
from prefect_jobs.web.visits import Visit


@dataclass(frozen=True)
class Listing:
    """A page of jobs."""

    jobs: list[Job]
    #: The number of all jobs that match.
    count: int
    #: Status → number of jobs, whatever status the address asks for.
    totals: Mapping[str, int]


async def read(visit: Visit, wanted: Wanted) -> Listing:
    """The jobs that the visitor may see and that are asked for."""
    query = await visit.query(**wanted.as_query(), order_by=wanted.order_by, limit=wanted.limit, offset=wanted.offset)
    everything = await visit.query(**wanted.as_query(without="status"))

    def find() -> Listing:
        runtime = get_runtime()
        records = runtime.store.find(query)
        totals = runtime.store.totals(everything)
        same = query.required == everything.required
        count = sum(totals.values()) if same else runtime.store.count(query)
        return Listing([runtime.job(record) for record in records], count, totals)

    return await run_sync(find)


async def all_ids(visit: Visit, wanted: Wanted, most: int) -> list[int]:
    """The ids of all jobs that are asked for, for an action on all that match; one more than ``most``, if there are."""
    query = await visit.query(**wanted.as_query())
    records = await run_sync(get_runtime().store.find, replace(query, limit=most + 1))
    return [record.id for record in records]
