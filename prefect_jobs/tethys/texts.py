"""Submit commands as the peer gives them back: texts, as they would be written."""

from typing import Any


def as_written(name: str, value: Any) -> Any:
    """The text of a submit command's value; numbers stay numbers.

    Args:
        name: the command.
        value: as set; ``None``: it is not set.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        between = " " if name.lower() in ("arguments", "arguments2") else ", "
        return between.join(str(as_written("", each)) for each in value)
    if isinstance(value, dict):
        return " ".join(f"{key}={each}" for key, each in value.items())
    return value
