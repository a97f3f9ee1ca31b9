"""The local files that a job names: found by path, base name or ``../name``, and sent as HTCondor reads lists."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prefect_jobs.schedulers.condor.submit.description import Request, describe
from prefect_jobs.schedulers.condor.submit.input_files import DescriptionError, expand, items

Describe = Callable[..., dict[str, str]]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A folder with the job's directory, ``job``, and files beside and in it."""
    folder = tmp_path / "workspace"
    for name in ("job/own.dat", "run.sh", "beside.dat", "data/deep.dat", "data/more/deeper.dat", "elsewhere/run.sh"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


@pytest.fixture
def wanted(workspace: Path, tmp_path: Path) -> Describe:
    """The commands for a job in that workspace."""
    links = tmp_path / "links"

    def make_links() -> Path:
        links.mkdir(exist_ok=True)
        return links

    def ask(files: Any = (), count: int = 1, **attributes: Any) -> dict[str, str]:
        request = Request(
            name="a job",
            attributes={"executable": "/bin/sh", **attributes},
            directory=workspace / "job",
            search=(workspace,),
            input_files=[os.fspath(file) for file in files],
            count=count,
            links=make_links,
        )
        return dict(line.split(" = ", 1) for line in describe(request).text.splitlines())

    return ask


# -- found -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["{}/elsewhere/run.sh", "run.sh", "../run.sh", "./run.sh", "elsewhere/run.sh"])
def test_an_executable_of_the_input_files_is_named_by_path_base_name_or_from_above(
    wanted: Describe, workspace: Path, name: str
) -> None:
    found = wanted([workspace / "elsewhere/run.sh"], executable=name.format(workspace))

    assert found["executable"] == str(workspace / "elsewhere/run.sh")
    assert "transfer_input_files" not in found


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("own.dat", "job/own.dat"),
        ("beside.dat", "beside.dat"),
        ("../beside.dat", "beside.dat"),
        ("data/deep.dat", "data/deep.dat"),
        ("../data/more/../deep.dat", "data/deep.dat"),
        ("data", "data"),
        ("data/", "data/"),
        ("../data/more/", "data/more/"),
    ],
)
def test_an_input_is_looked_for_in_the_jobs_directory_and_its_workspace(
    wanted: Describe, workspace: Path, name: str, path: str
) -> None:
    for given in (name, [name]):
        assert wanted(transfer_input_files=given)["transfer_input_files"] == f"{workspace}/{path}"


def test_an_input_may_be_given_as_a_path(wanted: Describe, workspace: Path) -> None:
    given = workspace / "beside.dat"

    assert wanted(transfer_input_files=given)["transfer_input_files"] == str(given)
    assert (
        wanted(transfer_input_files=(given, "own.dat"))["transfer_input_files"] == f"{given}, {workspace}/job/own.dat"
    )
    assert wanted(input=given)["input"] == str(given)
    assert wanted(executable=workspace / "run.sh")["executable"] == f"{workspace}/run.sh"


def test_every_input_file_of_the_job_is_sent_once(wanted: Describe, workspace: Path) -> None:
    files = [workspace / name for name in ("run.sh", "beside.dat", "data/deep.dat", "data/more")]

    found = wanted(files, executable="../run.sh", transfer_input_files="../deep.dat, own.dat, deep.dat")

    assert found["transfer_input_files"].split(", ") == [
        str(workspace / name) for name in ("data/deep.dat", "job/own.dat", "beside.dat", "data/more")
    ]


def test_the_job_s_own_files_come_before_others_of_the_same_name(wanted: Describe, workspace: Path) -> None:
    (workspace / "own.dat").write_text("another")

    assert wanted(transfer_input_files="own.dat")["transfer_input_files"] == f"{workspace}/job/own.dat"
    assert wanted(transfer_input_files="../own.dat")["transfer_input_files"] == f"{workspace}/own.dat"


def test_a_url_is_left_to_htcondor(wanted: Describe) -> None:
    given = "https://example.org/a.dat, osdf:///b c"

    assert wanted(transfer_input_files=given)["transfer_input_files"] == given


def test_standard_input_is_found_like_every_file(wanted: Describe, workspace: Path) -> None:
    assert wanted(stdin="../beside.dat")["input"] == f"{workspace}/beside.dat"
    assert wanted(input="/dev/null")["input"] == "/dev/null"


@pytest.mark.parametrize("no", [False, "false", "No"])
def test_standard_input_that_is_not_sent_need_not_be_here(wanted: Describe, no: Any) -> None:
    assert wanted(input="/scratch/there.dat", transfer_input=no)["input"] == "/scratch/there.dat"


