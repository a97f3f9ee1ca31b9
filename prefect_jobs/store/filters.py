"""From the words of ``list_jobs`` (``status__in``, ``-creation_time``) to SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, case, false, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from prefect_jobs.store.tables import GroupRow, JobRow

FIELDS: dict[str, InstrumentedAttribute[Any]] = {
    "id": JobRow.id,
    "name": JobRow.name,
    "description": JobRow.description,
    "user": JobRow.user,
    "label": JobRow.label,
    "type": JobRow.class_name,
    "workspace": JobRow.workspace,
    "status": JobRow.status,
    "cached_status": JobRow.status,
    "status_code": JobRow.status_code,
    "status_message": JobRow.status_message,
    "creation_time": JobRow.creation_time,
    "execute_time": JobRow.execute_time,
    "start_time": JobRow.start_time,
    "completion_time": JobRow.completion_time,
    "last_status_update": JobRow.last_status_update,
    "process_results_function": JobRow.process_results_function,
    "scheduler": JobRow.scheduler,
    "remote_id": JobRow.remote_id,
    "flow_run_id": JobRow.flow_run_id,
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


@dataclass(frozen=True)
class JobQuery:
    """Which jobs, in which order."""

    label: str | None = None
    user: str | None = None
    groups: tuple[str, ...] | None = None
    filters: Mapping[str, Any] = field(default_factory=dict)
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
        found.append(JobRow.label == query.label)
    if query.user is not None:
        found.append(JobRow.user == query.user)
    if query.groups is not None:
        found.append(JobRow.id.in_(select(GroupRow.job_id).where(GroupRow.name.in_(query.groups))))
    found.extend(_condition(key, value, dialect) for key, value in query.filters.items())
    return found


def order(order_by: str | Sequence[str]) -> list[ColumnElement[Any]]:
    """The ORDER BY: nulls last on both databases, ties broken by id, so that pages never overlap.

    Raises:
        ValueError: an unknown field; the message names the valid ones.
    """
    keys = (order_by,) if isinstance(order_by, str) else tuple(order_by)
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
        # The nulls clause keeps SQLite from using an index, so only where there can be nulls.
        clauses.append(clause.nulls_last() if column.expression.nullable else clause)
        by_id = by_id or name == "id"
    if not by_id:
        clauses.append(JobRow.id.desc() if clauses and keys[-1].startswith("-") else JobRow.id.asc())
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
        if not all(path):
            raise ValueError(f"The filter {key!r} has an empty key: write {_PROPERTIES}__key__subkey.")
        return _property_condition(path, lookup, value, dialect)
    column = FIELDS.get(name)
    if column is None:
        raise ValueError(
            f"Jobs cannot be filtered by {key!r}. Valid fields: {', '.join(FIELDS)}, groups, "
            f"{_PROPERTIES}__<key>; valid lookups: {', '.join('__' + word for word in LOOKUPS)}."
        )
    if name in _TIMES and lookup != "isnull":
        value = [_time(key, item) for item in value] if lookup == "in" else _time(key, value)
    if name == "id" and lookup not in ("isnull",):
        value = [_id(key, item) for item in value] if lookup == "in" else _id(key, value)
    return _compare(column, lookup, value, key, dialect)


def _compare(column: Any, lookup: str, value: Any, key: str, dialect: str) -> ColumnElement[bool]:
    if lookup == "exact":
        result: Any = column.is_(None) if value is None else column == value
    elif lookup == "in":
        if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
            raise ValueError(f"The filter {key!r} takes a list of values, not {value!r}.")
        values = list(value)
        plain = column.in_([item for item in values if item is not None])
        result = or_(plain, column.is_(None)) if None in values else plain
    elif lookup == "isnull":
        result = column.is_(None) if value else column.is_not(None)
    elif lookup in ("contains", "icontains", "startswith"):
        if not isinstance(value, str):
            raise ValueError(f"The filter {key!r} takes a text, not {value!r}.")
        # Not LIKE: its case rules differ between the databases, and % and _ in a text mean themselves.
        if lookup == "startswith":
            result = func.substr(column, 1, len(value)) == value
        else:
            needle, hay = (value.lower(), func.lower(column)) if lookup == "icontains" else (value, column)
            find = func.strpos if dialect == "postgresql" else func.instr
            result = find(hay, needle) > 0
    else:
        operators = {
            "lt": column < value,
            "lte": column <= value,
            "gt": column > value,
            "gte": column >= value,
        }
        result = operators[lookup]
    return result  # type: ignore[no-any-return]


def _property_condition(path: tuple[str, ...], lookup: str, value: Any, dialect: str) -> ColumnElement[bool]:
    element = JobRow.extended_properties[path]
    key = f"{_PROPERTIES}__{'__'.join(path)}"
    if lookup == "isnull" or (lookup == "exact" and value is None):
        missing = or_(element.as_string().is_(None), element.as_string() == "null")
        return missing if lookup == "exact" or value else ~missing
    if lookup == "in":
        if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
            raise ValueError(f"The filter {key}__in takes a list of values, not {value!r}.")
        members = [_property_condition(path, "exact", item, dialect) for item in value]
        return or_(*members) if members else false()
    typed: Any
    # A JSON value of another type than the one asked for is no match, and never an error of a cast.
    if isinstance(value, bool):
        wanted = "true" if value else "false"
        if dialect == "postgresql":
            return _compare(element.as_string(), "exact", wanted, key, dialect)
        kind = func.json_type(JobRow.extended_properties, _json_path(path))
        return _compare(kind, "exact", wanted, key, dialect)
    if isinstance(value, int | float):
        if dialect == "postgresql":
            is_number = func.jsonb_typeof(element) == "number"
            typed = case((is_number, element.as_float()), else_=None)
        else:
            kind = func.json_type(JobRow.extended_properties, _json_path(path))
            typed = case((kind.in_(("integer", "real")), element.as_float()), else_=None)
        return _compare(typed, lookup, float(value), key, dialect)
    if isinstance(value, str):
        return _compare(element.as_string(), lookup, value, key, dialect)
    raise ValueError(f"The filter {key!r} takes a text, a number, a boolean or None, not {value!r}.")


def _json_path(path: tuple[str, ...]) -> str:
    quoted = ('"' + part.replace('"', '\\"') + '"' for part in path)
    return "$." + ".".join(quoted)


def _in_groups(key: str, lookup: str, value: Any) -> ColumnElement[bool]:
    if lookup not in ("exact", "in", "contains"):
        raise ValueError(f"The filter {key!r} is not possible: groups take groups=… or groups__in=….")
    names = [value] if isinstance(value, str) else list(value)
    return JobRow.id.in_(select(GroupRow.job_id).where(GroupRow.name.in_(names)))


def _time(key: str, value: Any) -> datetime | None:
    if value is None:
        return None
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
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ValueError(f"The filter {key!r} takes a job's id, not {value!r}.") from None
