"""Turns the arguments of ``list_jobs`` (``status__in``, ``-creation_time``) into SQL."""

import json
import math
import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Numeric,
    Text,
    and_,
    case,
    cast,
    false,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    true,
)

from prefect_jobs import statuses
from prefect_jobs.store.tables import GROUPS, JOBS
from prefect_jobs.store.values import clean

FIELDS: dict[str, Column[Any]] = {
    "id": JOBS.c.id,
    "name": JOBS.c.name,
    "description": JOBS.c.description,
    "user": JOBS.c.user,
    "label": JOBS.c.label,
    "type": JOBS.c.class_name,
    "job_type": JOBS.c.type,
    "workspace": JOBS.c.workspace,
    "status": JOBS.c.status,
    "cached_status": JOBS.c.status,
    "status_code": JOBS.c.status_code,
    "status_message": JOBS.c.status_message,
    "creation_time": JOBS.c.creation_time,
    "execute_time": JOBS.c.execute_time,
    "start_time": JOBS.c.start_time,
    "completion_time": JOBS.c.completion_time,
    "last_status_update": JOBS.c.last_status_update,
    "process_results_function": JOBS.c.process_results_function,
    "scheduler": JOBS.c.scheduler,
    "remote_id": JOBS.c.remote_id,
    "flow_run_id": JOBS.c.flow_run_id,
    "schedule": JOBS.c.schedule,
}
LOOKUPS = ("in", "lt", "lte", "gt", "gte", "contains", "icontains", "startswith", "isnull")
_TIMES = {
    "creation_time",
    "execute_time",
    "start_time",
    "completion_time",
    "last_status_update",
}
_PROPERTIES = "extended_properties"
#: The last character that there is: after each text that begins as it does.
_LAST = chr(0x10FFFF)
#: Statuses of few jobs at a time.
_FEW = {*statuses.NON_TERMINAL_STATUSES, statuses.RESULTS_READY, statuses.HELD}


@dataclass(frozen=True)
class JobQuery:
    """Conditions and an order of jobs."""

    label: str | None = None
    user: str | None = None
    groups: tuple[str, ...] | None = None
    filters: Mapping[str, Any] = field(default_factory=dict)
    #: More filters, which may be about the same fields.
    required: Sequence[Mapping[str, Any]] = ()
    #: Of each of these groups, a job matches all filters of at least one.
    any_of: Sequence[Sequence[Mapping[str, Any]]] = ()
    #: Jobs that match all filters of one of these are left out.
    excluded: Sequence[Mapping[str, Any]] = ()
    order_by: str | Sequence[str] = "id"
    limit: int | None = None
    offset: int = 0


def conditions(query: JobQuery, dialect: str) -> list[ColumnElement[bool]]:
    """The WHERE of a query.

    Raises:
        ValueError: an unknown field or lookup; the message names the valid ones.
    """
    found: list[ColumnElement[bool]] = []
    if query.label is not None:
        found.append(JOBS.c.label == query.label)
    if query.user is not None:
        found.append(JOBS.c.user == clean(query.user))
    if query.groups is not None:
        found.append(_in_groups("groups", "in", query.groups))
    for filters in (query.filters, *query.required):
        found.extend(_all_of(filters, dialect))
    for choices in query.any_of:
        found.append(or_(false(), *(and_(true(), *_all_of(filters, dialect)) for filters in choices)))
    for filters in query.excluded:
        matches = _all_of(filters, dialect)
        if matches:  # a null matches no filter, so such a job stays
            found.append(not_(func.coalesce(and_(*matches), false())))
    return found


def _all_of(filters: Mapping[str, Any], dialect: str) -> list[ColumnElement[bool]]:
    return [_condition(key, value, dialect) for key, value in filters.items()]


