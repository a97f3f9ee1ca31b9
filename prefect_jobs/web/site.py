"""The web part of one app: its rules, and how each request is answered."""

import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from anyio.to_thread import run_sync
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prefect_jobs.acting import acting
from prefect_jobs.errors import PrefectJobsError
from prefect_jobs.web.problems import Problem, of_error
from prefect_jobs.web.templates import render
from prefect_jobs.web.visits import COOKIE, SCOPE, Rules, Visit, Visitor, visitor_of

log = logging.getLogger(__name__)

#: Characters of a query: a page repeats it in its links. A table in an app's page is a part of one.
_LONGEST = 20_000
#: Name of the route of the page of all jobs.
PAGE = "prefect_jobs_page"
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "frame-src http: https:; form-action 'self'; frame-ancestors 'self'; base-uri 'none'"
    ),
}
#: The request that is answered, for tables in the pages of a host app.
current: ContextVar[Request | None] = ContextVar("prefect_jobs_request", default=None)

Handler = Callable[[Visit], Awaitable[Response]]


@dataclass
class Site:
    """What the routes of one call of ``routes()`` share."""

    rules: Rules
    #: Tables whose custom actions are known by their labels.
    tables: Sequence[Any] = ()

    async def visit(self, request: Request) -> Visit:
        """A request with what it may see.

        Raises:
            Problem: the visitor must sign in.
        """
        return Visit(request, self.rules, await run_sync(visitor_of, request, self.rules))

    def endpoint(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint of a handler: it knows the visitor, and answers errors as pages or problem+json."""

        async def answer(request: Request) -> Response:
            try:
                if len(request.url.query) > _LONGEST:
                    raise Problem(414, f"The address has more than {_LONGEST} characters.")
                visit = await self.visit(request)
                with acting(visit.visitor.name):
                    response = await handler(visit)
            except Problem as problem:
                response = await _refusal(request, problem)
            except PrefectJobsError as error:
                log.warning("%s %s: %s", request.method, request.url.path, error)
                response = await _refusal(request, of_error(error))
            for name, value in _HEADERS.items():
                response.headers.setdefault(name, value)
            _set_cookie(request, response.headers)
            return response

        answer.site = self  # type: ignore[attr-defined]
        return answer


def wants_json(request: Request) -> bool:
    """Whether a program has sent the request, not a form or a link."""
    path = str(request.scope["path"]).removeprefix(request.scope.get("root_path", ""))
    return path.startswith("/api/") or "application/json" in request.headers.get("accept", "")


async def _refusal(request: Request, problem: Problem) -> Response:
    if wants_json(request):
        return JSONResponse(problem.as_json(), problem.status, media_type="application/problem+json")
    return await render(
        "problem.html", Visit(request, Rules(None), Visitor("")), status=problem.status, problem=problem
    )


def _set_cookie(request: Request, headers: MutableHeaders) -> None:
    """Gives a visitor who is not signed in a session of their own."""
    visitor = request.scope.get(SCOPE)
    if visitor is None or visitor.cookie is None or visitor.cookie == request.scope.get(f"{SCOPE}.sent"):
        return
    kept = headers.get("cache-control", "").lower()
    if kept and "private" not in kept and "no-store" not in kept:
        return  # a cache would give the session to everyone
    headers.setdefault("Cache-Control", "private")
    request.scope[f"{SCOPE}.sent"] = visitor.cookie
    secure = "; Secure" if request.url.scheme == "https" else ""
    headers.append("Set-Cookie", f"{COOKIE}={visitor.cookie}; Path=/; Max-Age=7776000; HttpOnly; SameSite=Lax{secure}")


class JobsMiddleware:
    """For the pages of a host app that show a :class:`prefect_jobs.web.JobsTable`: ``{{ table }}`` knows the request,
    and a visitor who is not signed in has a session, ``request.user`` included."""

    def __init__(self, app: ASGIApp, *, allow_anonymous: bool = False) -> None:
        """
        Args:
            app: the app that is wrapped.
            allow_anonymous: as for :func:`prefect_jobs.web.routes`.
        """
        self.app = app
        self._rules = Rules(None, allow_anonymous=allow_anonymous)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        with suppress(Problem):  # the routes say so; other pages may be for everyone
            await run_sync(visitor_of, request, self._rules)

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                _set_cookie(request, MutableHeaders(scope=message))
            await send(message)

        token = current.set(request)
        try:
            await self.app(scope, receive, sent)
        finally:
            current.reset(token)


def site_of(request: Request, labels: Collection[str]) -> tuple[Site, str] | None:
    """The web part in the app that answers a request, and the path at which it is mounted; ``None``: there is none.

    Args:
        request: the request.
        labels: of the apps whose jobs it has.
    """
    scope = request.scope
    outermost = scope.get("router") or scope.get("app")
    root = str(scope.get("app_root_path", scope.get("root_path", ""))).rstrip("/")
    for path, site in _sites(getattr(outermost, "routes", ())):
        if site.rules.labels is None or site.rules.labels.issuperset(labels):
            return site, root + path
    return None


def _sites(routes: Sequence[BaseRoute], prefix: str = "") -> Iterator[tuple[str, Site]]:
    """The web parts below some routes, with their paths. By these: names of routes need not be unique."""
    for route in routes:
        path = str(getattr(route, "path", ""))
        site = getattr(getattr(route, "endpoint", None), "site", None)
        if getattr(route, "name", None) == PAGE and isinstance(site, Site):
            yield prefix + path, site
        inner = getattr(route, "routes", None)
        if inner:
            yield from _sites(inner, prefix + path.rstrip("/"))
