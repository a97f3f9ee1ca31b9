"""Filters of jobs: every lookup of every field means the same on both databases."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from prefect_jobs.records import StatusState
from prefect_jobs.store import Store
from prefect_jobs.store.filters import FIELDS, JobQuery
from tests.support import draft

DAY = datetime(2026, 3, 1, tzinfo=UTC)


def matches(store: Store, **filters: Any) -> set[str]:
    """The names of the jobs that a filter finds; ``count`` must agree."""
    query = JobQuery(filters=filters)
    found = [job.name for job in store.find(query)]
    assert store.count(query) == len(found) == len(set(found))
    return set(found)


# -- lookups -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three(new_store: Callable[[], Store]) -> Store:
    """Jobs whose fields differ in order: a < b < c; ``none`` has nothing but what it must have."""
    store = new_store()
    for number, name in enumerate("abc"):
        time = DAY + timedelta(days=number)
        state = StatusState(
            status=f"status {name}",
            status_code=f"XY{name.upper()}",
            status_message=f"message {name}",
            execute_time=time,
            start_time=time,
            completion_time=time,
            last_status_update=time,
        )
        store.insert(
            draft(
                name,
                description=f"text {name}",
                user=f"user {name}",
                label=f"of {name}",
                class_name=f"Type{name}",
                type=f"TYPE{name}",
                workspace=f"/{name}",
                creation_time=time,
                state=state,
                process_results_function=f"module.{name}",
                scheduler=f"scheduler-{name}",
                remote_id=f"{number}",
                flow_run_id=f"run-{name}",
                schedule=f"schedule {name}",
            )
        )
    store.insert(draft("none", label="-", user="-", class_name="-", type="-", creation_time=DAY - timedelta(days=9)))
    return store


def value_of(store: Store, name: str, field: str) -> Any:
    (job,) = store.find(JobQuery(filters={"name": name}))
    known = {"cached_status": "status", "type": "class_name", "job_type": "type"}.get(field, field)
    return getattr(job.state, known) if hasattr(job.state, known) else getattr(job, known)


@pytest.mark.parametrize("field", [name for name in FIELDS if name not in ("id", "name")])
def test_every_field_is_found_by_every_lookup(three: Store, field: str) -> None:
    value = value_of(three, "b", field)
    others = [value_of(three, name, field) for name in ("a", "c")]
    nullable = value_of(three, "none", field) is None

    def found(lookup: str, wanted: Any) -> set[str]:
        return matches(three, **{f"{field}{lookup}": wanted}) - {"none"}

    assert found("", value) == {"b"}
    assert found("__in", others) == {"a", "c"}
    assert found("__in", []) == set()
    assert found("__lt", value) == {"a"}
    assert found("__lte", value) == {"a", "b"}
    assert found("__gt", value) == {"c"}
    assert found("__gte", value) == {"b", "c"}
    assert matches(three, **{f"{field}__isnull": True}) == ({"none"} if nullable else set())
    assert matches(three, **{f"{field}__isnull": False}) == ({"a", "b", "c"} | (set() if nullable else {"none"}))
    assert matches(three, **{field: None}) == ({"none"} if nullable else set())
    assert matches(three, **{f"{field}__in": [None, value]}) == ({"none", "b"} if nullable else {"b"})
    if isinstance(value, str):
        assert found("__contains", value[-1]) == {"b"}
        assert found("__contains", value[-1].swapcase()) == ({"b"} if value[-1].isdigit() else set())
        assert found("__icontains", value.swapcase()) == {"b"}
        assert found("__startswith", value) == {"b"}
        assert found("__startswith", value[1:] or "x") == set()


def test_ids_are_compared_as_numbers(store: Store) -> None:
    ids = [store.insert(draft(str(number))).id for number in range(12)]

    assert matches(store, id=str(ids[3])) == {"3"}
    assert matches(store, id__in=[ids[0], str(ids[11]), 10**30]) == {"0", "11"}
    assert matches(store, id__lt=ids[2]) == {"0", "1"}
    assert matches(store, id__gte=str(ids[10])) == {"10", "11"}
    assert matches(store, id__lt=10**30) == {str(number) for number in range(12)}
    assert matches(store, id__gt=10**30) == set()
    assert matches(store, id__lt=-(10**30)) == set()


def test_several_filters_must_all_be_true(three: Store) -> None:
    assert matches(three, name__in=["a", "b"], status="status b", creation_time__gt=DAY) == {"b"}


def test_several_filters_of_one_field_and_jobs_that_are_left_out(three: Store) -> None:
    def names(**more: Any) -> list[str]:
        query = JobQuery(**more)
        found = [job.name for job in three.find(query)]
        assert three.count(query) == len(found)
        return found

    after, before = {"execute_time__gt": DAY}, {"execute_time__lt": DAY + timedelta(days=2)}
    assert names(required=[{"name__in": ["a", "b"]}, {"name__in": ["b", "c"]}], filters={"user": "user b"}) == ["b"]
    assert names(required=[after, before]) == ["b"]
    assert names(excluded=[after, {"name": "a"}]) == ["none"]  # a null matches no filter
    assert names(excluded=[{"name": "a", "user": "user b"}, {}]) == ["a", "b", "c", "none"]
    assert names(excluded=[{"execute_time__isnull": True}]) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="cannot be filtered by 'colour'"):
        names(excluded=[{"colour": "red"}])


def test_times_are_the_same_in_any_zone_and_as_iso_text(three: Store) -> None:
    assert matches(three, creation_time="2026-03-02T01:00:00+01:00") == {"b"}
    assert matches(three, creation_time__in=["2026-03-02T00:00:00Z", DAY]) == {"a", "b"}


def test_a_number_finds_a_text_of_digits_and_a_path_a_workspace(three: Store) -> None:
    assert matches(three, remote_id=1) == {"b"}
    assert matches(three, workspace=Path("/b")) == {"b"}


TEXTS = [
    "100%",
    "100",
    "a_b",
    "axb",
    "it's",
    'say "hi"',
    "back\\slash",
    "Ünïcode Straße",
    "世界 \U0001f30a",
    "semi;colon -- /* x */",
    "{id",
    "[a-c]*?",
    "tab\tand\nline",
    " ",
]


@pytest.fixture(scope="module")
def texts(new_store: Callable[[], Store]) -> Store:
    """A job for each of the texts, which is its name and a property."""
    store = new_store()
    for name in TEXTS:
        store.insert(draft(name, extended_properties={"text": name}))
    return store


@pytest.mark.parametrize("text", [*TEXTS, "%", "_", "'", "\\", "ü", "ñ", "\0", "\ud83c", "x" * 5000])
@pytest.mark.parametrize("field", ["name", "extended_properties__text"])
def test_every_character_of_a_text_means_itself(texts: Store, field: str, text: str) -> None:
    def found(lookup: str) -> set[str]:
        return matches(texts, **{f"{field}{lookup}": text})

    assert found("") == {name for name in TEXTS if name == text}
    assert found("__contains") == {name for name in TEXTS if text in name}
    assert found("__icontains") == {name for name in TEXTS if text.lower() in name.lower()}
    assert found("__startswith") == {name for name in TEXTS if name.startswith(text)}


def test_case_is_ignored_in_all_scripts(store: Store) -> None:
    store.insert(draft("Überflutung ЭЛЬБА", extended_properties={"river": "ЭЛЬБА"}))

    assert matches(store, name__icontains="überFLUTUNG эльба")
    assert matches(store, extended_properties__river__icontains="эльба")
    assert not matches(store, name__contains="überflutung")


def test_the_json_of_all_properties_is_searched_for_a_text(store: Store) -> None:
    store.insert(draft("first", extended_properties={"basin": "Überlingen", "years": [2020, 2021]}))
    store.insert(draft("second", extended_properties={"basin": "elbe"}))

    assert matches(store, extended_properties__contains="Überlingen") == {"first"}
    assert matches(store, extended_properties__contains="2021") == {"first"}
    assert matches(store, extended_properties__contains="basin") == {"first", "second"}
    assert matches(store, extended_properties__contains="ELBE") == set()
    assert matches(store, extended_properties__icontains="ELBE") == {"second"}
    assert matches(store, extended_properties__contains="%") == set()
    with pytest.raises(ValueError, match="takes a text"):
        matches(store, extended_properties__contains={"basin": "elbe"})


# -- properties --------------------------------------------------------------------------------------------

VALUES: dict[str, Any] = {
    "text": "5",
    "true text": "true",
    "null text": "null",
    "empty": "",
    "integer": 5,
    "zero": 0,
    "one": 1,
    "real": 5.5,
    "small": 0.1,
    "large": 2**53 + 1,
    "huge": 10**25,
    "true": True,
    "false": False,
    "null": None,
    "list": [5],
    "dict": {"deeper": "5"},
}


@pytest.fixture(scope="module")
def properties(new_store: Callable[[], Store]) -> Store:
    store = new_store()
    for name, value in VALUES.items():
        store.insert(draft(name, extended_properties={"outer": {"key": value}}))
    store.insert(draft("missing", extended_properties={"outer": 7}))
    return store


@pytest.mark.parametrize(
    ("lookup", "value", "expected"),
    [
        ("", "5", {"text"}),
        ("", "true", {"true text"}),
        ("", "", {"empty"}),
        ("", "null", {"null text"}),
        ("", 5, {"integer"}),
        ("", 5.0, {"integer"}),
        ("", 5.5, {"real"}),
        ("", 0.1, {"small"}),
        ("", 2**53 + 1, {"large"}),
        ("", 2**53, set()),
        ("", 0, {"zero"}),
        ("", 1, {"one"}),
        ("", True, {"true"}),
        ("", False, {"false"}),
        ("", None, {"null", "missing"}),
        ("__isnull", True, {"null", "missing"}),
        ("__isnull", False, set(VALUES) - {"null"}),
        ("__in", ["5", 5, True], {"text", "integer", "true"}),
        ("__in", [None, 1], {"null", "missing", "one"}),
        ("__in", [], set()),
        ("__lt", 1, {"zero", "small"}),
        ("__lte", 1, {"zero", "small", "one"}),
        ("__gt", 5, {"real", "large", "huge"}),
        ("__gte", 5.5, {"real", "large", "huge"}),
        ("__gte", 10**25, {"huge"}),
        ("__gt", float("-inf"), {"integer", "zero", "one", "real", "small", "large", "huge"}),
        ("__lt", "6", {"text", "empty"}),
        ("__gte", "5", {"text", "true text", "null text"}),
        ("__contains", "u", {"true text", "null text"}),
        ("__contains", "5", {"text"}),
        ("__icontains", "TRUE", {"true text"}),
        ("__startswith", "nu", {"null text"}),
        ("__startswith", "", {"text", "true text", "null text", "empty"}),
    ],
)
def test_a_property_matches_values_of_the_same_type_only(
    properties: Store, lookup: str, value: Any, expected: set[str]
) -> None:
    assert matches(properties, **{f"extended_properties__outer__key{lookup}": value}) == expected


@pytest.mark.parametrize(
    "key", ["a.b", "a,b", "{a}", "$", "back\\slash", "with space", "ключ", "0", "[0]", "'", "a:b", "%s"]
)
def test_every_key_can_be_asked_for(store: Store, key: str) -> None:
    store.insert(draft("wanted", extended_properties={key: {key: "x"}}))
    store.insert(draft("other", extended_properties={"a": {"b": "x"}, "slash": 1}))

    assert matches(store, **{f"extended_properties__{key}__{key}": "x"}) == {"wanted"}
    assert matches(store, **{f"extended_properties__{key}__isnull": False}) == {"wanted"}


@pytest.fixture(scope="module")
def empty(new_store: Callable[[], Store]) -> Store:
    return new_store()


# -- what cannot be asked ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("nonsense", 1, "Valid fields: id, name"),
        ("name__nonsense", "x", "valid lookups: __in, __lt"),
        ("status__in__lt", "x", "Valid fields"),
        ("password", "x", "Valid fields"),
        ("spec", {}, "Valid fields"),
        ("", 1, "Valid fields"),
        ("__in", [1], "Valid fields"),
        ("extended_properties", {}, "extended_properties__<key>"),
        ("extended_properties__", 1, "extended_properties__key"),
        ("extended_properties__a____b", 1, "extended_properties__key"),
        ('extended_properties__a"b', 1, "quotation mark"),
        ("extended_properties__a", object(), "a text, a number, a boolean"),
        ("extended_properties__a", float("nan"), "a text, a number, a boolean"),
        ("extended_properties__a__lt", True, "a boolean"),
        ("extended_properties__a__lt", None, "a text, a number, a boolean"),
        ("extended_properties__a__contains", 5, "for texts only"),
        ("extended_properties__a__in", "abc", "a list of values"),
        ("extended_properties__a__isnull", 1, "True or False"),
        ("name", ["a"], "takes a text"),
        ("name", True, "takes a text"),
        ("name__in", "abc", "a list of values"),
        ("name__in", 5, "a list of values"),
        ("name__in", [[]], "takes a text"),
        ("name__lt", None, "takes a text"),
        ("name__contains", None, "takes a text"),
        ("name__isnull", "yes", "True or False"),
        ("id", "abc", "takes the id of a job"),
        ("id", 1.5, "takes the id of a job"),
        ("id", True, "takes the id of a job"),
        ("id__in", 5, "a list of values"),
        ("id__in", "12", "a list of values"),
        ("id__contains", 1, "for texts only"),
        ("id__lt", None, "takes the id of a job"),
        ("creation_time", "yesterday", "takes a time"),
        ("creation_time", datetime(2026, 1, 1), "with a zone"),
        ("creation_time__in", DAY, "a list of values"),
        ("creation_time__gt", None, "takes a time"),
        ("creation_time__contains", DAY, "for texts only"),
        ("groups__lt", "a", "groups__in"),
        ("groups", 5, "a list of values"),
        ("groups__in", [5.5], "takes a text"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused_by_name(empty: Store, key: str, value: Any, said: str) -> None:
    with pytest.raises(ValueError, match="filter") as caught:
        empty.find(JobQuery(filters={key: value}))
    assert said in str(caught.value)
    assert repr(key) in str(caught.value)
