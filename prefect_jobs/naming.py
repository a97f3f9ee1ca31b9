"""Names for files and folders, made from what people call things; and the numbers that they call jobs."""

import hashlib
import re
from typing import Any

#: Characters of a readable part; a file name holds 255 bytes, and extensions and numbers follow.
_LIMIT = 60
#: Hexadecimal digits of a digest.
_DIGITS = 20


def slug(name: str, limit: int = _LIMIT) -> str:
    """A readable name made from any text: letters, digits, ``._-``; never empty, never hidden, never ``..``.
    Different texts may have the same one."""
    text = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:limit].strip("-.")
    return text or "job"


def unique_name(name: str, readable: str) -> str:
    """A name that no other text has: ``readable`` where that says it all, else that with a digest of ``name``."""
    if readable == name:
        return name
    # No readable name has a "~" in it, so that nobody can be called as somebody else's folder is.
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{readable}~{digest[:_DIGITS]}"


def number_of(value: Any) -> int | None:
    """The id that an integer or a string of digits stands for; ``None``: no job can have it."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if 0 < value < 2**31 else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 11:
        return number_of(int(value))
    return None


def folder_name(name: str) -> str:
    """The name of a folder that no other text has."""
    return unique_name(name, slug(name))
