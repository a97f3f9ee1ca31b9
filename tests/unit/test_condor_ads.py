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
def test_all_work_that_is_followed_is_asked_for_by_a_short_constraint(clusters: set[int]) -> None:
    # when
    constraint = around(keys(clusters))
    # then
    assert matched(constraint, {cluster: {"ClusterId": cluster} for cluster in clusters}) == clusters
    assert len(constraint) < 3_000


@given(CLUSTERS.filter(lambda clusters: len(clusters) <= 50), st.integers(1, 5_000))
def test_of_few_no_other_work_is_asked_for(clusters: set[int], other: int) -> None:
    assert matched(around(keys(clusters)), {other: {"ClusterId": other}}) == {other} & clusters


def test_of_many_the_widest_gaps_are_left_out() -> None:
    # given a hundred, a thousand apart but for pairs
    clusters = {1_000 * number + one for number in range(50) for one in (0, 5)}
    # when
    constraint = around(keys(clusters))
    # then
    between = {number: {"ClusterId": number} for number in (3, 500, 1_003, 49_500)}
    assert matched(constraint, between) == {3, 1_003}


def test_what_we_submitted_is_asked_for_by_its_token() -> None:
    ads = {1: {"ClusterId": 7, "PrefectJobsToken": "ours"}}
    assert matched(around(keys({7})), ads) == set()
