"""Late materialization: HTCondor makes the procs of a cluster a few at a time.

A schedd takes the inputs of a proc by its ad, so procs that are not made yet cannot be spooled: it holds what
``condor_submit -spool`` submits so, for ever.
"""

import logging
from collections.abc import Iterable
from typing import Any

from prefect_jobs.schedulers.condor.submit.input_files import DescriptionError

log = logging.getLogger(__name__)

_MOST = "max_materialize"
#: Commands that only spare the schedd.
_SPARING = ("max_idle", "materialize_max_idle")


def is_late(names: Iterable[str]) -> bool:
    """Whether submit commands ask for it."""
    return not {_MOST, *_SPARING}.isdisjoint(names)


def without(chosen: dict[str, Any], title: str) -> None:
    """Takes the commands for it out of those of a job whose files are transferred, where that changes no more than the
    length of the queue.

    Raises:
        DescriptionError: the command also limits how many procs run at once.
    """
    if _MOST in chosen:
        raise DescriptionError(
            f"max_materialize is not possible for {title}, whose files are sent to the access point: HTCondor cannot "
            "take the files of processes that it has not made yet. Set should_transfer_files = NO if the execution "
            "points share the job's directory; or drop it (attributes={'max_materialize': None}), and all processes "
            "are queued at once."
        )
    for name in _SPARING:
        if chosen.pop(name, None) is not None:
            log.info("%s of %s has no effect: all processes are queued at once, as files are sent.", name, title)
