"""Where HTCondor's packages are looked for, and what is said when they cannot be had."""

from collections.abc import Callable
from pathlib import Path

import pytest

from prefect_jobs.errors import LocalPartError
from prefect_jobs.local import condor_packages
from prefect_jobs.local.apt_sources import AptSource, debian_source, parse_deb822, parse_list, system_sources

VENDOR = """\
Types: deb
URIs: https://vendor.example/node
Suites: nodistro
Components: main
Signed-By: /usr/share/keyrings/vendor.gpg
"""

DEBIAN = """\
# The archive.
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian.gpg
"""


def make_executable(path: Path, script: str = "exit 0") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_one_line_archives_are_read_with_their_options() -> None:
    # given
    text = """
    # deb http://commented.example/debian bookworm main
    deb [arch=amd64 signed-by=/keys/debian.gpg] http://mirror.example/debian bookworm main contrib # the archive
    deb-src http://mirror.example/debian bookworm main
    deb http://flat.example/packages ./
    deb http://incomplete.example
    """
    # when
    sources = parse_list(text)
    # then
    assert sources == [
        AptSource(
            "http://mirror.example/debian",
            ("bookworm",),
            ("main", "contrib"),
            (("signed-by", "/keys/debian.gpg"),),
        ),
        AptSource("http://flat.example/packages", ("./",)),
    ]


def test_deb822_archives_are_read_with_their_keys() -> None:
    # when
    sources = parse_deb822(DEBIAN)
    # then
    assert [(source.uri, source.suites, source.components) for source in sources] == [
        ("http://mirror.example/debian", ("bookworm", "bookworm-updates"), ("main", "contrib")),
        ("http://mirror.example/debian-security", ("bookworm-security",), ("main",)),
    ]
    assert {source.options for source in sources} == {(("signed-by", "/usr/share/keyrings/debian.gpg"),)}


def test_a_key_of_many_lines_survives_reading_and_writing() -> None:
    # given
    key = (
        "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEY865UxYJKwYBBAHaRw8BAQd\n -----END PGP PUBLIC KEY BLOCK-----"
    )
    text = f"Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main\nSigned-By:{key}\n"
    # when
    (source,) = parse_deb822(text)
    # then
    assert parse_deb822(source.deb822()) == [source]
    assert key in source.deb822()


def test_a_disabled_archive_is_left_out() -> None:
    assert parse_deb822(f"Enabled: no\n{VENDOR}") == []


@pytest.mark.parametrize("order", [(VENDOR, DEBIAN), (DEBIAN, VENDOR)])
def test_the_debian_archive_is_told_from_those_of_vendors_and_of_security(order: tuple[str, str]) -> None:
    # given
    sources = [source for text in order for source in parse_deb822(text)]
    # when
    chosen = debian_source(sources, "trixie")
    # then
    assert chosen == AptSource(
        "http://mirror.example/debian",
        ("trixie",),
        ("main",),
        (("signed-by", "/usr/share/keyrings/debian.gpg"),),
    )


def test_no_debian_archive_is_chosen_where_there_is_none() -> None:
    assert debian_source(parse_deb822(VENDOR), "trixie") is None


def test_both_formats_are_read_from_a_machine_and_other_files_are_not(tmp_path: Path) -> None:
    # given
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://one.example/debian bookworm main\n")
    (tmp_path / "sources.list.d/two.sources").write_text(VENDOR)
    (tmp_path / "sources.list.d/three.list").write_text("deb http://three.example/debian bookworm main\n")
    (tmp_path / "sources.list.d/four.list.save").write_text("deb http://four.example/debian bookworm main\n")
    # when
    uris = [source.uri for source in system_sources(tmp_path)]
    # then
    assert uris == [
        "http://one.example/debian",
        "http://three.example/debian",
        "https://vendor.example/node",
    ]


def test_a_machine_without_apt_sources_has_none(tmp_path: Path) -> None:
    assert system_sources(tmp_path / "etc") == []


