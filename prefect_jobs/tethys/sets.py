"""Sets of jobs as Django has query sets: lazy, chained, and answered by SQL."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Generic, Protocol, TypeVar, overload

from prefect_jobs.people import user_name
from prefect_jobs.records import JobRecord
from prefect_jobs.runtime.wiring import Runtime, get_runtime
from prefect_jobs.store.filters import JobQuery

#: The peer's names of fields → ours.
_FIELDS = {"pk": "id", "_status": "status_code", "user__username": "user"}
#: Number of jobs that the text of a set names.
_SHOWN = 20


class DoesNotExist(Exception):
    """``get()`` has found no job."""


class MultipleObjectsReturned(Exception):
    """``get()`` has found more than one job."""


class Model(Protocol):
    """A job, as sets use its class."""

    DoesNotExist: ClassVar[type[Exception]]
    MultipleObjectsReturned: ClassVar[type[Exception]]

    def __init__(self, **fields: Any) -> None: ...

    @classmethod
    def of_record(cls, runtime: Runtime, record: JobRecord) -> Any:
        """The job of a row."""
        ...

    def save(self) -> None:
        """Writes the job."""
        ...

    def delete(self) -> None:
        """Deletes the job."""
        ...


J = TypeVar("J", bound=Model)


class JobSet(Generic[J]):
    """Jobs of a class, of all apps unless it is said otherwise. Each method returns a new set. SQL is asked when jobs
    are used, and once for each set; no scheduler and no Prefect is asked."""

    def __init__(self, model: type[J], query: JobQuery | None = None, found: list[J] | None = None) -> None:
        """
        Args:
            model: the class: jobs of it, and of its subclasses.
            query: which of them; all, if not given.
            found: the jobs, if they were read already.
        """
        self.model = model
        self._query = query if query is not None else JobQuery()
        self._found = found

    # -- sets -------------------------------------------------------------------------------------------

    def all(self) -> "JobSet[J]":
        """The same jobs, read again."""
        return self._with()

    def filter(self, **filters: Any) -> "JobSet[J]":
        """Those that match all filters.

        Raises:
            ValueError: an unknown field or lookup; the message names the valid ones. Raised when the set is used.
        """
        self._check_whole()
        return self._with(required=(*self._query.required, _ours(filters)))

    def exclude(self, **filters: Any) -> "JobSet[J]":
        """Those that do not match all of these filters.

        Raises:
            ValueError: as :meth:`filter`.
        """
        self._check_whole()
        return self._with(excluded=(*self._query.excluded, _ours(filters)))

    def order_by(self, *fields: str) -> "JobSet[J]":
        """In the order of fields, each with ``-`` for the reverse."""
        self._check_whole()
        return self._with(order_by=tuple(_our_key(field) for field in fields) or "id")

    def reverse(self) -> "JobSet[J]":
        """In the reverse order."""
        self._check_whole()
        given = self._query.order_by
        keys = (given,) if isinstance(given, str) else given
        return self._with(order_by=tuple(key[1:] if key.startswith("-") else f"-{key}" for key in keys))

    def select_subclasses(self, *classes: Any) -> "JobSet[J]":
        """The same jobs: each is of its own class in any case."""
        return self._with()

    # -- answers ----------------------------------------------------------------------------------------

    def get(self, **filters: Any) -> J:
        """The one job that matches.

        Raises:
            DoesNotExist: there is none.
            MultipleObjectsReturned: there are several.
        """
        found = list((self.filter(**filters) if filters else self)[:2])
        if len(found) == 1:
            return found[0]
        said = ", ".join(f"{key}={value!r}" for key, value in filters.items()) or "no filter"
        if not found:
            raise self.model.DoesNotExist(f"There is no {self.model.__name__} with {said}.")
        raise self.model.MultipleObjectsReturned(f"There are several {self.model.__name__}s with {said}.")

    def get_subclass(self, **filters: Any) -> J:
        """As :meth:`get`."""
        return self.get(**filters)

    def create(self, **fields: Any) -> J:
        """A new job, saved."""
        job = self.model(**fields)
        job.save()
        return job

    def count(self) -> int:
        """The number of jobs."""
        if self._found is not None:
            return len(self._found)
        query = self._query
        number = get_runtime().store.count(query)
        number = max(0, number - query.offset)
        return number if query.limit is None else min(number, query.limit)

    def exists(self) -> bool:
        """Whether there is a job."""
        return bool(self._found) if self._found is not None else bool(list(self[:1]))

    def first(self) -> J | None:
        """The first job, or ``None``."""
        return next(iter(self[:1]), None)

    def last(self) -> J | None:
        """The last job, or ``None``."""
        if self._query.limit is not None or self._query.offset:
            return next(reversed(self._jobs()), None)
        return self.reverse().first()

    def delete(self) -> tuple[int, dict[str, int]]:
        """Deletes the jobs, each as its ``delete()`` does.

        Returns:
            Their number, and the numbers by class.
        """
        numbers: dict[str, int] = {}
        for job in self._jobs():
            job.delete()
            numbers[type(job).__name__] = numbers.get(type(job).__name__, 0) + 1
        self._found = None
        return sum(numbers.values()), numbers

    def __iter__(self) -> Iterator[J]:
        return iter(self._jobs())

    def __len__(self) -> int:
        return len(self._jobs())

    def __bool__(self) -> bool:
        return self.exists()

    @overload
    def __getitem__(self, which: int) -> J: ...
    @overload
    def __getitem__(self, which: slice) -> "JobSet[J]": ...
    def __getitem__(self, which: int | slice) -> "J | JobSet[J]":
        if isinstance(which, int):
            _check(which)
            found = self._jobs()[which:] if self._found is not None else list(self[which : which + 1])
            if not found:
                raise IndexError(f"There is no job {which} in this set.")
            return found[0]
        _check(which.start, which.stop)
        start = which.start or 0
        limits = [self._query.limit - start] if self._query.limit is not None else []
        limits += [which.stop - start] if which.stop is not None else []
        limit = max(0, min(limits)) if limits else None
        if which.step not in (None, 1):
            raise ValueError("A set of jobs has no steps: make a list of it first.")
        part = None if self._found is None else self._found[start : None if limit is None else start + limit]
        return JobSet(self.model, replace(self._query, offset=self._query.offset + start, limit=limit), part)

    def __repr__(self) -> str:
        shown = [repr(job) for job in self[: _SHOWN + 1]]
        more = ", …" if len(shown) > _SHOWN else ""
        return f"<JobSet [{', '.join(shown[:_SHOWN])}{more}]>"

    # -- inside -----------------------------------------------------------------------------------------

    def _check_whole(self) -> None:
        """
        Raises:
            TypeError: it is a part of a set, which has its limits already.
        """
        if self._query.limit is not None or self._query.offset:
            raise TypeError("A part of a set of jobs cannot be filtered or ordered: do that first, and slice then.")

    def _with(self, **changed: Any) -> "JobSet[J]":
        return JobSet(self.model, replace(self._query, **changed))

    def _jobs(self) -> list[J]:
        if self._found is None:
            runtime = get_runtime()
            self._found = [self.model.of_record(runtime, record) for record in runtime.store.find(self._query)]
        return self._found


def _ours(filters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _our_value(name, value) for name, value in ((_our_key(key), value) for key, value in filters.items())}


def _our_value(name: str, value: Any) -> Any:
    """A filter's value: users may be objects."""
    if name == "user" and value is not None:
        return user_name(value)
    return [user_name(each) for each in value] if name == "user__in" else value


def _our_key(key: str) -> str:
    sign, name = ("-", key[1:]) if key.startswith("-") else ("", key)
    for theirs, mine in _FIELDS.items():
        if name == theirs or name.startswith(f"{theirs}__"):
            return f"{sign}{mine}{name[len(theirs) :]}"
    return key


def _check(*numbers: int | None) -> None:
    if any(number is not None and number < 0 for number in numbers):
        raise ValueError("A set of jobs has no negative positions: use reverse(), or make a list of it first.")