def order(order_by: str | Sequence[str]) -> list[ColumnElement[Any]]:
    """The ORDER BY: nulls last on both databases, ties ordered by id, so that pages never overlap.

    Raises:
        ValueError: an unknown field; the message names the valid ones.
    """
    keys = tuple(order_by) if isinstance(order_by, Sequence) and not isinstance(order_by, str) else (order_by,)
    clauses: list[ColumnElement[Any]] = []
    by_id = False
    for key in keys:
        if not isinstance(key, str):
            raise ValueError(f"order_by takes field names, not {key!r}.")
        descending, name = key.startswith("-"), key.removeprefix("-")
        column = FIELDS.get(name)
        if column is None:
            raise ValueError(f"Jobs cannot be ordered by {name!r}. Valid fields: {', '.join(FIELDS)}.")
        clause = column.desc() if descending else column.asc()
        # The nulls clause keeps SQLite from using an index, so it is written only if there can be nulls.
        clauses.append(clause.nulls_last() if column.expression.nullable else clause)
        by_id = by_id or name == "id"
    if not by_id:
        clauses.append(JOBS.c.id.desc() if clauses and keys[-1].startswith("-") else JOBS.c.id.asc())
    return clauses


def _condition(key: str, value: Any, dialect: str) -> ColumnElement[bool]:
    name, lookup = key, "exact"
    head, separator, tail = key.rpartition("__")
    if separator and tail in LOOKUPS:
        name, lookup = head, tail
    if name == "groups":
        return _in_groups(key, lookup, value)
    if name.startswith(f"{_PROPERTIES}__"):
        path = tuple(name.split("__")[1:])
        if not all(path) or any('"' in part for part in path):
            raise ValueError(
                f"The filter {key!r} has a key that is empty or has a quotation mark: use {_PROPERTIES}__key__subkey."
            )
        return _property_condition(path, lookup, value, key, dialect)
    if name == _PROPERTIES and lookup in ("contains", "icontains"):
        return _compare(cast(JOBS.c.extended_properties, Text), lookup, _text(key, value), key, dialect)
    if lookup == "in":
        value = _members(key, value)
    codes = value if lookup == "in" else [value]
    if name == "status_code" and lookup in ("exact", "in") and (named := _names(codes)):
        name, lookup, value = "status", "in", named
    column = FIELDS.get(name)
    if column is None:
        raise ValueError(
            f"Jobs cannot be filtered by {key!r}. Valid fields: {', '.join(FIELDS)}, groups, "
            f"{_PROPERTIES}__<key>; valid lookups: {', '.join('__' + word for word in LOOKUPS)}."
        )
    convert = _id if name == "id" else _time if name in _TIMES else _text
    if lookup == "in":
        plain = column.in_([convert(key, item) for item in value if item is not None])
        found = or_(plain, column.is_(None)) if any(item is None for item in value) else plain
        return _told(found, name, value, dialect)
    if lookup == "isnull":
        return column.is_(None) if _flag(key, value) else column.is_not(None)
    if lookup == "exact" and value is None:
        return column.is_(None)
    found = _compare(column, lookup, convert(key, value), key, dialect)
    return _told(found, name, [value], dialect) if lookup == "exact" else found


def _names(codes: list[Any]) -> list[str]:
    """The statuses with these codes, for which there is an index; none if one is that of all custom statuses."""
    known = [statuses.BY_CODE[code].name for code in codes if isinstance(code, str) and code in statuses.BY_CODE]
    return known if len(known) == len(codes) else []


def _told(condition: ColumnElement[bool], name: str, values: list[Any], dialect: str) -> ColumnElement[bool]:
    """Tells SQLite that few jobs match, which it does not know: it would look for them in the order of the list."""
    few = name == "remote_id" or (name in ("status", "cached_status") and _FEW.issuperset(values))
    if dialect != "sqlite" or not few or not values or None in values:
        return condition
    return func.likelihood(condition, literal_column("0.0000001"))


def _compare(column: Any, lookup: str, value: Any, key: str, dialect: str) -> ColumnElement[bool]:
    """All lookups but ``in``, for values that are not null."""
    operators: dict[str, Callable[[Any, Any], Any]] = {
        "exact": operator.eq,
        "lt": operator.lt,
        "lte": operator.le,
        "gt": operator.gt,
        "gte": operator.ge,
    }
    result: Any
    if lookup in operators:
        result = operators[lookup](column, value)
    elif not isinstance(value, str):
        raise ValueError(f"The filter {key!r} is possible for texts only.")
    # Not LIKE: its case rules differ between the databases, and % and _ in a text are plain characters.
    elif lookup == "startswith":
        result = func.substr(column, 1, len(value)) == value
        if dialect == "sqlite" and value < _LAST:  # for an index; other databases order texts by other rules
            result = and_(column >= value, column < value + _LAST, result)
    else:
        find = func.strpos if dialect == "postgresql" else func.instr
        # Both by the database's lower(): its letters depend on the locale.
        hay, needle = (func.lower(column), func.lower(value)) if lookup == "icontains" else (column, value)
        result = find(hay, needle) > 0
    return result  # type: ignore[no-any-return]


