"""Which runs of a schedule become jobs: those that overlap, and those that are late, follow its rules. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from prefect_jobs.projection.offers import Offer
from prefect_jobs.projection.run_states import WAITING

#: A run that is picked up later than this after its time is a missed one.
MISSED = timedelta(seconds=60)
TAKE, END, WAIT = "take", "end", "wait"


@dataclass(frozen=True)
class Verdict:
    """What happens to a run."""

    offer: Offer
    what: str
    why: str = ""


def judge(
    rules: Mapping[str, Any], offers: Sequence[Offer], active: tuple[int, str] | None, now: datetime
) -> list[Verdict]:
    """Decides about runs of one schedule that are due. Runs that people have started are not judged, but the others
    wait for them, or are skipped.

    Args:
        rules: ``overlap``, ``max_lateness`` (seconds) and ``catch_up``, as far as given.
        offers: the runs, the oldest first.
        active: id and status of an active job of the schedule.
        now: the time.
    """
    busy = "" if active is None else f"job {active[0]} of this schedule is {active[1]}"
    timely = [offer for offer in offers if offer.scheduled and offer.state_name != WAITING]
    newest = timely[-1] if timely else None
    found: list[Verdict] = []
    for offer in offers:
        if not offer.scheduled:
            found.append(Verdict(offer, TAKE))
            busy = busy or "another run of this schedule begins"
            continue
        why = "" if offer.state_name == WAITING else _missed(rules, offer, newest, now)
        if why:
            found.append(Verdict(offer, END, why))
        elif busy and rules.get("overlap") == "skip":
            found.append(Verdict(offer, END, f"Skipped: {busy}, and overlap is 'skip'."))
        elif busy and rules.get("overlap") == "wait":
            found.append(Verdict(offer, WAIT, f"Waits: {busy}, and overlap is 'wait'."))
        else:
            found.append(Verdict(offer, TAKE))
            busy = busy or "another run of this schedule begins"
    return found


def _missed(rules: Mapping[str, Any], offer: Offer, newest: Offer | None, now: datetime) -> str:
    """Why a run is not started any more; empty: it is."""
    late = now - (offer.due or now)
    most, catch_up = rules.get("max_lateness"), rules.get("catch_up", "all")
    if most is not None and late > timedelta(seconds=most):
        return f"Missed: {_length(late)} late; max_lateness is {_length(timedelta(seconds=most))}."
    if late <= MISSED:
        return ""
    if catch_up == "none":
        return f"Missed: {_length(late)} late; catch_up is 'none'."
    if catch_up == "latest" and offer is not newest:
        return f"Missed: {_length(late)} late, and a later run is due; catch_up is 'latest'."
    return ""


def _length(time: timedelta) -> str:
    seconds = round(time.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h"
