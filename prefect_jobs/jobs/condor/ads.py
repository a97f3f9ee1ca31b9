"""Which ads of a schedd's queue and history are those of a job.

Work of ours has our token in its ads. Work that was submitted without us has none: its cluster and the time of its
submission identify it, since the schedd of a new pool counts clusters from 1 again.
"""

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from prefect_jobs.records import FOREIGN_TOKEN, JobRecord


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
    foreign = [key.removeprefix(FOREIGN_TOKEN).split("@")[0] for key in keys if key.startswith(FOREIGN_TOKEN)]
    ours = [key for key in keys if not key.startswith(FOREIGN_TOKEN)]
    parts = [f'stringListMember(PrefectJobsToken, "{",".join(ours)}")'] if ours else []
    parts += [f"(PrefectJobsToken =?= undefined && member(ClusterId, {{{','.join(foreign)}}}))"] if foreign else []
    return " || ".join(parts) or "false"


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
