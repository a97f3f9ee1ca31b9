"""The package archives of this machine's apt, from its files in both formats (sources.list(5))."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

# Options that say how an archive is trusted and reached. The other options select packages from it.
_KEPT_OPTIONS = (
    "signed-by",
    "trusted",
    "allow-insecure",
    "check-valid-until",
    "check-date",
    "inrelease-path",
)

# Suites of the main Debian archive. The security archive and other vendors use other names.
_DEBIAN_SUITES = {
    *("buster", "bullseye", "bookworm", "trixie", "forky", "duke", "sid"),
    *("oldoldstable", "oldstable", "stable", "testing", "unstable"),
}


@dataclass(frozen=True)
class AptSource:
    """One archive: its address, the suites and components in use, and how it is trusted."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    """Names in lower case, such as `signed-by`; a value may be a key of many lines."""

    def deb822(self) -> str:
        """The archive as the content of a `.sources` file."""
        fields = {
            "Types": "deb",
            "URIs": self.uri,
            "Suites": " ".join(self.suites),
            "Components": " ".join(self.components),
        }
        fields |= {"-".join(part.capitalize() for part in name.split("-")): value for name, value in self.options}
        return "".join(f"{name}: {value}\n" for name, value in fields.items())


def system_sources(etc: Path = Path("/etc/apt")) -> list[AptSource]:
    """All enabled archives of binary packages in apt's files, in apt's order, without unreadable files."""
    files = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    found: list[AptSource] = []
    for file in files:
        parse = {".list": parse_list, ".sources": parse_deb822}.get(file.suffix)
        try:
            found += parse(file.read_text(errors="replace")) if parse else []
        except OSError:
            continue
    return found


def debian_source(sources: Iterable[AptSource], suite: str) -> AptSource | None:
    """The first Debian archive among the sources, for `suite` and its main component; None without one."""
    for source in sources:
        if "main" in source.components and _DEBIAN_SUITES.intersection(source.suites):
            return replace(source, suites=(suite,), components=("main",))
    return None


def parse_list(text: str) -> list[AptSource]:
    """The archives of a `.list` file: one per line, options in square brackets."""
    found = []
    for line in text.splitlines():
        entry = re.match(r"\s*deb\s+(?:\[(?P<options>[^]]*)\]\s*)?(?P<uri>\S+)\s+(?P<rest>[^#\s][^#]*)", line)
        if entry:
            suite, *components = entry["rest"].split()
            pairs = (option.partition("=") for option in (entry["options"] or "").split())
            options = _kept((name.rstrip("+-"), value) for name, _, value in pairs)
            found.append(AptSource(entry["uri"], (suite,), tuple(components), options))
    return found


def parse_deb822(text: str) -> list[AptSource]:
    """The archives of a `.sources` file: stanzas of fields, which may continue in indented lines."""
    found = []
    for fields in _stanzas(text):
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in (
            "no",
            "false",
        ):
            continue
        suites, components = (tuple(fields.get(name, "").split()) for name in ("suites", "components"))
        for uri in fields.get("uris", "").split():
            found.append(AptSource(uri, suites, components, _kept(fields.items())))
    return found


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    lines = (line.rstrip() for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n{2,}", "\n".join(lines)):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1].isspace():
                fields[name] = f"{fields.get(name, '')}\n{line}"
            else:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        yield fields


def _kept(options: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name.lower(), value) for name, value in options if name.lower() in _KEPT_OPTIONS)
