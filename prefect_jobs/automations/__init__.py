"""Automations of Prefect for jobs, as files: they tell people that a job is held, that one of a schedule has failed, or
that one got more memory.

In the files, ``BLOCK`` stands for the id of a notification block.
"""

import json
from importlib.resources import files
from typing import Any

_NAMES = ("held", "scheduled_error", "memory_raised")


def automations_with(block_id: str) -> list[dict[str, Any]]:
    """The automations, in the form of Prefect's API.

    Args:
        block_id: the id of the notification block that they use.
    """
    found = [json.loads((files(__name__) / f"{name}.json").read_text(encoding="utf-8")) for name in _NAMES]
    for automation in found:
        for action in automation["actions"]:
            action["block_document_id"] = block_id
    return found
