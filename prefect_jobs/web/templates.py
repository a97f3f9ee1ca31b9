"""Pages: templates, and what all of them need."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from prefect_jobs.web import ansi, looks

if TYPE_CHECKING:
    from prefect_jobs.web.visits import Visit

STATIC = Path(__file__).parent / "static"


@cache
def environment() -> Environment:
    """The templates."""
    found = Environment(
        loader=PackageLoader("prefect_jobs.web", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["duration"] = looks.duration
    found.filters["terminal"] = ansi.as_html
    found.filters["as_json"] = _as_json
    found.globals["icons"] = looks.ICONS
    found.tests["markup"] = lambda value: isinstance(value, Markup)
    return found


def _as_json(value: Any) -> str:
    """JSON for people; Jinja's own filter is for scripts, and escapes ``<``."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


@cache
def static_hash() -> str:
    """Changes with every file of ``static``, so that browsers may keep them for ever."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def fragment(template: str, **values: Any) -> str:
    """A template as a text."""
    return environment().get_template(template).render(values)


async def render(template: str, visit: "Visit", *, status: int = 200, **values: Any) -> Response:
    """A page."""
    signed_in = bool(visit.visitor.name)
    common = {
        "base": visit.base,
        "static": f"{visit.base}static/{static_hash()}/",
        "visitor": visit.visitor.name,
        "csrf_token": visit.csrf_token() if signed_in else "",
    }
    return HTMLResponse(fragment(template, **common, **values), status)
