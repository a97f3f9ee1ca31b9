"""Three-way merges: what one side changed, applied to what another side has now. Pure."""

from collections.abc import Mapping
from typing import Any


def merged(
    base: Mapping[str, Any], mine: Mapping[str, Any], theirs: Mapping[str, Any], *, deep: bool = False
) -> dict[str, Any]:
    """``theirs`` with the keys in which ``mine`` differs from ``base``.

    Args:
        base: what both sides began with.
        mine: what one side has made of it.
        theirs: what the other side has made of it.
        deep: whether dicts within are merged in the same way; otherwise they are replaced as a whole.
    """
    found = dict(theirs)
    for key in {*base, *mine}:
        if key not in mine:
            found.pop(key, None)
        elif key not in base or base[key] != mine[key]:
            last, new, there = base.get(key), mine[key], found.get(key)
            if deep and isinstance(last, dict) and isinstance(new, dict) and isinstance(there, dict):
                found[key] = merged(last, new, there, deep=True)
            else:
                found[key] = new
    return found
