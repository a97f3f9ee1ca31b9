"""The body of a POST: a form or JSON, as names and texts."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from prefect_jobs.web.problems import Problem

#: Bytes of a body, at most: it names jobs, and carries no files.
_MOST = 1_000_000
#: Members of a JSON object that are true or false: a text such as "yes" would silently mean no.
SWITCHES = ("all", "files", "fresh")


class Given(dict[str, str]):
    """The fields of a form, or the members of a JSON object; ``ids`` may be there several times."""

    ids: list[str]


async def read(request: Request) -> Given:
    """The fields of a request.

    Raises:
        Problem: 400 or 413, the body cannot be read.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST:
            raise Problem(413, f"The body has more than {_MOST} bytes.")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    found = Given()
    found.ids = []
    try:
        if kind == "application/json":
            _from_json(json.loads(body or b"{}"), found)
        else:
            for name, value in parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=100_000):
                found[name] = value
                if name == "ids":
                    found.ids.append(value)
    except (ValueError, RecursionError) as error:
        raise Problem(400, f"The body is neither a form nor JSON: {error}") from error
    return found


def _text(text: str) -> str:
    """
    Raises:
        ValueError: it has half a character (a lone surrogate).
    """
    text.encode()
    return text


def _from_json(value: Any, found: Given) -> None:
    if not isinstance(value, Mapping):
        raise ValueError("it is a JSON object")
    for name, each in value.items():
        if name == "ids":
            if not isinstance(each, list) or not all(type(one) is int for one in each):
                raise ValueError("ids is a list of whole numbers")
            found.ids = [str(one) for one in each]
        elif name in SWITCHES and not isinstance(each, bool):
            raise ValueError(f"{name} is true or false")
        elif isinstance(each, bool):
            found[_text(name)] = "1" if each else "0"
        elif isinstance(each, str | int):
            found[_text(name)] = _text(str(each))
        else:
            raise ValueError(f"{name[:40]!r} is a text, a whole number, true or false")
