"""The query of an address (``?status=Running&name__contains=flood``) as conditions of jobs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from prefect_jobs import statuses
from prefect_jobs.store.filters import FIELDS, LOOKUPS, JobQuery, conditions

#: Jobs of a page: by default, and at most.
PAGE, MOST, FAR = 50, 200, 10**9
#: Words of an address that are no filters.
_OWN = ("limit", "offset", "page", "order_by", "q")
#: Before a filter: jobs that match it are left out.
_NOT = "not__"
#: Fields that are moments.
TIMES = frozenset(name for name in FIELDS if name.endswith("_time") or name == "last_status_update")
#: Other names of fields.
_NAMES = {"app": "label"}
#: Keys of an order, and filters, at most.
KEYS, _FILTERS = 4, 40
_NUMBERS = {"limit": (1, MOST), "offset": (0, FAR), "page": (1, 10**7)}


@dataclass
class Wanted:
    """What an address asks for."""

    filters: list[Mapping[str, Any]] = field(default_factory=list)
    excluded: list[Mapping[str, Any]] = field(default_factory=list)
    #: Search text.
    text: str = ""
    order_by: tuple[str, ...] = ("-id",)
    limit: int = PAGE
    offset: int = 0
    #: What is wrong with it, for people.
    problems: list[str] = field(default_factory=list)

    @property
    def page(self) -> int:
        """The number of the page, from 1."""
        return self.offset // self.limit + 1

    def as_query(self, *, without: str | None = None) -> dict[str, Any]:
        """Arguments of :class:`prefect_jobs.store.filters.JobQuery`.

        Args:
            without: a field whose filters are left out.
        """
        required = [one for one in self.filters if without is None or not any(_field(key) == without for key in one)]
        return {
            "required": required,
            "excluded": self.excluded,
            "any_of": [_search(self.text)] if self.text else [],
        }


def _field(key: str) -> str:
    head, separator, tail = key.rpartition("__")
    return head if separator and tail in LOOKUPS else key


def _search(text: str) -> Sequence[Mapping[str, Any]]:
    places = ["name", "description", "user", "status_message", "remote_id"]
    found: list[Mapping[str, Any]] = [{f"{name}__icontains": text} for name in places]
    if text.isascii() and text.isdigit() and len(text) < 10:
        found.append({"id": int(text)})
    return found


def read(params: QueryParams) -> Wanted:
    """What an address asks for; what it does not know is in ``problems``."""
    wanted = Wanted(text=params.get("q", "").strip())
    numbers = {name: _number(name, params, wanted) for name in _NUMBERS}
    wanted.limit = numbers["limit"] or PAGE
    wanted.offset = numbers["offset"] or 0
    if numbers["page"]:
        wanted.offset = (numbers["page"] - 1) * wanted.limit
    if order := params.get("order_by"):
        keys = [_NAMES.get(key.removeprefix("-"), key.removeprefix("-")) for key in order.split(",")]
        given = order.split(",")
        if len(given) <= KEYS and all(key in FIELDS for key in keys):
            wanted.order_by = tuple(
                f"-{key}" if one.startswith("-") else key for one, key in zip(given, keys, strict=True)
            )
        else:
            wanted.problems.append(
                f"Jobs cannot be ordered by {order[:100]!r}. Valid, up to {KEYS}: {', '.join(FIELDS)}."
            )
    keys = [key for key in dict.fromkeys(params.keys()) if key not in _OWN]
    for key in keys[:_FILTERS]:
        _filter(key, params.getlist(key)[:MOST], wanted)
    if len(keys) > _FILTERS:
        wanted.problems.append(f"There are {len(keys)} filters; {_FILTERS} are possible.")
    return wanted


def _number(name: str, params: QueryParams, wanted: Wanted) -> int | None:
    text = params.get(name)
    if text is None:
        return None
    least, most = _NUMBERS[name]
    if text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most:
        return int(text)
    wanted.problems.append(f"{name} is a whole number from {least} to {most}, not {text[:40]!r}.")
    return None


def _filter(key: str, values: Sequence[str], wanted: Wanted) -> None:
    into = wanted.excluded if key.startswith(_NOT) else wanted.filters
    name = key.removeprefix(_NOT)
    head, separator, lookup = name.rpartition("__")
    if not separator or lookup not in LOOKUPS:
        head, lookup = name, ""
    head = _NAMES.get(head, head)
    given = [value for value in values if value != ""]
    if not given:
        return  # an empty field of a form
    try:
        into.append(_condition(head, lookup, given))
    except ValueError as error:
        wanted.problems.append(f"{key}: {error}")


def _condition(name: str, lookup: str, values: Sequence[str]) -> Mapping[str, Any]:
    """
    Raises:
        ValueError: an unknown field, or a value that it cannot have.
    """
    if name not in FIELDS and name != "groups" and not name.startswith("extended_properties__"):
        raise ValueError(f"There is no such filter. Valid: {', '.join([*FIELDS, 'groups', 'extended_properties__…'])}.")
    if lookup == "in":
        values = [part for value in values for part in value.split(",")]
    converted = [_value(name, lookup, value) for value in values]
    if lookup == "in" or (not lookup and len(converted) > 1):
        found: Mapping[str, Any] = {f"{name}__in": converted}
    else:
        found = {f"{name}__{lookup}" if lookup else name: converted[-1]}
    conditions(JobQuery(filters=found), "sqlite")  # a value that the field cannot have is an error here
    return found


def _value(name: str, lookup: str, text: str) -> Any:
    if lookup == "isnull":
        if text not in ("true", "false"):
            raise ValueError(f"true or false, not {text[:40]!r}.")
        return text == "true"
    if name == "id":
        if not (text.lstrip("-").isascii() and text.lstrip("-").isdigit() and len(text) < 19):
            raise ValueError(f"an id is a whole number, not {text[:40]!r}.")
        return int(text)
    if name in ("status", "cached_status") and not lookup:
        return statuses.parse(text).text
    if name in TIMES:
        return _time(text)
    return text


def _time(text: str) -> datetime:
    """A moment; without a time zone in UTC, without a time at midnight."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"a time like 2030-01-31 or 2030-01-31T12:00:00Z, not {text[:40]!r}.") from None
    try:
        return found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError(f"a time of the years 1 to 9999, not {text[:40]!r}.") from None


def addresses(params: QueryParams, **changed: Any) -> str:
    """The query of another address: this one with some words changed; ``None`` removes one."""
    pairs = [(key, value) for key, value in params.multi_items() if key not in changed and value != ""]
    for key, value in changed.items():
        values: Iterable[Any] = value if isinstance(value, list | tuple) else () if value is None else (value,)
        pairs += [(key, str(one)) for one in values]
    return urlencode(pairs)


def without(params: QueryParams, *names: str) -> QueryParams:
    """An address without some words."""
    return QueryParams([(key, value) for key, value in params.multi_items() if key not in names])
