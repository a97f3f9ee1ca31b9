"""Leases and checks, on both databases alike."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from prefect_jobs import clock
from prefect_jobs.store import Store
from prefect_jobs.store.errors import JobGone
from tests.support import draft


def test_a_lease_is_one_owners_until_it_ends_or_is_given_back(store: Store) -> None:
    assert store.claim_lease("pool", "one", 60)
    assert not store.claim_lease("pool", "other", 60)
    assert store.claim_lease("another pool", "other", 60)
    assert store.claim_lease("pool", "one", -1), "it is kept up, here until a second ago"
    assert store.claim_lease("pool", "other", 60)
    assert not store.claim_lease("pool", "one", 60)
    store.release_lease("pool", "one")  # not its any more
    assert not store.claim_lease("pool", "one", 60)
    store.release_lease("pool", "other")
    assert store.claim_lease("pool", "one", 60)


@pytest.mark.parametrize("ended", [False, True])
def test_of_many_who_claim_at_once_one_gets_it(store: Store, ended: bool) -> None:
    if ended:
        assert store.claim_lease("pool", "dead", -1)
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda owner: store.claim_lease("pool", f"owner {owner}", 60), range(16)))
    assert sum(won) == 1


def test_a_check_is_claimed_when_it_is_due_by_one_alone(store: Store) -> None:
    # given
    one, other = store.insert(draft("one")), store.insert(draft("other"))
    assert store.next_check() is None and store.claim_check("me", 60) is None
    now = clock.now()
    store.add_check(other.id, now - timedelta(seconds=1))
    store.add_check(one.id, now - timedelta(seconds=2))
    store.add_check(one.id, now + timedelta(hours=1))
    # when
    first, second = store.claim_check("me", 60), store.claim_check("you", 60)
    # then the oldest comes first, and nothing twice
    assert first is not None and second is not None
    assert (first[1], second[1]) == (one.id, other.id)
    assert store.claim_check("you", 60) is None
    # and one whose process died is taken up by another, one that failed later
    store.retry_check(first[0], now - timedelta(seconds=1))
    assert store.claim_check("she", -1) == first
    assert store.claim_check("you", 60) == first
    store.check_done(first[0])
    store.check_done(second[0])
    assert store.claim_check("you", 60) is None
    due = store.next_check()
    assert due is not None and due > now + timedelta(minutes=59)


def test_one_check_for_a_moment_is_enough(store: Store) -> None:
    job, other, due = store.insert(draft("one")), store.insert(draft("other")), clock.now() - timedelta(seconds=1)
    for each in (job, job, other):
        store.add_check(each.id, due)
    first = store.claim_check("me", 60)
    # one that is under way is not: it may have looked already
    store.add_check(job.id, due)
    found = {store.claim_check("me", 60), store.claim_check("me", 60)}
    assert None not in {first, *found} and len({first, *found}) == 3 and store.claim_check("me", 60) is None


def test_a_check_that_is_under_way_is_due_when_its_claim_ends(store: Store) -> None:
    store.add_check(store.insert(draft("one")).id, clock.now() - timedelta(hours=1))
    assert store.claim_check("me", 60) is not None
    due = store.next_check()
    assert due is not None and timedelta(seconds=50) < due - clock.now() < timedelta(seconds=70)


def test_checks_are_claimed_once_by_many(store: Store) -> None:
    job = store.insert(draft("one"))
    for _ in range(20):
        store.add_check(job.id, clock.now() - timedelta(seconds=1))
    with ThreadPoolExecutor(4) as pool:
        found = [item for item in pool.map(lambda owner: store.claim_check(str(owner), 60), range(40)) if item]
    assert len(found) == len(set(found)) == 20


def test_checks_go_with_their_job(store: Store) -> None:
    job = store.insert(draft("one"))
    store.add_check(job.id, clock.now())
    store.delete(job.id)
    assert store.next_check() is None
    with pytest.raises(JobGone):
        store.add_check(job.id, clock.now())
