"""Items: what is accepted, and what becomes of them in a submit description."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from prefect_jobs.schedulers.condor.submit import item_data, outputs
from prefect_jobs.schedulers.condor.submit.description import Description, Request, describe
from prefect_jobs.schedulers.condor.submit.input_files import DescriptionError
from tests.classads import Submit

SH = {"executable": "/bin/sh", "transfer_executable": False}


def test_values_are_written_as_texts() -> None:
    given = [{"year": 2020, "width": Decimal("0.5"), "wet": True, "at": Path("/a b")}]
    assert item_data.check(given) == [{"year": "2020", "width": "0.5", "wet": "True", "at": "/a b"}]
    assert item_data.check(None) == item_data.check([]) == item_data.check(iter(())) == []
    assert item_data.check({"x": number} for number in range(2)) == [{"x": "0"}, {"x": "1"}]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("abc", "a list of dicts"),
        ({"year": 2020}, "a list of dicts"),
        (7, "a list of dicts"),
        ([{"year": 1}, 2020], r"items\[1\] is 2020"),
        ([{}], r"items\[0\] is {}"),
        ([{"year": 1}, {"yaer": 2}], r"items\[1\] has the names 'yaer'"),
        ([{"a b": 1}], "not the name of a macro"),
        ([{3: 1}], "not the name of a macro"),
        ([{"Process": 1}], r"sets \$\(Process\) itself"),
        ([{"year": None}], "use a text, a number or a boolean"),
        ([{"year": [1]}], "use a text, a number or a boolean"),
        ([{"year": "a\nb"}], "line break"),
        ([{"year": " a"}], "blanks at its ends"),
        ([{"year": 1, "YEAR": 2}], "differ in case alone"),
        *(
            ([{name: 1}], "is a submit command")
            for name in ("output", "InitialDir", "stdout", "request_gpus", "iwd", "args")
        ),
    ],
)
def test_what_is_no_item(given: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        item_data.check(given)


def test_there_is_a_limit() -> None:
    with pytest.raises(ValueError, match="more than 2 items"):
        item_data.check(({"x": number} for number in range(10**9)), 2)


def described(folder: Path, items: list[dict[str, str]], **attributes: Any) -> Description:
    return describe(Request(name="a", attributes={**SH, **attributes}, directory=folder, items=items, count=len(items)))


def line_of(text: str, command: str) -> str:
    return next(line.partition(" = ")[2] for line in text.splitlines() if line.startswith(f"{command} = "))


def test_each_word_stays_one(tmp_path: Path) -> None:
    items = [{"year": "2020", "place": "the river"}]
    found = described(
        tmp_path,
        items,
        arguments=["--at=$(place)", "$(YEAR)", "it's", "$(Process)", "plain words"],
        environment={"PLACE": "$(place)", "OTHER": "x"},
    )
    assert line_of(found.text, "arguments") == "\"'--at=$(place)' '$(YEAR)' 'it''s' $(Process) 'plain words'\""
    assert line_of(found.text, "environment") == "\"PLACE='$(place)' OTHER=x\""
    other = described(tmp_path, items, arguments=["$F(place)", "$(place:x)"])
    assert line_of(other.text, "arguments") == "\"'$F(place)' '$(place:x)'\""
    # a text is the user's own
    assert line_of(described(tmp_path, items, arguments='"a $(year)"').text, "arguments") == '"a $(year)"'


def test_a_quote_cannot_be_written(tmp_path: Path) -> None:
    items = [{"place": "here"}, {"place": "Land's End"}]
    assert described(tmp_path, items, arguments=["x"])
    with pytest.raises(DescriptionError, match=r"items\[1\] has a quote: \"Land's End\""):
        described(tmp_path, items, arguments=["$(place)"])


def test_input_files_are_there_for_each_item(tmp_path: Path) -> None:
    for year in (2020, 2021):
        (tmp_path / f"rain.{year}.csv").write_text("")
    items = [{"year": "2020"}, {"year": "2021"}]
    found = described(tmp_path, items, transfer_input_files="rain.$(year).csv")
    assert line_of(found.text, "transfer_input_files") == f"{tmp_path}/rain.$(year).csv"
    with pytest.raises(DescriptionError, match=r"rain\.2022\.csv.*does not exist"):
        described(tmp_path, [*items, {"year": "2022"}], transfer_input_files="rain.$(year).csv")
    with pytest.raises(DescriptionError, match="all processes of a job run one program"):
        described(tmp_path, items, executable="model.$(year)", transfer_executable=True)


@pytest.mark.parametrize("command", ["transfer_input_files", "input"])
def test_values_may_be_paths(tmp_path: Path, command: str) -> None:
    files = [tmp_path / "data" / "a.csv", tmp_path / "data" / "deep" / "b.csv", tmp_path / "c.csv"]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    absolute = described(tmp_path, [{"file": str(file)} for file in files], **{command: "$(file)"})
    assert line_of(absolute.text, command) == "$(file)"
    below = [{"file": str(file.relative_to(tmp_path))} for file in files]
    assert line_of(described(tmp_path, below, **{command: "$(file)"}).text, command) == f"{tmp_path}/$(file)"
    inner = [{"file": "a.csv"}, {"file": "deep/b.csv"}]
    found = described(tmp_path, inner, **{command: "data/$(file)"})
    assert line_of(found.text, command) == f"{tmp_path}/data/$(file)"
    with pytest.raises(DescriptionError, match="Use absolute paths"):
        described(tmp_path, [{"file": "data/../c.csv"}, {"file": "c.csv"}], **{command: "$(file)"})
    (tmp_path / "a b.csv").write_text("")
    with pytest.raises(DescriptionError, match="a space or a comma"):
        described(tmp_path, [{"file": "a b.csv"}], **{command: "$(file)"})


def test_outputs_are_named_by_items(tmp_path: Path) -> None:
    remaps = {"out.csv": "maps/$(year).csv"}
    found = described(tmp_path, [{"year": "2020"}], transfer_output_remaps=remaps)
    assert "maps" in found.folders and "maps/$(year).csv" in line_of(found.text, "transfer_output_remaps")
    for bad, words in (("a;b", "No name can"), ("../x", "is '../x' for items"), ("", "which is no path")):
        with pytest.raises(DescriptionError, match=words):
            described(tmp_path, [{"year": bad}], transfer_output_remaps={"out.csv": "$(year)"})


def test_lines_are_what_they_are_for_htcondor() -> None:
    items = [{"x": value} for value in ("#a", ")b", "c\\", "", "d")]
    lines = item_data.lines_of(items)
    names = ",".join(lines[0])
    submit = Submit("executable = /bin/true\n")
    submit.setQArgs(f"1 {names} from (\n" + "\n".join("\x1f".join(line.values()) for line in lines) + "\n)")
    assert [item["x"] for item in submit.itemdata()] == ["#a", ")b", "c\\", "", "d"]


def test_logs_are_named_by_items(tmp_path: Path) -> None:
    items = [{"year": "2020"}, {"year": "a/b"}]
    found = described(tmp_path, items, output="out/$(year).txt", error="$(year)/$(Process)/e.txt")
    assert found.logs["output"] == "out/$(year).txt" and found.folders == ("logs", "out")
    outputs.prepare(tmp_path / "job", 2, found.folders, found.places, items)
    made = {str(path.relative_to(tmp_path / "job" / ".incoming")) for path in (tmp_path / "job").rglob("*")}
    assert {"0/logs", "0/out", "0/2020/0", "1/out/a", "1/a/b/1"} <= made and "1/2020" not in made
    for bad, words in (("$(Cluster)/out.txt", "use only"), ("$(yaer).txt", "the names of items")):
        with pytest.raises(DescriptionError, match=words):
            described(tmp_path, [{"year": "2020"}], output=bad)
    for bad in ("..", "", "/abs/x", "../x"):
        with pytest.raises(DescriptionError, match=r"for items\[1\], which is no path"):
            described(tmp_path, [{"year": "1"}, {"year": bad}], output="$(year)")
    with pytest.raises(DescriptionError, match="makes no folders for each process"):
        described(tmp_path, items, output="$(year)/out.txt", should_transfer_files="NO")


def test_people_see_what_a_process_is() -> None:
    items = [{"year": "2020", "place": "x" * 100}]
    assert item_data.label_of(items, 0) == f"year=2020, place={'x' * 42}…"
    assert item_data.label_of(items, 1) == item_data.label_of([], 0) == ""
    assert item_data.macros_of([{"Year": "2020"}], 0) == {"year": "2020"}
