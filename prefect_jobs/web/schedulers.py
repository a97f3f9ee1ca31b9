"""The schedulers, read-only: where they are, and which jobs they have. None of them is asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from anyio.to_thread import run_sync
from starlette.responses import JSONResponse, Response

from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.runtime.wiring import get_runtime
from prefect_jobs.web.logs import threads
from prefect_jobs.web.templates import render
from prefect_jobs.web.visits import Visit

#: Seconds for which Prefect, which keeps the blocks, is waited for.
_PATIENCE = 3.0


@dataclass(frozen=True)
class Shown:
    """A scheduler."""

    name: str
    engine: str
    address: str
    #: Status → number of the jobs that the visitor may see.
    jobs: dict[str, int]


def _blocks() -> list[Any]:
    from prefect_jobs.blocks import list_schedulers

    return list(list_schedulers(timeout=_PATIENCE))


async def _read(visit: Visit) -> tuple[Sequence[Shown], str]:
    try:
        blocks = await run_sync(_blocks, limiter=threads())
    except PrefectJobsError as error:
        return (), f"The schedulers cannot be read: {error}"
    found = []
    for block in sorted(blocks, key=lambda each: str(each.name)):
        query = await visit.query(required=[{"scheduler": str(block.name).replace("_", "-")}])
        jobs = await run_sync(get_runtime().store.totals, query)
        port = getattr(block, "port", None)
        found.append(Shown(block.name, type(block).__name__, f"{block.host}:{port}" if port else block.host, jobs))
    return found, ""


async def page(visit: Visit) -> Response:
    """``GET /schedulers/``."""
    found, problem = await _read(visit)
    return await render("schedulers.html", visit, schedulers=found, problem=problem)


async def as_json(visit: Visit) -> Response:
    """``GET /api/schedulers``."""
    found, problem = await _read(visit)
    data = [{"name": each.name, "engine": each.engine, "address": each.address, "jobs": each.jobs} for each in found]
    return JSONResponse({"schedulers": data, "problem": problem})
