"""Values of ``request_memory`` and the like that HTCondor would refuse, checked before anything is submitted."""

import re

#: Requests that take a unit, with the unit of a plain number.
_UNITS = {"request_memory": "MB", "request_disk": "KB"}
_PREFIX = "request_"
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?(e[+-]?\d+)?\Z", re.IGNORECASE)
_WITH_UNIT = re.compile(r"\d+(\.\d*)?\s*[KMGT]B?\Z", re.IGNORECASE)
#: A value that begins with a digit and has no operator is a quantity, not an expression.
_QUANTITY = re.compile(r"[+-]?\d[\w.,'\s]*\Z")


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