def test_without_transfer_paths_are_left_to_the_shared_file_system(wanted: Describe) -> None:
    found = wanted(
        executable="not/here", transfer_executable=False, should_transfer_files="NO", transfer_input_files="nor, this"
    )

    assert found["executable"] == "not/here"
    assert found["transfer_input_files"] == "nor, this"


# -- not found ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["absent", "../absent", "/absent", "a\0b", "x" * 300, "~nobody-of-this-name/x", "own.dat/x"]
)
def test_a_file_that_is_missing_is_named_with_where_it_was_looked_for(
    wanted: Describe, workspace: Path, name: str
) -> None:
    for given in ({"transfer_input_files": [name]}, {"files": [name]}, {"executable": name}, {"input": name}):
        with pytest.raises(DescriptionError, match=r"does not exist|line break") as caught:
            wanted(**given)
        assert "line break" in str(caught.value) or repr(name) in str(caught.value)
        assert "line break" in str(caught.value) or str(workspace / "job") in str(caught.value)


def test_a_file_whose_name_begins_with_a_tilde_is_a_file(
    wanted: Describe, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / "~draft").write_text("")
    (workspace / "home").mkdir()
    (workspace / "home/notes").write_text("")
    monkeypatch.setenv("HOME", str(workspace / "home"))

    assert wanted(transfer_input_files="~draft")["transfer_input_files"] == f"{workspace}/~draft"
    assert wanted(transfer_input_files="~/notes")["transfer_input_files"] == f"{workspace}/home/notes"


def test_a_directory_is_no_executable(wanted: Describe) -> None:
    with pytest.raises(DescriptionError, match="'data' is a directory"):
        wanted(executable="data")


def test_a_slash_at_the_end_means_a_directory(wanted: Describe) -> None:
    with pytest.raises(DescriptionError, match="not a directory"):
        wanted(transfer_input_files="own.dat/")


@pytest.mark.parametrize("given", [5, [5], b"own.dat", [b"own.dat"], {"own.dat": 1}])
def test_what_is_no_list_of_files_is_refused(wanted: Describe, given: Any) -> None:
    with pytest.raises(DescriptionError, match=r"A list of files is needed|cannot take|does not exist"):
        wanted(transfer_input_files=given)
    with pytest.raises(DescriptionError, match="A list of files is needed"):
        items(given)


def test_two_inputs_of_one_name_would_be_one_at_the_job_and_are_refused(wanted: Describe, workspace: Path) -> None:
    (workspace / "data/beside.dat").write_text("another")

    for given in (
        {"transfer_input_files": "beside.dat, data/beside.dat"},
        {"files": ["beside.dat", "data/beside.dat"]},
    ):
        with pytest.raises(DescriptionError, match=r"data/beside\.dat' have the same name"):
            wanted(**given)
    assert wanted(transfer_input_files="beside.dat, ../beside.dat, data/")


# -- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["ünïcode-世界.dat", "no\u00a0break.dat", "quote's.dat", 'dou"ble.dat', "semi;colon", "#%&"]
)
def test_a_name_may_have_any_other_character(wanted: Describe, workspace: Path, name: str) -> None:
    (workspace / name).write_text("")

    assert wanted(transfer_input_files=[name])["transfer_input_files"] == f"{workspace}/{name}"
    assert wanted(executable=name)["executable"] == f"{workspace}/{name}"


@pytest.mark.parametrize("name", ["two words.dat", "a,b.dat", "tab\t.dat", "line\nbreak.dat", "a directory"])
def test_a_name_that_htcondor_would_split_is_refused_with_what_to_do(
    wanted: Describe, workspace: Path, name: str
) -> None:
    (workspace / name).mkdir() if name == "a directory" else (workspace / name).write_text("")

    for given in ({"transfer_input_files": [workspace / name]}, {"files": [workspace / name]}):
        with pytest.raises(DescriptionError, match=r"space or a comma in its name|line break"):
            wanted(**given)


@pytest.mark.parametrize("name", ["two words", "a,b"])
def test_what_is_in_a_directory_may_have_any_name_if_the_directory_itself_is_sent(
    wanted: Describe, workspace: Path, name: str
) -> None:
    (workspace / "data" / name).mkdir()

    with pytest.raises(DescriptionError, match="without the slash at its end"):
        wanted(transfer_input_files="data/")
    assert wanted(transfer_input_files="data")["transfer_input_files"] == f"{workspace}/data"


@pytest.mark.parametrize("folder", ["my data", "a,b", "tab\there"])
def test_a_file_in_a_folder_that_htcondor_would_split_is_sent_by_a_link(
    wanted: Describe, workspace: Path, folder: str
) -> None:
    place = workspace / folder
    place.mkdir()
    (place / "one.dat").write_text("one")

    (one, contents) = wanted(transfer_input_files=[place / "one.dat", f"{place}/"])["transfer_input_files"].split(", ")

    assert Path(one).name == "one.dat"
    assert Path(one).read_text() == "one"
    assert contents.endswith("/")
    assert [path.name for path in Path(contents).iterdir()] == ["one.dat"]
    assert not set(one + contents) & set(" \t,")


