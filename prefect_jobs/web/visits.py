"""A request, and who has sent it."""

import inspect
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from anyio.to_thread import run_sync
from starlette.requests import Request

from prefect_jobs.naming import number_of
from prefect_jobs.people import user_name
from prefect_jobs.runtime.wiring import get_runtime
from prefect_jobs.store.filters import JobQuery
from prefect_jobs.web import signing
from prefect_jobs.web.problems import Problem, no_job

#: Decides who sees more than their own jobs: ``permission(request, action, job)``.
Permission = Callable[..., Any]
#: The cookie of a visitor who is not signed in, and for how many seconds it is valid.
COOKIE, _SESSION = "prefect_jobs_visitor", 90 * 86_400.0
#: Seconds for which a token of a form is valid.
_FORM = 86_400.0
#: Where a visit is kept in the scope of a request.
SCOPE = "prefect_jobs.visitor"


@dataclass(frozen=True)
class Rules:
    """Whose jobs are shown to whom."""

    #: Packages of the apps; ``None``: all.
    labels: frozenset[str] | None
    permission: Permission | None = None
    allow_anonymous: bool = False


class AnonymousUser:
    """A visitor who is not signed in, where that is allowed: one for each browser. Jobs are made under this name."""

    is_authenticated = False

    def __init__(self, number: str) -> None:
        self.username = self.display_name = self.session_name = f"anonymous-{number}"


@dataclass
class Visitor:
    """Who has sent a request."""

    name: str
    #: The value of a cookie that the answer sets; ``None``: none.
    cookie: str | None = None


def visitor_of(request: Request, rules: Rules) -> Visitor:
    """Who has sent a request. A visitor who is not signed in becomes ``request.user``, if that is allowed.

    Raises:
        Problem: 401, nobody has signed in; 403, no one can.
    """
    user = request.scope.get("user")
    anonymous = user is None or isinstance(user, AnonymousUser)
    if not anonymous and _signed_in(user):
        return Visitor(user_name(user))
    if not rules.allow_anonymous:
        if not anonymous or "auth" in request.scope:
            raise Problem(401, "Sign in to see your jobs.")
        raise Problem(
            403,
            "No one can sign in here: this app has no authentication (request.user). Add Starlette's "
            "AuthenticationMiddleware, or pass allow_anonymous=True.",
        )
    session: Visitor | None = request.scope.get(SCOPE)
    if session is None:
        session = request.scope[SCOPE] = _session(request)
    request.scope["user"] = AnonymousUser(session.name.removeprefix("anonymous-"))
    return session


def _session(request: Request) -> Visitor:
    number = signing.read("visitor", request.cookies.get(COOKIE, ""))
    if isinstance(number, str):
        return Visitor(AnonymousUser(number).username)
    number = secrets.token_hex(8)
    return Visitor(AnonymousUser(number).username, signing.sign("visitor", number, _SESSION))


def _signed_in(user: Any) -> bool:
    value = getattr(user, "is_authenticated", True)
    return bool(value() if callable(value) else value)


@dataclass
class Visit:
    """A request with what it may see and do."""

    request: Request
    rules: Rules
    visitor: Visitor
    #: Answers of the permission function, for this request.
    _known: dict[tuple[str, int | None], Any] = field(default_factory=dict)

    @property
    def base(self) -> str:
        """The path at which the routes are mounted, with a slash at its end."""
        return f"{self.request.scope.get('root_path', '').rstrip('/')}/"

    async def query(self, **more: Any) -> JobQuery:
        """The jobs that the visitor may see."""
        mine: Mapping[str, Any] = {"user": self.visitor.name}
        granted = await self._ask("list", None)
        choices: list[Mapping[str, Any]] = [mine]
        if granted is True:
            choices = [{}]
        elif isinstance(granted, Mapping):
            choices.append(granted)
        labels = () if self.rules.labels is None else ({"label__in": sorted(self.rules.labels)},)
        return JobQuery(
            any_of=[choices, *more.pop("any_of", ())], required=[*labels, *more.pop("required", ())], **more
        )

    async def job(self, text: str, action: str = "view") -> Any:
        """A job that the visitor may see.

        Raises:
            Problem: 404, there is none; 403, ``action`` is not granted.
        """
        number = number_of(text)
        runtime = get_runtime()
        record = None if number is None else await run_sync(runtime.store.get, number)
        if record is None:
            raise no_job(text)
        job = runtime.job(record)
        if not await self.sees(job):
            raise no_job(text)
        if not await self.may(action, job):
            raise Problem(403, f"You may see job {job.id}, but the action {action!r} is not granted to you.")
        return job

    async def sees(self, job: Any) -> bool:
        """Whether there is a job for the visitor."""
        labels = self.rules.labels
        return (labels is None or job.label in labels) and await self.may("view", job)

    async def may(self, action: str, job: Any) -> bool:
        """Whether an action on a job is granted."""
        return job.handle.record.user == self.visitor.name or bool(await self._ask(action, job))

    async def ask_ahead(self, wanted: Iterable[tuple[str, Any]]) -> None:
        """Asks a plain permission function about actions on jobs in one thread, not in one for each question."""
        permission = self.rules.permission
        if permission is None or inspect.iscoroutinefunction(permission):
            return
        mine, known = self.visitor.name, self._known
        asked = [(name, job) for name, job in wanted if job.handle.record.user != mine and (name, job.id) not in known]
        if asked:
            answers = await run_sync(lambda: [permission(self.request, name, job) for name, job in asked])
            for (name, job), answer in zip(asked, answers, strict=True):
                self._known[name, job.id] = await answer if inspect.isawaitable(answer) else answer

    async def _ask(self, action: str, job: Any) -> Any:
        if self.rules.permission is None:
            return False
        key = (action, None if job is None else job.id)
        if key not in self._known:
            self._known[key] = await call(self.rules.permission, self.request, action, job)
        return self._known[key]

    # -- forms ------------------------------------------------------------------------------------------

    def csrf_token(self) -> str:
        """The token for forms and for ``X-CSRF-Token``."""
        return signing.sign("csrf", self.visitor.name, _FORM)

    def check_origin(self, token: str | None) -> None:
        """
        Raises:
            Problem: 403, the request does not come from a page of this app.
        """
        headers = self.request.headers
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Problem(403, "The request was sent by a page of another site.")
        origin = headers.get("origin")
        if origin is not None and host_of(origin) not in self._hosts():
            raise Problem(403, f"The request was sent by a page of another site ({origin[:200]}).")
        if headers.get("authorization") and not headers.get("cookie"):
            return
        if signing.read("csrf", headers.get("x-csrf-token") or token or "") != self.visitor.name:
            raise Problem(
                403,
                "The token of the form is missing, or not valid any more (it is for one day). Load the page again; "
                "programs get one from GET api/session, for the header X-CSRF-Token.",
            )

    def forget(self) -> None:
        """The permission function is asked again: a stream lasts longer than a request."""
        self._known.clear()

    def _hosts(self) -> set[str]:
        public = get_runtime().settings.public_url
        return {self.request.headers.get("host", ""), *(() if public is None else (urlsplit(public).netloc,))}


def host_of(address: str) -> str | None:
    """Host and port of an address; ``None``: it cannot be read."""
    try:
        return urlsplit(address).netloc
    except ValueError:
        return None


async def call(function: Callable[..., Any], *args: Any) -> Any:
    """Calls a function of an app: plain ones in a thread, since they may ask a database."""
    if inspect.iscoroutinefunction(function):
        return await function(*args)
    answer = await run_sync(function, *args)
    return await answer if inspect.isawaitable(answer) else answer
