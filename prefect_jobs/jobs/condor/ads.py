"""Which ads of a schedd's queue and history are those of a job.

Work of ours has our token in its ads. Work that was submitted without us has none: its cluster and the time of its
submission identify it, since the schedd of a new pool counts clusters from 1 again.
"""

import zlib
from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise
from typing import Any

from prefect_jobs.records import FOREIGN_TOKEN, JobRecord

#: How far apart the clusters of one range are at most: what others have in between is read for nothing.
_APART = 4


def constraint(record: JobRecord) -> str:
    """Matches our cluster, but no other one with its number."""
    token = str(record.submission_token)
    if token.startswith(FOREIGN_TOKEN):
        return f"ClusterId == {int(record.remote_id or 0)} && QDate == {int(token.split('@')[1])}"
    return f'ClusterId == {int(record.remote_id or 0)} && PrefectJobsToken == "{token}"'


def of_token(token: str) -> str:
    """Matches what was submitted under a token."""
    return f'PrefectJobsToken == "{token}"'


def of_keys(keys: Iterable[str]) -> str:
    """Matches the jobs with these keys; also other clusters with the number of one that is not ours."""
    foreign = [_cluster(key) for key in keys if key.startswith(FOREIGN_TOKEN)]
    ours = [key for key in keys if not key.startswith(FOREIGN_TOKEN)]
    parts = [f'stringListMember(PrefectJobsToken, "{",".join(ours)}")'] if ours else []
    parts += [f"(PrefectJobsToken =?= undefined && member(ClusterId, {{{','.join(foreign)}}}))"] if foreign else []
    return " || ".join(parts) or "false"


def around(keys: Collection[str]) -> str:
    """Matches all work with these keys, none of which is ours, and a little other work with numbers between theirs.

    Clusters that are close together are a range: a list of all would be long, and the schedd goes through it for each
    job of its queue.
    """
    clusters = sorted({int(_cluster(key)) for key in keys})
    gaps = [at for at in range(1, len(clusters)) if clusters[at] - clusters[at - 1] > _APART]
    ranges = [(clusters[first], clusters[after - 1]) for first, after in pairwise([0, *gaps, len(clusters)])]
    parts = [f"(ClusterId >= {first} && ClusterId <= {last})" for first, last in ranges if first != last]
    if alone := [str(first) for first, last in ranges if first == last]:
        parts.append(f"member(ClusterId, {{{','.join(alone)}}})")
    return f"(PrefectJobsToken =?= undefined && ({' || '.join(parts)}))"


def _cluster(key: str) -> str:
    return key.removeprefix(FOREIGN_TOKEN).split("@")[0]


def key_of(record: JobRecord) -> str:
    """What identifies the ads of a job at its schedd."""
    return "@".join(str(record.submission_token).split("@")[:2])


def key_of_ad(ad: Mapping[str, Any]) -> str:
    """The key of the job of an ad."""
    token = ad.get("PrefectJobsToken")
    return str(token) if token is not None else f"{FOREIGN_TOKEN}{ad.get('ClusterId')}@{ad.get('QDate')}"


def foreign_token(ad: Mapping[str, Any]) -> str:
    """The token of work that was submitted without us. No two jobs have the same one."""
    schedd = str(ad.get("GlobalJobId", "")).split("#")[0]
    return f"{FOREIGN_TOKEN}{ad['ClusterId']}@{ad['QDate']}@{zlib.crc32(schedd.encode()):08x}"
