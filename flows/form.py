"""The fields of the flows' forms in the Prefect UI."""

from typing import Any

from pydantic import Field


def titled(title: str, **more: Any) -> Any:
    """A field with a title; Prefect takes its description from the flow's docstring.

    Args:
        title: what the form shows; a plain ``title`` of pydantic is replaced by the parameter's name.
        **more: as for ``pydantic.Field``.
    """
    return Field(json_schema_extra={"title": title}, **more)
