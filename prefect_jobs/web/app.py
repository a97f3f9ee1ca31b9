"""What apps mount: the routes, and an application made of them."""

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

#: Grants people more than their own jobs.
Permission = Callable[..., Any]


def routes(*apps: type[App], permission: Permission | None = None, allow_anonymous: bool = False) -> list[BaseRoute]:
    """The routes of prefect-jobs, for a Starlette or FastAPI app: ``Mount("/jobs", routes=routes(MyApp))``.

    There is one endpoint: ``GET`` or ``POST`` of ``/update-job-status/<job_id>/`` has the job's status asked from its
    scheduler, now or in ``?delay=`` seconds (0 to 86,400, fractions allowed; rows in the database, which survive
    restarts). It answers

    - 200 ``{"success": true}`` when the scheduler was asked, ``{"success": "scheduled"}`` when it will be;
    - 400 with ``"error"`` where the delay is no such number;
    - 403 where the setting ``CALLBACK_SECRET`` is given and ``?token=`` is not this URL's signature;
    - 404 where there is no such job of ``apps``;
    - 502 where the scheduler does not answer, or the update failed otherwise;

    the last three with ``{"success": false}`` and nothing else. It needs no user: all that it can do is to make us
    look. Calls for the same job within a second share one answer. The first request starts the thread that runs
    delayed checks.

    Args:
        *apps: the apps whose jobs are served; other apps' jobs do not exist here.
        permission: for pages that show jobs, of which there are none yet; the callback does not ask it.
        allow_anonymous: the same.

    Raises:
        ValueError: an app has no valid ``package``.
    """
    callback = StatusCallback(frozenset(app.check_package() for app in apps))
    path = "/" + callbacks.path("{job_id}")
    found = [
        Route(path, callback.answer, methods=["GET", "POST"], name=callbacks.ROUTE),
        # A POST that were redirected to the slash might arrive as a GET, or not at all.
        Route(path.rstrip("/"), callback.answer, methods=["GET", "POST"], name=f"{callbacks.ROUTE}_bare"),
    ]
    for route in found:
        (route.methods or set()).discard("HEAD")  # Starlette adds it to GET; who sends it does not mean "look"
    return list(found)


def create_app(
    *apps: type[App],
    middleware: Sequence[Middleware] = (),
    permission: Permission | None = None,
    allow_anonymous: bool = False,
) -> Starlette:
    """A whole Starlette app with the :func:`routes`; while it runs, delayed checks are done in its process.

    Mounted into another app, whose lifespan counts then, it starts them with its first request.

    Args:
        *apps: as for :func:`routes`.
        middleware: Starlette's, outermost first; authentication, for one.
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