def _property_condition(path: tuple[str, ...], lookup: str, value: Any, key: str, dialect: str) -> ColumnElement[bool]:
    """A JSON value of another type than the given one does not match, and never causes a cast error."""
    found = _property(path, dialect)
    if lookup == "in":
        members = [_property_condition(path, "exact", item, key, dialect) for item in _members(key, value)]
        return or_(*members) if members else false()
    if lookup == "isnull" or (lookup == "exact" and value is None):
        missing = lookup == "exact" or _flag(key, value)
        kind = func.coalesce(found.kind, "null")
        return kind == "null" if missing else kind != "null"
    if isinstance(value, bool) and lookup == "exact":
        return and_(found.kind.in_(("boolean", "true", "false")), found.text == _boolean(value, dialect))
    if isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value):
        typed = case((found.kind.in_(("number", "integer", "real")), found.number))
        return _compare(typed, lookup, _number(value, dialect), key, dialect)
    if isinstance(value, str):
        typed = case((found.kind.in_(("string", "text")), found.text))
        return _compare(typed, lookup, clean(value), key, dialect)
    raise ValueError(f"The filter {key!r} takes a text, a number, a boolean (without a lookup) or None, not {value!r}.")


@dataclass(frozen=True)
class _Property:
    """A value inside ``extended_properties``, null if there is none."""

    #: Its type, as the database names it.
    kind: ColumnElement[str]
    text: ColumnElement[Any]
    #: Valid only if ``kind`` says that it is one.
    number: ColumnElement[Any]


def _property(path: tuple[str, ...], dialect: str) -> _Property:
    document = JOBS.c.extended_properties
    if dialect == "postgresql":
        text = func.jsonb_extract_path_text(document, *path)
        return _Property(func.jsonb_typeof(func.jsonb_extract_path(document, *path)), text, cast(text, Numeric))
    # SQLite compares keys in the form in which JSON writes them.
    where = "$" + "".join(f".{json.dumps(part, ensure_ascii=False)}" for part in path)
    value = func.json_extract(document, where)
    return _Property(func.json_type(document, where), value, value)


def _boolean(value: bool, dialect: str) -> Any:
    return ("true" if value else "false") if dialect == "postgresql" else int(value)


def _number(value: float, dialect: str) -> Any:
    if dialect == "postgresql":
        return literal(Decimal(repr(value)), Numeric)
    # SQLite reads whole numbers of more than 64 bits as floating-point numbers.
    return value if abs(value) < 2**63 else float(value)


def _in_groups(key: str, lookup: str, value: Any) -> ColumnElement[bool]:
    if lookup not in ("exact", "in", "contains"):
        raise ValueError(f"The filter {key!r} is not possible. Use groups=… or groups__in=….")
    names = [value] if isinstance(value, str) else _members(key, value)
    return JOBS.c.id.in_(select(GROUPS.c.job_id).where(GROUPS.c.name.in_([_text(key, name) for name in names])))


def _members(key: str, value: Any) -> list[Any]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise ValueError(f"The filter {key!r} takes a list of values, not {value!r}.")
    return list(value)


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"The filter {key!r} takes True or False, not {value!r}.")
    return value


def _text(key: str, value: Any) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # a cluster id, for remote_id
    if not isinstance(value, str):
        raise ValueError(f"The filter {key!r} takes a text, not {value!r}.")
    return clean(value)


def _time(key: str, value: Any) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(f"The filter {key!r} takes a time, not {value!r}.") from None
    if not isinstance(value, datetime):
        raise ValueError(f"The filter {key!r} takes a time, not {value!r}.")
    if value.tzinfo is None:
        raise ValueError(f"The filter {key!r} takes a time with a zone, not {value!r}; all times are UTC.")
    return value.astimezone(UTC)


def _id(key: str, value: Any) -> int:
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"The filter {key!r} takes the id of a job, not {value!r}.")
    # Ids have 32 bits; a larger number is not the id of any job, which is no error.
    return max(-1, min(value, 2**31 - 1))
