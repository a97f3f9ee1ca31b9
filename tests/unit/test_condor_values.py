"""Values of submit commands: arguments and variables arrive as they were given, whatever is in them."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_jobs.schedulers.condor.submit.description import check_command
from prefect_jobs.schedulers.condor.submit.input_files import DescriptionError
from prefect_jobs.schedulers.condor.submit.written import write_value
from tests.unit.submit_texts import commands, description, htcondor, read_words

# Everything that a line of a submit description can hold.
words = st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]))
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)


# -- arguments ---------------------------------------------------------------------------------------------

HARD = [
    [],
    [""],
    ["", "", ""],
    ["plain", "two words", "  ", "\ttab"],
    ["it's", "'", "''", "'''", "'quoted'", "a' 'b"],
    ['say "hi"', '"', '""', "\"'\"'"],
    ["back\\slash", "\\", "\\n", "\\'", '\\"'],
    ["Grüße", "世界", "\U0001f30a", "a\u00a0b", "\u2028", "\u0085"],
    ["$HOME", "`id`", ";", "|", ">", "*", "#", "%", "=", "a=b"],
]


@given(st.lists(words))
def test_words_of_arguments_arrive_as_they_were_given(given: list[str]) -> None:
    assert read_words(write_value("arguments", given)) == given


def test_htcondor_reads_the_same_words() -> None:
    written = [write_value("arguments", given) for given in HARD]
    # Between the quotes, two quotes are one: then ClassAds' own reader of arguments takes over.
    raw = [text[1:-1].replace('""', '"') for text in written]
    script = "answer = [classad2.ExprTree(f'argsToList({classad2.quote(raw)}, 2)').eval() for raw in data]"

    assert htcondor(script, raw) == HARD
    assert [read_words(text) for text in written] == HARD


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("one two", ["one", "two"]),
        ("  one \t two\nthree ", ["one", "two", "three"]),
        ("no\u00a0break ", ["no\u00a0break"]),
        ("it's", ["it's"]),
        (r"say \"hi\"", ["say", '"hi"']),
        ("", []),
        ("'two words' 'it''s' \"\"".join('""'), ["two words", "it's", '"']),
        (5, ["5"]),
        (2.5, ["2.5"]),
        ((1, True, Path("/a b"), "c d"), ["1", "True", "/a b", "c d"]),
    ],
)
def test_arguments_may_be_given_in_any_of_htcondors_ways(given: Any, expected: list[str]) -> None:
    assert read_words(write_value("arguments", given)) == expected
    assert read_words(commands({"args": given})["arguments"]) == expected


@pytest.mark.parametrize("given", [{"a": 1}, object(), {"a"}])
def test_what_is_no_argument_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="arguments must be a text or a list"):
        write_value("arguments", given)


# -- environment -------------------------------------------------------------------------------------------


@given(st.dictionaries(names, words))
def test_variables_arrive_as_they_were_given(given: dict[str, str]) -> None:
    text = write_value("environment", given)

    assert dict(item.split("=", 1) for item in read_words(text)) == given


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"A": 1, "B": None}, ["A=1", "B=None"]),
        (["A=1", "B= two words ", "C==", "D="], ["A=1", "B= two words ", "C==", "D="]),
        ("A=1;B=two words; C=it's ", ["A=1", "B=two words", "C=it's"]),
        ("\"A=1 B='two words'\"", ["A=1", "B=two words"]),
        ("", []),
        ({}, []),
    ],
)
def test_the_environment_may_be_given_in_any_of_htcondors_ways(given: Any, expected: list[str]) -> None:
    assert read_words(write_value("environment", given)) == expected
    assert read_words(commands({"env": given})["environment"]) == expected


@pytest.mark.parametrize("given", [{"A B": 1}, {"": 1}, {"A=B": 1}, {"A'": 1}, {"A;B": 1}, ["A"], "A", "A;B=1", 5])
def test_what_is_no_environment_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="environment"):
        write_value("environment", given)


# -- other values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (True, "True"),
        (False, "False"),
        (5, "5"),
        (0.5, "0.5"),
        ("2 GB", "2 GB"),
        (Path("/a b"), "/a b"),
        (["a", Path("b"), 3, True], "a, b, 3, True"),
        ((), ""),
        ({"out.dat": "new.dat", "b": "c/d"}, '"out.dat=new.dat;b=c/d"'),
    ],
)
def test_values_are_written_as_htcondor_wants_them(given: Any, expected: str) -> None:
    assert write_value("description", given) == expected


@pytest.mark.parametrize("name", ["description", "arguments", "environment", "+Attr"])
@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\0b", "a\n", "A=b\nqueue 1000"])
def test_a_line_break_is_refused_wherever_it_stands(name: str, text: str) -> None:
    for value in ([f"A={text}", "B="], {"A": text}) if name == "environment" else ([f"A={text}", "B"],):
        with pytest.raises(ValueError, match="has a line break"):
            check_command(name, value)
        with pytest.raises(DescriptionError):
            commands({name: value})


@pytest.mark.parametrize("text", ["a\\", "a\\  ", "\\", "a\\\\"])
def test_a_backslash_at_the_end_would_swallow_the_next_command_and_is_refused(text: str) -> None:
    for value in (text, [text]):
        with pytest.raises(ValueError, match="ends with a backslash"):
            check_command("description", value)
    assert read_words(write_value("arguments", [text])) == [text]


@pytest.mark.parametrize("value", [object(), b"x", 1j])
def test_a_value_that_htcondor_cannot_take_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="'description' cannot take"):
        check_command("description", value)


@given(st.lists(words, max_size=4), st.dictionaries(names, words, max_size=4), words, words)
def test_nothing_that_is_given_makes_another_command(
    arguments: list[str], environment: dict[str, str], text: str, attribute: str
) -> None:
    given = {"arguments": arguments, "environment": environment, "description": text, "+Attr": attribute}
    try:
        found = description({**given, "+Last": "1"}).text
    except DescriptionError as error:
        assert "backslash" in str(error)
        return
    lines = found.split("\n")
    assert [line.split(" = ")[0] for line in lines if line] == [*commands({**dict.fromkeys(given, ""), "+Last": "1"})]
    assert not any(line.rstrip().endswith("\\") for line in lines)
