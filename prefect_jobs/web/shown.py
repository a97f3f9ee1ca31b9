"""Which jobs the pages of this process show to whom, so that a page learns that one was deleted, by any process."""

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable

#: Pairs of visitor and job that are remembered.
_MOST = 5_000
_lock = threading.Lock()
_shown: "OrderedDict[tuple[str, int], None]" = OrderedDict()


def note(visitor: str, job_ids: Iterable[int]) -> None:
    """Notes that a visitor sees jobs."""
    with _lock:
        for job_id in job_ids:
            _shown[visitor, job_id] = None
            _shown.move_to_end((visitor, job_id))
        while len(_shown) > _MOST:
            _shown.popitem(last=False)


def of(visitors: Collection[str]) -> set[int]:
    """The jobs that some visitors see."""
    with _lock:
        return {job_id for visitor, job_id in _shown if visitor in visitors}


def sees(visitor: str, job_id: int) -> bool:
    """Whether a visitor was shown a job."""
    with _lock:
        return (visitor, job_id) in _shown


def forget(job_ids: Collection[int]) -> None:
    """Forgets jobs that are gone."""
    with _lock:
        for key in [key for key in _shown if key[1] in job_ids]:
            del _shown[key]
