"""Names of users and groups of any framework."""

from collections.abc import Iterable
from typing import Any

ANONYMOUS = "anonymous"
_MAX = 255


class UserName(str):
    """The name of a user. It equals an object with that ``username``, too: apps compare it with the request's user."""

    __slots__ = ()

    @property
    def username(self) -> str:
        """The name as a plain text."""
        return str.__str__(self)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return str.__eq__(self, other)
        name = getattr(other, "username", None)
        return str.__eq__(self, name) if isinstance(name, str) else NotImplemented

    def __ne__(self, other: object) -> bool:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    __hash__ = str.__hash__


def user_name(user: Any) -> str:
    """The name of a user: a text, or an object with ``username``, ``identity`` or ``display_name``.

    Users of Django and Starlette fit. A user who is not logged in (``is_anonymous`` true, ``is_authenticated`` false)
    is ``"anonymous"``.

    Raises:
        ValueError: the object has no name.
    """
    if isinstance(user, str):
        return _checked(user, user)
    if user is None:
        raise ValueError("A job needs a user: a name, or an object with username, identity or display_name.")
    session = getattr(user, "session_name", None)  # of a web visitor, see prefect_jobs.web
    if isinstance(session, str):
        return _checked(session, user)
    if _flag(user, "is_anonymous") is True or _flag(user, "is_authenticated") is False:
        return ANONYMOUS
    for attribute in ("username", "identity", "display_name"):
        try:
            value = getattr(user, attribute, None)
        except NotImplementedError:  # Starlette's users need not implement identity
            continue
        if isinstance(value, str) and value.strip():
            return _checked(value, user)
    raise ValueError(f"{user!r} has no username, identity or display_name.")


def group_names(groups: Any) -> tuple[str, ...]:
    """The names of groups: texts, or objects with ``name``; a single one counts as a list of one.

    Raises:
        ValueError: a group without a name.
    """
    if groups is None:
        return ()
    if hasattr(groups, "all") and callable(groups.all):  # a Django relation
        groups = groups.all()
    if isinstance(groups, str) or not isinstance(groups, Iterable):
        groups = (groups,)
    names: dict[str, None] = {}
    for group in groups:
        name = group if isinstance(group, str) else getattr(group, "name", None)
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"{group!r} is not a group: use a name, or an object with a name.")
        names[_checked(name, group)] = None
    return tuple(names)


def _checked(name: str, what: Any) -> str:
    text = name.strip()
    if not text or len(text) > _MAX:
        raise ValueError(f"{what!r} is not a name of 1 to {_MAX} characters.")
    return text


def _flag(user: Any, name: str) -> bool | None:
    value = getattr(user, name, None)
    if callable(value):
        value = value()
    return value if isinstance(value, bool) else None
