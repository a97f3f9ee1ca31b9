"""A live bar for calls that wait: in a terminal, or in a notebook."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

# rich is loaded when it is used: most programs show no bar.


def is_seen() -> bool:
    """Whether someone would see a bar: standard error is a terminal, or this is a notebook."""
    from rich.console import Console

    console = Console(stderr=True)
    return console.is_terminal or console.is_jupyter


@contextmanager
def bar(total: int) -> Iterator[Callable[[int, Mapping[str, int]], None]]:
    """A bar; call what it gives with the number of those that are over, and the number in each status."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    # In a notebook, rich writes to the cell.
    console = Console() if Console().is_jupyter else Console(stderr=True)
    columns = (TextColumn("Jobs"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[counts]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("jobs", total=total, counts="")

        def show(done: int, counts: Mapping[str, int]) -> None:
            text = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
            progress.update(task, completed=done, counts=text)

        yield show
