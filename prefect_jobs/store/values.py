"""Values that both databases can store, and that are read in the same form from SQLite and PostgreSQL."""

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from prefect_jobs.records import StatusState

_JSON_FIELDS = ("extended_properties", "spec", "native", "face_shown", "timing", "parameters", "rules")
#: Texts up to this length are often equal.
_SHORT = 128
_EMPTY: dict[str | bytes, type] = {"{}": dict, "[]": list, b"{}": dict, b"[]": list}
#: NUL in JSON: an escape that is not itself escaped.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def clean(text: str) -> str:
    """The text without characters that a database cannot store: NUL (PostgreSQL), halves of surrogate pairs (UTF-8).
    A program's output must never keep the status of its job from being stored."""
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def dump_json(value: Any) -> str:
    """JSON that both databases accept. Letters are not escaped, so that SQLite finds keys in any script.

    Raises:
        ValueError: a value that JSON cannot represent (an object, NaN), or a text that a database cannot store.
    """
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"not possible in JSON: {error}") from error
    if _NUL.search(text):
        raise ValueError("a text in it has a NUL character")
    return text


def load_json(text: str | bytes) -> Any:
    """The value of a JSON text. Equal keys and short texts are in memory once: a monitor has thousands of jobs
    there."""
    if text in _EMPTY:
        return _EMPTY[text]()  # as most are
    # Not json.loads(), which makes a decoder for each text.
    return _DECODER.decode(text.decode() if isinstance(text, bytes) else text)


def load_node_json(text: str | bytes) -> Any:
    """As :func:`load_json`, faster, for what is not kept in memory: each poll reads all nodes of a workflow."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # whole numbers of more than 64 bits, for example
        return json.loads(text)


def _alike(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {
        sys.intern(name): sys.intern(value) if type(value) is str and len(value) <= _SHORT else value
        for name, value in pairs
    }


_DECODER = json.JSONDecoder(object_pairs_hook=_alike)


def storable(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by field of a record (:mod:`prefect_jobs.records`), in the form in which they will be read; dicts and
    lists of the caller are copied.

    Raises:
        ValueError: a field cannot be stored; the message names it.
    """
    return {name: _kept(name, value) for name, value in values.items()}


def _kept(name: str, value: Any) -> Any:
    if name in _JSON_FIELDS:
        try:
            return json.loads(dump_json(value))
        except ValueError as error:
            raise ValueError(f"{name} cannot be stored: {error}.") from error
    if name == "groups":
        return tuple(sorted({clean(group) for group in value}))
    if isinstance(value, StatusState):
        texts: dict[str, Any] = {key: clean(text) for key, text in vars(value).items() if isinstance(text, str)}
        return replace(value, **texts)
    return clean(value) if isinstance(value, str) else value
