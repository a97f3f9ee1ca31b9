"""Names of files and folders, made from any text; and ids of jobs, read from any value."""

import hashlib
import re
from typing import Any

#: Characters of a readable part; a file name holds 255 bytes, and extensions and numbers follow.
_LIMIT = 60
#: Hexadecimal digits of a digest.
_DIGITS = 20


def slug(name: str, limit: int = _LIMIT) -> str:
    """A readable name made from any text: letters, digits, ``._-``; never empty, never hidden, never ``..``.
    Different texts may get the same name."""
    text = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:limit].strip("-.")
    return text or "job"


def unique_name(name: str, readable: str) -> str:
    """A name that no other text gets: ``readable`` if it equals ``name``, else with a digest of ``name`` added."""
    if readable == name:
        return name
    # No readable name contains a "~", so no name equals the folder name of another one.
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{readable}~{digest[:_DIGITS]}"


def number_of(value: Any) -> int | None:
    """The id that an integer or a string of digits stands for; ``None`` if it cannot be the id of a job."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if 0 < value < 2**31 else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 11:
        return number_of(int(value))
    return None


def folder_name(name: str) -> str:
    """The name of a folder that no other text gets."""
    return unique_name(name, slug(name))
