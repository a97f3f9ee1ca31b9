"""The output of commands: data on standard output (a table, or JSON), everything else on standard error."""

import json
import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from prefect_jobs.errors import PrefectJobsError

P = ParamSpec("P")
R = TypeVar("R")

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

#: Mistakes of people, and things that do not exist: printed as a sentence, without a traceback.
EXPECTED = (PrefectJobsError, ValueError, TypeError, TimeoutError, NotImplementedError, LookupError)


#: If this logger has a handler, messages for people become log lines, for programs that read them.
told = logging.getLogger("prefect_jobs.cli.told")


def say(text: str) -> None:
    """A message for people."""
    if told.handlers:
        told.info(text)
        return
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)


def fail(text: str, code: int = 1) -> typer.Exit:
    """An error for people; raise what it returns."""
    if told.handlers:
        told.error(text)
    else:
        say(f"error: {text}")
    return typer.Exit(code)


def print_data(data: Any, *, as_json: bool, table: Callable[[], Table] | None = None) -> None:
    """Prints data as JSON, as a table, or as plain text."""
    if as_json:
        sys.stdout.write(json.dumps(data, default=_plain, indent=2, ensure_ascii=False) + "\n")
    elif table is not None:
        Console(highlight=False).print(table())
    else:
        sys.stdout.write(f"{data}\n")


def table_of(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> Table:
    """A table of texts."""
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    return table


def command(function: Callable[P, R]) -> Callable[P, R]:
    """Turns expected errors into a message and exit status 1."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except EXPECTED as error:
            raise fail(str(error) or type(error).__name__) from error

    return wrapped


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)
