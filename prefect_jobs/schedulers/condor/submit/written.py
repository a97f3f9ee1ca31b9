"""The values of submit commands in HTCondor's form.

Arguments and environment are written in the new quoted syntax, which keeps spaces and quotes (HTCondor manual,
"condor_submit").
"""

import os
import re
from collections.abc import Collection, Mapping
from typing import Any

from prefect_jobs.schedulers.condor.submit import commands
from prefect_jobs.schedulers.condor.submit.item_data import uses

_MACRO = re.compile(r"\$\w*\(")


def write_value(name: str, value: Any, macros: Collection[str] = ()) -> str:
    """A value in HTCondor's form.

    Args:
        name: of the command.
        value: the value.
        macros: whose values may have blanks: a word of arguments or environment in which one is stays one.

    Raises:
        ValueError: a line break (a submit description has one command a line), or a value that is neither a
        text, a number, a boolean, nor a list or dict for a command that accepts one.
    """
    key = commands.canonical(name)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if key in ("arguments", "arguments2"):
        text = _arguments(value, macros)
    elif key in ("environment", "environment2"):
        text = write_environment(value, macros)
    elif isinstance(value, bool):
        text = "True" if value else "False"
    elif isinstance(value, Mapping):
        text = '"' + ";".join(f"{one}={other}" for one, other in value.items()) + '"'
    elif isinstance(value, list | tuple | set | frozenset):
        text = ", ".join(write_value(name, item) for item in value)
    elif isinstance(value, str | int | float):
        text = str(value)
    else:
        raise ValueError(
            f"The submit command {name!r} cannot take {value!r}: use a text, a number, a boolean or a list."
        )
    if "\n" in text or "\r" in text or "\0" in text:
        raise ValueError(f"The value of the submit command {name!r} has a line break, which HTCondor cannot read.")
    if text.rstrip().endswith("\\"):
        raise ValueError(
            f"The value of the submit command {name!r} ends with a backslash: HTCondor would read the next command "
            "as a part of it."
        )
    return text


def _arguments(value: Any, macros: Collection[str] = ()) -> str:
    if isinstance(value, str):
        stripped = value.strip()
        if stripped.startswith('"'):
            return stripped  # the user wrote the new syntax
        if _is_raw(stripped):
            return stripped
        # HTCondor's old syntax: words between white space, \" for a quote, nothing else special.
        words: list[Any] = [word.replace('\\"', '"') for word in re.findall(r"\S+", value, re.ASCII)]
    elif isinstance(value, list | tuple):
        words = list(value)
    elif isinstance(value, int | float):
        words = [value]
    else:
        raise ValueError(f"arguments must be a text or a list, not {value!r}.")
    return '"' + " ".join(_quoted(str(word), macros) for word in words) + '"'


def _is_raw(text: str) -> bool:
    """Whether a text in the old syntax is left to HTCondor, which reads it when it has the values of its macros: these
    may have quotes, or be the whole text."""
    return bool(_MACRO.search(text)) and not re.search(r'[\r\n]|(?<!\\)"', text)


def write_environment(value: Any, macros: Collection[str] = ()) -> str:
    """Environment variables in the new quoted syntax.

    Raises:
        ValueError: not a dict, a list or a text, or an invalid name.
    """
    if isinstance(value, Mapping):
        pairs = [(str(name), str(item)) for name, item in value.items()]
    elif isinstance(value, list | tuple):
        pairs = [_pair(str(item)) for item in value]
    elif isinstance(value, str):
        stripped = value.strip()
        if stripped.startswith('"') or not stripped or _is_raw(stripped):
            return stripped or '""'
        # The old syntax: NAME=value;NAME=value.
        pairs = [_pair(item.strip()) for item in stripped.split(";") if item.strip()]
    else:
        raise ValueError(f"environment must be a dict, a list or a text, not {value!r}.")
    for name, _ in pairs:
        if not re.fullmatch(r"[^\s=;'\"]+", name):
            raise ValueError(f"{name!r} cannot be the name of an environment variable.")
    return '"' + " ".join(f"{name}={_quoted(item, macros)}" for name, item in pairs) + '"'


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise ValueError(f"environment: {text!r} is not NAME=value.")
    return name.strip(), value


def _quoted(word: str, macros: Collection[str] = ()) -> str:
    """A word in the new syntax: white space and single quotes need single quotes, double ones are doubled."""
    text = word.replace('"', '""')
    if not text or re.search(r"[\s']", text) or uses(word, macros):
        text = "'" + text.replace("'", "''") + "'"
    return text
