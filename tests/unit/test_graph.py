"""Walks over a graph of names: order, rows, what comes before what, circles."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from prefect_jobs.graph import ancestors, arranged, children_of, find_circle, in_order, layers, path_down

DIAMOND = {"end": ["left", "right"], "left": ["start"], "right": ["start"], "start": []}


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    """Names with any parents, some of which have no entry."""
    names = [f"n{number}" for number in range(draw(st.integers(1, 9)))]
    return {name: draw(st.lists(st.sampled_from([*names, "other"]), max_size=3)) for name in names}


def test_a_diamond() -> None:
    assert children_of(DIAMOND) == {"end": [], "left": ["end"], "right": ["end"], "start": ["left", "right"]}
    assert in_order(DIAMOND) == ["start", "left", "right", "end"]
    assert layers(DIAMOND) == [["start"], ["left", "right"], ["end"]]
    assert ancestors(DIAMOND, "left") == {"start"}
    assert ancestors(DIAMOND, "left", "end") == {"start", "left", "right"}
    assert path_down(DIAMOND, "start", "end") == ["start", "left", "end"]
    assert path_down(DIAMOND, "end", "start") is None
    assert find_circle(DIAMOND) is None


def test_rows_are_in_the_order_of_their_parents() -> None:
    crossing = {"a": [], "b": [], "of b": ["b"], "of a": ["a"], "of both": ["a", "b"], "end": ["of b"]}
    assert arranged(crossing) == [["a", "b"], ["of a", "of both", "of b"], ["end"]]
    assert arranged({}) == [[]]


def test_an_empty_graph() -> None:
    assert in_order({}) == []
    assert layers({}) == [[]]
    assert find_circle({}) is None


def test_a_path_is_a_shortest_one() -> None:
    parents = {"a": [], "b": ["a"], "c": ["b"], "d": ["c", "a"]}
    assert path_down(parents, "a", "d") == ["a", "d"]


def test_a_path_leads_round_a_circle() -> None:
    assert path_down({"a": ["b"], "b": ["a"]}, "a", "a") == ["a", "b", "a"]
    assert path_down({"a": []}, "a", "a") is None


@given(graphs())
def test_a_circle_is_found_if_and_only_if_there_is_one(parents: dict[str, list[str]]) -> None:
    # given: an order of the names, each after its parents, as far as there is one
    left = set(parents)
    while ready := {name for name in left if not left.intersection(parents[name])}:
        left -= ready

    circle = find_circle(parents)

    assert (circle is None) == (not left)
    if circle is not None:
        assert circle[0] == circle[-1]
        assert len(set(circle)) == len(circle) - 1
        assert all(before in parents[after] for before, after in pairwise(circle))


@given(graphs())
def test_the_order_has_every_name_that_has_a_place(parents: dict[str, list[str]]) -> None:
    left = set(parents)
    while ready := {name for name in left if not left.intersection(parents[name])}:
        left -= ready

    order = in_order(parents)

    assert set(order) == parents.keys() - left
    assert len(order) == len(set(order))
    for number, name in enumerate(order):
        assert parents.keys() & set(parents[name]) <= set(order[:number])


@given(graphs())
def test_rows_are_below_those_of_parents(parents: dict[str, list[str]]) -> None:
    rows = layers(parents)
    assert sorted(name for row in rows for name in row) == sorted(parents)
    row_of = {name: number for number, row in enumerate(rows) for name in row}
    for name in in_order(parents):
        assert all(row_of[parent] < row_of[name] for parent in parents[name] if parent in parents)


@given(graphs())
def test_ancestors_are_what_can_be_reached(parents: dict[str, list[str]]) -> None:
    for name in parents:
        found = parents.keys() & set(parents[name])
        while more := {above for known in found for above in parents[known] if above in parents} - found:
            found |= more
        assert ancestors(parents, name) == found


@given(graphs())
def test_there_is_a_path_from_each_ancestor(parents: dict[str, list[str]]) -> None:
    for below in parents:
        for above in parents:
            path = path_down(parents, above, below)
            assert (path is not None) == (above in ancestors(parents, below))
            if path is not None:
                assert (path[0], path[-1]) == (above, below)
                assert all(before in parents[after] for before, after in pairwise(path))


def test_a_chain_may_be_longer_than_pythons_stack() -> None:
    count = 20_000
    last = f"n{count - 1}"
    chain = {f"n{number}": [f"n{number - 1}"] if number else [] for number in range(count)}
    assert len(in_order(chain)) == len(layers(chain)) == count
    assert len(ancestors(chain, last)) == count - 1
    assert len(path_down(chain, "n0", last) or ()) == count
    circle = find_circle({**chain, "n0": [last]})
    assert circle is not None
    assert len(circle) == count + 1
