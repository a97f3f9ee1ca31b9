"""Pauses between tries that grow while they fail."""

from prefect_jobs.backoff import Backoff


def test_pauses_double_up_to_the_longest_one() -> None:
    backoff = Backoff(1.0, 6.0)
    for length in (1.0, 2.0, 4.0, 6.0, 6.0):
        assert length / 2 <= backoff.pause() <= length


def test_after_a_success_the_first_pause_comes_again() -> None:
    backoff = Backoff(1.0, 60.0)
    for _ in range(5):
        backoff.pause()
    backoff.reset()
    assert backoff.pause() <= 1.0


def test_two_loops_are_not_in_step() -> None:
    one, other = Backoff(1.0, 1.0), Backoff(1.0, 1.0)
    assert [one.pause() for _ in range(20)] != [other.pause() for _ in range(20)]
