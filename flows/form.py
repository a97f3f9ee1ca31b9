"""What the flows have in common: the fields of their forms in the Prefect UI, and how their results are kept."""

from typing import Any

from pydantic import Field

#: Results are kept, so that a parent that is retried gets them, and does not run the job again.
RESULT: Any = {"persist_result": True, "result_serializer": "json"}


def titled(title: str, **more: Any) -> Any:
    """A field with a title; Prefect takes its description from the flow's docstring.

    Args:
        title: what the form shows; a plain ``title`` of pydantic is replaced by the parameter's name.
        **more: as for ``pydantic.Field``.
    """
    return Field(json_schema_extra={"title": title}, **more)
