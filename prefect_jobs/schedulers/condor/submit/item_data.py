"""Items: the values of macros for each proc, as ``queue … from`` of condor_submit has them. Pure."""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prefect_jobs.schedulers.condor.submit import commands

#: An item: name of a macro → its value.
Item = Mapping[str, str]

_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
#: Macros that HTCondor sets itself (HTCondor manual, "Using the Power and Flexibility of the Queue Command").
_RESERVED = ("cluster", "clusterid", "process", "procid", "step", "row", "itemindex", "node")
#: Characters that end a line, or a value within one.
_BREAKS = re.compile("[\n\r\0\x1f]")


def too_many(number: int, most: int) -> str:
    """What is said of too many procs. The schedd keeps each in its memory, and some pools refuse more than 20,000 jobs
    of one user (MAX_JOBS_PER_OWNER)."""
    return (
        f"This makes {number:,} processes, and a job has at most {most:,}. Set PREFECT_JOBS_MAX_PROCESSES if it is "
        "meant so."
    )


def check(given: Any, most: int = sys.maxsize) -> list[dict[str, str]]:
    """Items as they are stored; ``None`` and an empty list: there are none.

    Args:
        given: the items.
        most: number of procs of one job, at most.

    Raises:
        ValueError: not a list of dicts with the same names, a bad name, a value that HTCondor cannot read, too many.
    """
    if given is None:
        return []
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise ValueError(f"items is a list of dicts, one for each process, not {given!r}.")
    found: list[dict[str, str]] = []
    for number, item in enumerate(given):
        if not isinstance(item, Mapping) or not item:
            raise ValueError(f"items[{number}] is {item!r}; an item is a dict of names and values.")
        found.append({_name(number, name): _value(number, name, value) for name, value in item.items()})
        if found[-1].keys() != found[0].keys():
            raise ValueError(
                f"items[{number}] has the names {', '.join(map(repr, found[-1]))}, and items[0] has "
                f"{', '.join(map(repr, found[0]))}: each item needs the same."
            )
        if len(found) > most:
            raise ValueError(f"There are more than {most:,} items. Set PREFECT_JOBS_MAX_PROCESSES if it is meant so.")
    if found and len({name.lower() for name in found[0]}) < len(found[0]):
        raise ValueError(f"The names {', '.join(map(repr, found[0]))} differ in case alone, which HTCondor ignores.")
    return found


def _name(number: int, name: Any) -> str:
    if not isinstance(name, str) or not _NAME.match(name):
        raise ValueError(f"items[{number}]: {name!r} is not the name of a macro: letters, digits and '_'.")
    if name.lower() in _RESERVED:
        raise ValueError(f"items[{number}]: HTCondor sets $({name}) itself. Use another name.")
    if commands.is_known(name):
        # It would replace the command, without the checks that the command has.
        raise ValueError(f"items[{number}]: {name!r} is a submit command. Use another name, and '{name} = $(…)'.")
    return name


def _value(number: int, name: str, value: Any) -> str:
    if isinstance(value, bool):
        value = "True" if value else "False"
    if value is None or isinstance(value, Mapping | list | tuple | set | frozenset | bytes):
        raise ValueError(f"items[{number}][{name!r}] is {value!r}: use a text, a number or a boolean.")
    text = str(value)
    if _BREAKS.search(text):
        raise ValueError(f"items[{number}][{name!r}] has a line break, which HTCondor cannot read.")
    if text != text.strip():
        raise ValueError(f"items[{number}][{name!r}] is {text!r}: HTCondor drops the blanks at its ends.")
    return text


def lines_of(items: Sequence[Item]) -> list[dict[str, str]]:
    """Items as HTCondor's bindings write them into lines of a submit file. A line that begins with ``#`` or ``)``, that
    ends with a backslash, or is blank means something else there, so each gets a first and a last value."""
    return [{"PrefectJobsFirst": "-", **item, "PrefectJobsLast": "-"} for item in items]


def macros_of(items: Sequence[Item], proc: int) -> dict[str, str]:
    """The values of the macros of a proc, by their names in lower case."""
    return {name.lower(): value for name, value in items[proc].items()} if proc < len(items) else {}


def of_proc(items: Sequence[Item], proc: int) -> dict[str, str]:
    """As :func:`macros_of`, with the number of the proc."""
    return {**macros_of(items, proc), "process": str(proc), "procid": str(proc)}


def label_of(items: Sequence[Item], proc: int, most: int = 60) -> str:
    """The item of a proc, for people, in at most so many characters; empty: it has none."""
    text = ", ".join(f"{name}={value}" for name, value in items[proc].items()) if proc < len(items) else ""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def uses(text: str, names: Iterable[str]) -> bool:
    """Whether one of these macros is in a text, also as ``$(name:default)`` or ``$F(name)``."""
    own = "|".join(re.escape(name) for name in names)
    return bool(own) and re.search(rf"\$[A-Za-z_]*\((?:{own})[:,)]", text, re.IGNORECASE) is not None