def test_what_is_missing_is_named_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # given a machine without apt-get and dpkg-deb
    monkeypatch.setenv("PATH", str(tmp_path))
    # when
    with pytest.raises(LocalPartError) as failure:
        condor_packages.fetched_condor(tmp_path / "cache")
    # then
    message = str(failure.value)
    assert "apt-get is not on PATH" in message
    assert "dpkg-deb is not on PATH" in message
    assert "Install HTCondor so that condor_master is on PATH" in message


@pytest.mark.parametrize("machine", [("Darwin", "arm64"), ("Linux", "aarch64")])
def test_another_kind_of_machine_is_told_that_the_packages_are_not_for_it(
    machine: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    monkeypatch.setattr("platform.system", lambda: machine[0])
    monkeypatch.setattr("platform.machine", lambda: machine[1])
    # when
    with pytest.raises(LocalPartError) as failure:
        condor_packages.fetched_condor(tmp_path / "cache")
    # then
    assert f"this machine runs {machine[0]} on {machine[1]}" in str(failure.value)


def test_what_apt_says_is_told_and_no_half_cache_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # given a machine whose mirror cannot be reached
    make_executable(tmp_path / "bin/apt-get", "echo 'E: Could not resolve mirror.example' >&2; exit 100")
    make_executable(tmp_path / "bin/dpkg-deb")
    make_executable(tmp_path / "bin/patchelf")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(condor_packages, "system_sources", lambda: parse_deb822(DEBIAN))
    # when
    with pytest.raises(LocalPartError) as failure:
        condor_packages.fetched_condor(tmp_path / "cache")
    # then
    assert "Could not resolve mirror.example" in str(failure.value)
    assert "Install HTCondor" in str(failure.value)
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


def test_an_unwritable_cache_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # given a file where the cache's folder would be
    (tmp_path / "cache").write_text("")
    # when
    with pytest.raises(LocalPartError) as failure:
        condor_packages.fetched_condor(tmp_path / "cache")
    # then
    assert str(tmp_path / "cache") in str(failure.value)
    assert "PREFECT_JOBS_CACHE" in str(failure.value)


@pytest.mark.parametrize("libexec", ["libexec/condor", "lib/condor/libexec", "libexec"])
def test_an_installation_on_path_is_used_wherever_it_keeps_its_parts(
    libexec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given
    release = tmp_path / "usr"
    make_executable(release / "sbin/condor_master")
    make_executable(release / "bin/condor_q")
    make_executable(release / "bin/condor_version", "echo '$CondorVersion: 24.1.2 2024-10-31 $'")
    make_executable(release / libexec / "condor_shared_port")
    monkeypatch.setenv("PATH", f"{release / 'sbin'}:/usr/bin:/bin")
    # when
    found = condor_packages.find_condor()
    # then
    assert (found.release_dir, found.sbin, found.bin) == (release, release / "sbin", release / "bin")
    assert found.libexec == release / libexec
    assert found.version == "24.1.2"


def test_the_configuration_of_another_pool_does_not_lead_the_installation_astray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a condor_config_val that answers by the configuration it is given
    release = tmp_path / "usr"
    make_executable(release / "sbin/condor_master")
    make_executable(release / "bin/condor_q")
    make_executable(release / "bin/condor_version", "echo '$CondorVersion: 24.1.2 2024-10-31 $'")
    make_executable(release / "bin/condor_config_val", '[ -n "${CONDOR_CONFIG:-}" ] && echo /another/pool/bin')
    monkeypatch.setenv("PATH", f"{release / 'sbin'}:/usr/bin:/bin")
    monkeypatch.setenv("CONDOR_CONFIG", "/another/pool/condor_config")
    # when
    found = condor_packages.find_condor()
    # then
    assert found.bin == release / "bin"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"PREFECT_JOBS_CACHE": "/somewhere/else"}, lambda home: Path("/somewhere/else")),
        ({"XDG_CACHE_HOME": "/xdg"}, lambda home: Path("/xdg/prefect-jobs")),
        ({}, lambda home: home / ".cache/prefect-jobs"),
    ],
)
def test_an_ordinary_users_cache_is_in_the_customary_place(
    environment: dict[str, str],
    expected: Callable[[Path], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # given
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("PREFECT_JOBS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    # then
    assert condor_packages.cache_directory() == expected(tmp_path)
