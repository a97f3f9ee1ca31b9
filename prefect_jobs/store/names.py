"""The names of a job's groups as one value of its row, so that jobs are read in one statement."""

import json
from typing import Any

from sqlalchemy import ColumnElement, Text, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from prefect_jobs.store.tables import GROUPS, JOBS


class _JsonNames(FunctionElement[str]):
    """The values of a column as a JSON array; null or an empty array if there are none."""

    inherit_cache = True
    type = Text()


@compiles(_JsonNames, "sqlite")
def _of_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    return f"json_group_array({compiler.process(element.clauses, **options)})"


@compiles(_JsonNames, "postgresql")
def _of_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    # As a text: drivers would decode JSON.
    return f"CAST(json_agg({compiler.process(element.clauses, **options)}) AS TEXT)"


def groups_column() -> ColumnElement[Any]:
    """The column ``groups`` of a select of jobs, for :func:`groups_of`."""
    names = select(_JsonNames(GROUPS.c.name)).where(GROUPS.c.job_id == JOBS.c.id)
    return names.correlate(JOBS).scalar_subquery().label("groups")


def groups_of(value: str | None) -> tuple[str, ...]:
    """The names, in order."""
    return tuple(sorted(json.loads(value))) if value else ()
