"""A live bar for calls that wait: in a terminal, or in a notebook."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

# rich is loaded when it is used: most programs show no bar.


def is_seen() -> bool:
    """Whether someone would see a bar: standard error is a terminal, or this is a notebook."""
    from rich.console import Console

    console = Console(stderr=True)
    return console.is_terminal or console.is_jupyter


class Counted(Protocol):
    """What a bar shows."""

    @property
    def total(self) -> int:
        """The number of all."""
        ...

    @property
    def done(self) -> int:
        """The number of those that are over."""
        ...

    def counts(self) -> Mapping[str, int]:
        """Status → the number of those that have it."""
        ...


@contextmanager
def shown(what: Counted, wanted: Any) -> Iterator[Callable[[], None]]:
    """A bar, if ``True`` is wanted, or ``None`` and someone would see it; call what it gives to renew it."""
    if wanted is not True and not (wanted is None and what.total and is_seen()):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    # In a notebook, rich writes to the cell.
    console = Console() if Console().is_jupyter else Console(stderr=True)
    columns = (TextColumn("Jobs"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[counts]}", markup=False))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("jobs", total=what.total, counts="")

        def show() -> None:
            text = ", ".join(f"{number} {status}" for status, number in sorted(what.counts().items()))
            progress.update(task, completed=what.done, counts=text)

        yield show
