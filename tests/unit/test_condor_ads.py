"""Which ads of a schedd's queue are asked for."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from prefect_jobs.jobs.condor.ads import around, key_of_ad
from tests.classads import ClassAd, ExprTree

CLUSTERS = st.sets(st.integers(1, 5_000), min_size=1, max_size=120)


def keys(clusters: set[int]) -> set[str]:
    return {key_of_ad({"ClusterId": cluster, "QDate": 1_700_000_000}) for cluster in clusters}


def matched(constraint: str, ads: Mapping[int, Mapping[str, object]]) -> set[int]:
    wanted = ExprTree(constraint)
    return {name for name, ad in ads.items() if wanted.eval(ClassAd(dict(ad))) is True}


@given(CLUSTERS)
def test_all_work_that_is_followed_is_asked_for(clusters: set[int]) -> None:
    assert matched(around(keys(clusters)), {cluster: {"ClusterId": cluster} for cluster in clusters}) == clusters


@given(CLUSTERS, st.integers(1, 5_000))
def test_other_work_is_asked_for_only_between_close_ones(clusters: set[int], other: int) -> None:
    before, after = (
        max((c for c in clusters if c < other), default=-9),
        min((c for c in clusters if c > other), default=9_999),
    )
    wanted = other in clusters or after - before <= 4
    assert matched(around(keys(clusters)), {other: {"ClusterId": other}}) == ({other} if wanted else set())


def test_many_that_are_close_together_are_asked_for_by_a_short_constraint() -> None:
    assert len(around(keys(set(range(1, 50_001, 3))))) < 100


def test_what_we_submitted_is_asked_for_by_its_token() -> None:
    ads = {1: {"ClusterId": 7, "PrefectJobsToken": "ours"}}
    assert matched(around(keys({7})), ads) == set()
