"""The description of the JSON API, as OpenAPI 3.1."""

from importlib.metadata import version
from typing import Any

from starlette.responses import JSONResponse, Response

from prefect_jobs.store.filters import FIELDS, LOOKUPS
from prefect_jobs.web.actions import DOING
from prefect_jobs.web.bodies import SWITCHES
from prefect_jobs.web.queries import FAR, KEYS, MOST, PAGE, TIMES
from prefect_jobs.web.visits import Visit

#: Something that can be seen, or nothing.
_STATUS = {"type": "string", "pattern": r"^$|[^\s\x00-\x1f\x7f-\x9f]"}
_TEXT, _NUMBER, _OBJECT = {"type": "string"}, {"type": "integer"}, {"type": "object"}
#: A place in a log.
_BYTE = {"type": "integer", "minimum": 0, "maximum": 10**15 - 1}
_JOB_ID = {"name": "job_id", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1}}
_CSRF = {"name": "X-CSRF-Token", "in": "header", "schema": _TEXT, "description": "From GET /api/session."}
_PROBLEMS = {
    "400": "a bad query or body",
    "401": "nobody has signed in",
    "403": "not granted, or a missing token",
    "404": "there is no such job",
    "409": "the action is not possible now",
    "502": "the scheduler does not answer",
}


def _query(name: str, schema: dict[str, Any], text: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": text}


def _filters() -> dict[str, Any]:
    """The names of filters, and the values that each takes."""
    texts = "|".join(name for name in FIELDS if name not in ("id", "status", "cached_status", *TIMES))
    on_order, on_text = "lt|lte|gt|gte", "contains|icontains|startswith"
    # Empty fields of a form are no filters.
    moment = {"type": "string", "anyOf": [{"format": "date-time"}, {"maxLength": 0}]}
    values = {
        "id": {"type": "string", "pattern": "^(-?[0-9]{1,17})?$"},
        f"id__({on_order})": {"type": "string", "pattern": "^[0-9]{1,9}$"},
        "id__in": {"type": "string", "pattern": "^(-?[0-9]{1,17}(,-?[0-9]{1,17})*)?$"},
        f"(status|cached_status)(__({on_order}|{on_text}|in))?": _STATUS,
        f"({texts}|app)(__({on_order}|{on_text}|in))?": _TEXT,
        f"({'|'.join(sorted(TIMES))})(__({on_order}|in))?": moment,
        f"({'|'.join(FIELDS)})__isnull": {"type": "string", "enum": ["true", "false", ""]},
        "groups(__(in|contains))?": _TEXT,
        "extended_properties(__[A-Za-z](_?[A-Za-z0-9])*)+": _TEXT,
    }
    patterns = {f"^(not__)?{pattern}$": schema for pattern, schema in values.items()}
    return {"type": "object", "patternProperties": patterns, "additionalProperties": False}


def _answers(text: str, *problems: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "200": {"description": text, "content": {"application/json": {"schema": schema or _OBJECT}}}
    }
    for code in ("401", "403", *problems):
        content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        found[code] = {"description": _PROBLEMS[code], "content": content}
    return found


_ORDER = rf"^$|^-?({'|'.join(FIELDS)})(,-?({'|'.join(FIELDS)})){{0,{KEYS - 1}}}$"
_PAGING = [
    _query("limit", {"type": "integer", "minimum": 1, "maximum": MOST, "default": PAGE}, "Jobs of a page."),
    _query("offset", {"type": "integer", "minimum": 0, "maximum": FAR, "default": 0}, "Jobs before the page."),
    _query(
        "order_by",
        {**_TEXT, "pattern": _ORDER, "default": "-id"},
        f"Fields, with - for descending: {', '.join(FIELDS)}.",
    ),
    _query("q", _TEXT, "Search in name, description, user, message and ids."),
    _query("status", {"type": "array", "items": _STATUS}, "A status, or several."),
    _query(
        "filter",
        _filters(),
        f"Any field as a parameter of its own, also with {', '.join('__' + word for word in LOOKUPS)}; not__… leaves "
        "jobs out.",
    ),
]
_ACTION = {"name": "name", "in": "path", "required": True, "schema": {**_TEXT, "pattern": r"^[^\n]+$"}}
_SWITCHES = {name: {"type": "boolean"} for name in SWITCHES}
_FIELDS = {
    "type": "object",
    "properties": _SWITCHES,
    "additionalProperties": {"type": ["string", "integer", "boolean"]},
}
_MANY = {**_FIELDS, "properties": {**_SWITCHES, "ids": {"type": "array", "items": _NUMBER}}}


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _of_one_job() -> dict[str, Any]:
    job = "/api/jobs/{job_id}"
    return {
        job: {"get": {"summary": "A job", "parameters": [_JOB_ID], "responses": _answers("the job", "404")}},
        f"{job}/actions/{{name}}": {
            "post": {
                "summary": "An action",
                "description": f"One of {', '.join(DOING)}, or custom/<label>.",
                "parameters": [_JOB_ID, _ACTION, _CSRF],
                "requestBody": _body(_FIELDS),
                "responses": _answers("the job afterwards", "400", "404", "409", "502"),
            }
        },
        f"{job}/logs": {
            "get": {
                "summary": "Names of logs, or a part of one",
                "parameters": [
                    _JOB_ID,
                    _query("name", _TEXT, "The log."),
                    _query("before", _BYTE, "What is before a byte."),
                    _query("after", _BYTE, "What is after a byte."),
                ],
                "responses": _answers("names, or a part", "400", "404", "502"),
            }
        },
        f"{job}/files": {
            "get": {
                "summary": "Files of the job",
                "parameters": [_JOB_ID, _query("folder", _TEXT, "A folder of the job's directory.")],
                "responses": _answers("its files", "404"),
            }
        },
    }


def described() -> dict[str, Any]:
    """The document, without its server."""
    text = {"type": "object", "required": ["title", "status", "detail"]}
    fields = {"type": _TEXT, "title": _TEXT, "status": _NUMBER, "detail": _TEXT}
    return {
        "openapi": "3.1.0",
        "info": {"title": "prefect-jobs", "version": version("prefect-jobs")},
        "paths": {
            "/api/session": {"get": {"summary": "Who is signed in, and a token", "responses": _answers("the session")}},
            "/api/jobs": {
                "get": {"summary": "Jobs", "parameters": _PAGING, "responses": _answers("a page of jobs", "400")}
            },
            "/api/actions/{name}": {
                "post": {
                    "summary": "An action on many jobs",
                    "description": f"One of {', '.join(DOING)}; with all, on those that the query asks for.",
                    "parameters": [_ACTION, _CSRF],
                    "requestBody": _body(_MANY),
                    "responses": _answers("a result for each job", "400", "404"),
                }
            },
            **_of_one_job(),
            "/api/jobs.csv": {
                "get": {
                    "summary": "Jobs as a file for a spreadsheet",
                    "parameters": _PAGING[2:],
                    "responses": {
                        **_answers("all jobs that match", "400"),
                        "200": {"description": "all jobs that match", "content": {"text/csv": {}}},
                    },
                }
            },
            "/api/schedulers": {"get": {"summary": "Schedulers", "responses": _answers("the schedulers")}},
        },
        "components": {"schemas": {"Problem": {**text, "properties": fields}}},
    }


async def document(visit: Visit) -> Response:
    """``GET /api/openapi.json``."""
    return JSONResponse({**described(), "servers": [{"url": visit.base.rstrip("/") or "/"}]})
