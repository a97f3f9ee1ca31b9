"""The submit commands of a job, or of a node of a workflow."""

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from numbers import Integral, Real
from typing import Any
from uuid import UUID

from prefect_jobs.jobs.condor import local_files
from prefect_jobs.schedulers.condor.submit import description

#: Keyword arguments with submit commands, and their defaults.
DEFAULTS: dict[str, Any] = {
    "attributes": {},
    "condorpy_template_name": None,
    "remote_input_files": (),
    "num_jobs": 1,
}


def check(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored of the keyword arguments in :data:`DEFAULTS`.

    Raises:
        ValueError: an unknown template, a bad submit command, a bad number of procs.
    """
    template = given.get("condorpy_template_name")
    if template is not None and template not in description.TEMPLATES:
        raise ValueError(f"There is no template {template!r}. Valid: {', '.join(map(repr, description.TEMPLATES))}.")
    attributes: dict[str, Any] = dict(description.TEMPLATES[template]) if template else {}
    for name, value in dict(given.get("attributes") or {}).items():
        if value is None:
            continue  # not set
        attributes[name] = plain(value)
        description.check_command(name, attributes[name])
    return {
        "attributes": attributes,
        "condorpy_template_name": template,
        "remote_input_files": files_of(given.get("remote_input_files") or ()),
        "num_jobs": count_of(given.get("num_jobs", 1)),
        local_files.FOLDER: local_files.here(),
    }


#: Key in a spec: the items.
ITEMS = "items"


class SubmitCommands:
    """Attributes and calls of objects with submit commands in their ``spec``."""

    @property
    def spec(self) -> dict[str, Any]:
        """The dict that contains them."""
        raise NotImplementedError

    @property
    def attributes(self) -> dict[str, Any]:
        """The submit commands; changes are saved with the job and apply from the next submission on."""
        found: dict[str, Any] = self.spec["attributes"]
        return found

    def set_attribute(self, name: str, value: Any) -> None:
        """Sets a submit command; ``None`` removes it.

        Raises:
            ValueError: not a submit command, a value that HTCondor cannot read, or a line break.
        """
        existing = self._attribute_key(name)
        if value is None:
            self.attributes.pop(existing or name, None)
            return
        written = plain(value)
        description.check_command(name, written)
        if existing is not None:
            del self.attributes[existing]
        self.attributes[name] = written

    def get_attribute(self, name: str) -> Any:
        """The value of a submit command as set; ``None`` if it is not set."""
        key = self._attribute_key(name)
        return None if key is None else self.attributes[key]

    def _attribute_key(self, name: str) -> str | None:
        # Submit commands are case-insensitive.
        return next((key for key in self.attributes if key.lower() == name.lower()), None)

    @property
    def num_jobs(self) -> int:
        """The number of procs."""
        return len(self.items) or int(self.spec["num_jobs"])

    @num_jobs.setter
    def num_jobs(self, value: int) -> None:
        if self.items and value != len(self.items):
            raise ValueError(
                f"There is one process for each of the {len(self.items)} items, so num_jobs is not {value!r}."
            )
        self.spec["num_jobs"] = count_of(value)

    @property
    def items(self) -> list[dict[str, str]]:
        """Of each proc, the values of macros in the submit commands; empty: there are none."""
        return list(self.spec.get(ITEMS) or ())

    @property
    def remote_input_files(self) -> list[str]:
        """Local files that the job needs."""
        found: list[str] = self.spec["remote_input_files"]
        return found

    @remote_input_files.setter
    def remote_input_files(self, files: Sequence[str | os.PathLike[str]]) -> None:
        self.spec["remote_input_files"] = files_of(files)


class SpecView(SubmitCommands):
    """The submit commands in a ``spec``."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec

    @property
    def spec(self) -> dict[str, Any]:
        """The dict that contains them."""
        return self._spec


def count_of(value: Any) -> int:
    """A number of procs.

    Raises:
        ValueError: it is not such a number.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"The number of processes is a whole number from 1, not {value!r}.")
    return value


def files_of(given: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """The paths of local files, one or several; blank ones are dropped."""
    found = [given] if isinstance(given, str | os.PathLike) else given
    return [path for path in (os.fspath(each) for each in found) if path.strip()]


def plain(value: Any) -> Any:
    """A value in the form in which JSON keeps it: what is a text to people (a UUID, a Path, a Decimal, a date) becomes
    one, and numbers of other libraries become Python's."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(plain(item) for item in value)
    if isinstance(value, str | bool | int | float) or value is None:
        return value
    if isinstance(value, UUID | Decimal | date):
        return str(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    return os.fspath(value) if isinstance(value, os.PathLike) else value
