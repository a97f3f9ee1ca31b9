"""The status vocabulary is the contract's, word for word, and a custom status is what its class says."""

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_jobs import statuses
from prefect_jobs.statuses import StatusClass

#: status, code, lists, Prefect's state type and state name
TABLE = [
    ("Pending", "PEN", {"pre_running", "non_terminal"}, "PENDING", "Pending"),
    ("Submitted", "SUB", {"pre_running", "active", "non_terminal"}, "PENDING", "Submitted"),
    ("Running", "RUN", {"running", "active", "non_terminal"}, "RUNNING", "Running"),
    ("Various", "VAR", {"running", "active", "non_terminal"}, "RUNNING", "Various"),
    ("Paused", "PAS", {"non_terminal"}, "PAUSED", "Paused"),
    ("Results-Ready", "RES", {"terminal"}, "RUNNING", "Results-Ready"),
    ("Complete", "COM", {"terminal"}, "COMPLETED", "Completed"),
    ("Error", "ERR", {"terminal"}, "FAILED", "Failed"),
    ("Aborted", "ABT", {"terminal"}, "CANCELLED", "Cancelled"),
    ("Various-Complete", "VCP", {"terminal"}, "FAILED", "Various-Complete"),
]
LISTS = {
    "pre_running": statuses.PRE_RUNNING_STATUSES,
    "running": statuses.RUNNING_STATUSES,
    "active": statuses.ACTIVE_STATUSES,
    "non_terminal": statuses.NON_TERMINAL_STATUSES,
    "terminal": statuses.TERMINAL_STATUSES,
}
STATE_TYPES = [None, "PENDING", "RUNNING", "PAUSED", "COMPLETED", "FAILED", "CRASHED", "CANCELLED"]


def flags(kind: StatusClass) -> set[str]:
    return {name for name in LISTS if getattr(kind, name)}


# -- official statuses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "code", "lists", "state_type", "state_name"), TABLE)
def test_an_official_status_is_as_the_contract_says(
    name: str, code: str, lists: set[str], state_type: str, state_name: str
) -> None:
    for text in (name, code, f"  {name}\n"):
        found = statuses.parse(text)
        assert (found.code, found.text, found.custom) == (code, name, False)
        assert flags(found.kind) == lists
        assert found.kind.state_type == state_type
    assert statuses.BY_CODE[code].state_name == state_name
    assert {kind for kind, names in LISTS.items() if name in names} == lists


def test_the_lists_have_the_contracts_order() -> None:
    names = [name for name, *_ in TABLE]

    assert (*((code, name) for name, code, *_ in TABLE), ("OTH", "Other")) == statuses.STATUSES
    assert [*names, "Other"] == statuses.DISPLAY_STATUSES
    assert [*(code for _, code, *_ in TABLE), "OTH"] == statuses.VALID_STATUSES
    assert statuses.ACTIVE_STATUSES == ["Submitted", "Running", "Various"]
    assert statuses.NON_TERMINAL_STATUSES == ["Pending", "Submitted", "Running", "Various", "Paused"]
    assert statuses.TERMINAL_STATUSES == ["Results-Ready", "Complete", "Error", "Aborted", "Various-Complete"]
    assert statuses.PRE_RUNNING_STATUSES == ["Pending", "Submitted"]
    assert statuses.RUNNING_STATUSES == ["Running", "Various"]


def test_all_terminal_statuses_are_final_but_results_ready() -> None:
    final = [name for name, *_ in TABLE if statuses.is_final(statuses.parse(name))]

    assert final == ["Complete", "Error", "Aborted", "Various-Complete"]


# -- custom statuses ---------------------------------------------------------------------------------------


def test_any_other_text_is_a_custom_status_without_a_class() -> None:
    found = statuses.parse(" Warming up ")

    assert (found.code, found.text, found.custom, found.kind) == ("OTH", "Warming up", True, statuses.UNCLASSIFIED)
    assert not statuses.is_final(found)
    assert statuses.parse("running").custom


@pytest.mark.parametrize("text", ["OTH", "Other"])
def test_the_code_of_custom_statuses_is_shown_as_other(text: str) -> None:
    found = statuses.parse(text)

    assert (found.code, found.text) == ("OTH", "Other")


def test_held_is_known_from_the_start_and_shown_as_paused() -> None:
    found = statuses.parse("Held")

    assert (found.code, flags(found.kind), found.kind.state_type) == ("OTH", {"non_terminal"}, "PAUSED")


def test_a_registered_status_is_in_the_lists_of_its_class() -> None:
    statuses.register_custom_status("Warming up", StatusClass(pre_running=True, non_terminal=True))

    assert flags(statuses.parse("Warming up").kind) == {"pre_running", "non_terminal"}
    assert {kind for kind, names in LISTS.items() if "Warming up" in names} == {"pre_running", "non_terminal"}


def test_a_status_registered_anew_changes_its_lists_and_is_in_each_once() -> None:
    for kind in (StatusClass(active=True, non_terminal=True), StatusClass(terminal=True), StatusClass(terminal=True)):
        statuses.register_custom_status("Warming up", kind)

    assert statuses.is_final(statuses.parse("Warming up"))
    assert [kind for kind, names in LISTS.items() for name in names if name == "Warming up"] == ["terminal"]


@pytest.mark.parametrize("text", ["Running", "RUN", "Other", "OTH", " Complete "])
def test_an_official_status_cannot_be_registered(text: str) -> None:
    with pytest.raises(ValueError, match="official status"):
        statuses.register_custom_status(text, StatusClass(terminal=True))

    assert statuses.parse("Running").kind.active


def test_held_cannot_be_made_something_else() -> None:
    with pytest.raises(ValueError, match="choose another text"):
        statuses.register_custom_status("Held", StatusClass(terminal=True))
    statuses.register_custom_status("Held", statuses.HELD_CLASS)

    assert statuses.parse("Held").kind == statuses.HELD_CLASS


@pytest.mark.parametrize("text", ["", "  \n", None, 5, b"Running", "x" * 256])
def test_what_is_no_status_is_refused(text: Any) -> None:
    for use in (statuses.check_text, statuses.parse):
        with pytest.raises(ValueError, match="status"):
            use(text)


def test_a_text_of_255_characters_is_a_status() -> None:
    assert statuses.parse(f" {'ü' * 255} ").text == "ü" * 255


# -- classes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state_type", STATE_TYPES)
def test_every_class_survives_being_stored(state_type: Any) -> None:
    for one, two, three, four, five in product([False, True], repeat=5):
        kind = StatusClass(one, two, three, four, five, state_type)

        assert StatusClass.decode(kind.encode()) == kind
        assert len(kind.encode()) <= 40


@given(st.text(min_size=1, max_size=300))
def test_a_text_is_refused_or_becomes_one_status_that_stays_the_same(text: str) -> None:
    try:
        found = statuses.parse(text)
    except ValueError:
        assert not text.strip() or len(text.strip()) > 255
        return

    assert statuses.parse(found.text) == found
    assert found.text == text.strip() or not found.custom or text.strip() == "OTH"