def test_a_program_may_be_in_a_folder_of_any_name(wanted: Describe, workspace: Path) -> None:
    path = workspace / "my programs, 2" / "run it.sh"
    path.parent.mkdir()
    path.write_text("")

    assert wanted(executable=path)["executable"] == str(path)


def test_a_path_with_a_line_break_is_refused(wanted: Describe, workspace: Path) -> None:
    path = workspace / "line\nbreak" / "run.sh"
    path.parent.mkdir()
    path.write_text("")

    with pytest.raises(DescriptionError, match="line break"):
        wanted([path], executable="run.sh")


def test_htcondor_sees_no_macro_in_a_path(wanted: Describe, workspace: Path) -> None:
    path = workspace / "cost$(USD)" / "$ENV(HOME).dat"
    path.parent.mkdir()
    path.write_text("")

    found = wanted([path], executable="/bin/sh", input="cost$(USD)/$ENV(HOME).dat")

    expected = f"{workspace}/cost$(DOLLAR)(USD)/$(DOLLAR)ENV(HOME).dat"
    assert found["transfer_input_files"] == found["input"] == expected


# -- macros ------------------------------------------------------------------------------------------------


@pytest.fixture
def cases(workspace: Path) -> Path:
    for number in range(3):
        path = workspace / f"cases/{number}/in.{number}.dat"
        path.parent.mkdir(parents=True)
        path.write_text("")
        (workspace / f"flat.{number}.dat").write_text("")
    return workspace


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("flat.$(Process).dat", "flat.$(Process).dat"),
        ("../flat.$(procid).dat", "flat.$(procid).dat"),
        ("cases/$(Process)/in.$(Process).dat", "cases/$(Process)/in.$(Process).dat"),
        ("cases/$(Process)/", "cases/$(Process)/"),
        ("$(where)/$(Step)", "cases/$(Step)"),
    ],
)
def test_each_process_may_have_inputs_of_its_own(wanted: Describe, cases: Path, given: str, expected: str) -> None:
    found = wanted(count=3, transfer_input_files=given, where="cases", arguments="$(where)")

    assert found["transfer_input_files"] == f"{cases}/{expected}"


def test_inputs_of_single_processes_are_not_sent_to_all(wanted: Describe, cases: Path) -> None:
    files = [cases / f"flat.{number}.dat" for number in range(3)] + [cases / "beside.dat"]

    found = wanted(files, count=3, transfer_input_files="../flat.$(Process).dat")

    assert found["transfer_input_files"] == f"{cases}/flat.$(Process).dat, {cases}/beside.dat"


def test_each_process_may_have_a_standard_input_of_its_own(wanted: Describe, cases: Path) -> None:
    assert wanted(count=2, input="flat.$(Process).dat")["input"] == f"{cases}/flat.$(Process).dat"


def test_a_missing_input_of_one_process_is_named(wanted: Describe, cases: Path) -> None:
    with pytest.raises(DescriptionError, match=r"'flat\.3\.dat' .*does not exist"):
        wanted(count=4, transfer_input_files="flat.$(Process).dat")


def test_inputs_of_processes_in_unlike_places_are_refused(wanted: Describe, cases: Path) -> None:
    (cases / "flat.1.dat").rename(cases / "job/flat.1.dat")

    with pytest.raises(DescriptionError, match="not all below one folder"):
        wanted(count=3, transfer_input_files="flat.$(Process).dat")


def test_a_macro_of_the_job_is_resolved_in_paths(wanted: Describe, workspace: Path) -> None:
    found = wanted(
        case="beside",
        arguments="$(case)",
        transfer_input_files="$(case).dat",
        executable="$(program).sh",
        program="run",
    )

    assert found["transfer_input_files"] == f"{workspace}/beside.dat"
    assert found["executable"] == f"{workspace}/run.sh"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(a)", "1"),
        ("$(A)$(b)", "11"),
        ("$(c:other)", "$(c:other)"),
        ("$(a:other)", "1"),
        ("$(Process)", "$(Process)"),
        ("$a (a) $", "$a (a) $"),
    ],
)
def test_macros_are_resolved_as_far_as_they_are_known(text: str, expected: str) -> None:
    assert expand(text, {"a": "1", "b": "$(a)"}) == expected


def test_a_macro_that_has_itself_in_it_comes_to_an_end() -> None:
    assert expand("$(a)", {"a": "$(a)"}) == "$(a)"
    assert len(expand("$(a)", {"a": "x$(a)"})) < 100
