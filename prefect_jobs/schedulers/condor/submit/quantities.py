"""Values of ``request_memory`` and the like that HTCondor would refuse, checked before anything is submitted."""

import math
import re

#: Requests that take a unit, with the unit of a plain number.
_UNITS = {"request_memory": "MB", "request_disk": "KB"}
_PER_MB = {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}
#: MB; HTCondor counts in 64 bits.
_MOST = 2.0**43
_PREFIX = "request_"
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?(e[+-]?\d+)?\Z", re.IGNORECASE)
_WITH_UNIT = re.compile(r"\d+(\.\d*)?\s*[KMGT]B?\Z", re.IGNORECASE)
#: A value that begins with a digit and has no operator is a quantity, not an expression.
_QUANTITY = re.compile(r"[+-]?\d[\w.,'\s]*\Z")


def megabytes(size: str) -> int:
    """A size of memory in MB, as HTCondor reads it, rounded up.

    Raises:
        ValueError: not a size; the message names the valid forms.
    """
    text = size.strip()
    if _NUMBER.match(text):
        found = float(text)
    elif _WITH_UNIT.match(text):
        number, unit = text.upper().rstrip("B")[:-1], text.upper().rstrip("B")[-1]
        found = float(number) * _PER_MB[unit]
    else:
        raise ValueError(f"{size!r} is not a size of memory: use '4GB', '512 M', or a number of MB (2048).")
    if not 1 <= found < _MOST:
        raise ValueError(f"{size!r} is not a size of memory that a machine has.")
    return math.ceil(found)


def check(command: str, value: str) -> None:
    """Refuses a quantity that HTCondor cannot read.

    Args:
        command: its usual name, in lower case.
        value: as written in the description; expressions are left to HTCondor.

    Raises:
        ValueError: the message names the valid forms.
    """
    text = value.strip()
    if not command.startswith(_PREFIX) or not _QUANTITY.match(text) or _NUMBER.match(text):
        return
    unit = _UNITS.get(command)
    if unit is None:
        raise ValueError(f"{command} = {value!r}: a number is needed, for example 2, or an expression.")
    if not _WITH_UNIT.match(text):
        raise ValueError(
            f"{command} = {value!r} is not a size for HTCondor: use a number of {unit} (2048), or one with the "
            "unit K, M, G or T, with or without a B ('2GB', '1.5 G', '512MB')."
        )
