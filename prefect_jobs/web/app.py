"""The routes to mount, and a Starlette application with them."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route

from prefect_jobs import callbacks
from prefect_jobs.app import App
from prefect_jobs.runtime.wiring import get_runtime
from prefect_jobs.web.status_callback import StatusCallback

#: Decides who sees more than their own jobs.
Permission = Callable[..., Any]


def routes(*apps: type[App], permission: Permission | None = None, allow_anonymous: bool = False) -> list[BaseRoute]:
    """The routes of prefect-jobs, for a Starlette or FastAPI app: ``Mount("/jobs", routes=routes(MyApp))``.

    There is one endpoint: ``GET`` or ``POST`` of ``/update-job-status/<job_id>/`` refreshes the job's status from its
    scheduler, now or in ``?delay=`` seconds (0 to 86,400, fractions allowed; stored in the database, so that it
    survives restarts). It answers

    - 200 ``{"success": true}`` after the refresh, ``{"success": "scheduled"}`` for a delayed one;
    - 400 with ``"error"`` if the delay is not such a number;
    - 403 if the setting ``CALLBACK_SECRET`` is set and ``?token=`` is not the signature of this URL;
    - 404 if ``apps`` have no such job;
    - 502 if the scheduler does not answer, or the update fails;

    the last three with ``{"success": false}`` and nothing else. It needs no login: it can refresh a status, and
    neither sets nor shows one. Calls for the same job within a second share one answer. The first request starts the
    thread that runs delayed checks.

    Args:
        *apps: the apps whose jobs are served; jobs of other apps are 404.
        permission: reserved for pages that show jobs; the callback ignores it.
        allow_anonymous: the same.

    Raises:
        ValueError: an app has no valid ``package``.
    """
    callback = StatusCallback(frozenset(app.check_package() for app in apps))
    path = "/" + callbacks.path("{job_id}")
    found = [
        Route(path, callback.answer, methods=["GET", "POST"], name=callbacks.ROUTE),
        # A redirect to the slash would turn a POST into a GET, or lose it.
        Route(path.rstrip("/"), callback.answer, methods=["GET", "POST"], name=f"{callbacks.ROUTE}_bare"),
    ]
    for route in found:
        (route.methods or set()).discard("HEAD")  # Starlette adds it to GET, but HEAD requests no refresh
    return list(found)


def create_app(
    *apps: type[App],
    middleware: Sequence[Middleware] = (),
    permission: Permission | None = None,
    allow_anonymous: bool = False,
) -> Starlette:
    """A whole Starlette app with the :func:`routes`; its process runs delayed checks.

    If you mount it in another app, the lifespan of that app applies, and the first request starts delayed checks.

    Args:
        *apps: as for :func:`routes`.
        middleware: Starlette's, outermost first, such as authentication.
        permission: as for :func:`routes`.
        allow_anonymous: as for :func:`routes`.

    Raises:
        ValueError: an app has no valid ``package``.
    """
    return Starlette(
        routes=routes(*apps, permission=permission, allow_anonymous=allow_anonymous),
        middleware=list(middleware),
        lifespan=_lifespan,
    )


@asynccontextmanager
async def _lifespan(_app: Starlette) -> AsyncIterator[None]:
    runtime = await run_sync(get_runtime)
    runtime.checker.start()
    try:
        yield
    finally:
        await run_sync(runtime.checker.close)
