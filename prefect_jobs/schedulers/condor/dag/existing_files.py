"""The files that belong to an existing DAG: found in its commands and in its submit files, and sent with it.

The folder that is sent has the files at the same places, so that every relative path keeps its meaning. Absolute paths
mean files of the access point, as they do for condor_submit_dag, but for those into the folder of the DAG itself.
"""

import glob
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from prefect_jobs.schedulers.condor.dag import own_paths
from prefect_jobs.schedulers.condor.dag.existing_model import ExistingDag, FileNode
from prefect_jobs.schedulers.condor.dag.file import DAG_NAME, FOLDER, STATUS_INTERVAL, STATUS_NAME
from prefect_jobs.schedulers.condor.dag.lines import read
from prefect_jobs.schedulers.condor.dag.model import FINAL, SUBDAG, DagError
from prefect_jobs.schedulers.condor.dag.staging import INPUTS, RESCUE_NAME, link
from prefect_jobs.schedulers.condor.submit import commands
from prefect_jobs.schedulers.condor.submit.input_files import URL, expand

_COMMAND = re.compile(r"^\s*([A-Za-z_+][\w.]*)\s*=\s*(.*?)\s*$")
_QUEUE = re.compile(r"^\s*queue\s.*?\bfrom\s+(?:\[[^]]*\]\s*)?([^\s(|]+)\s*$", re.IGNORECASE)
_MATCHING = re.compile(r"^\s*queue\s.*?\bmatching\s+(?:files\s+|dirs\s+|any\s+)?(.+)$", re.IGNORECASE)
_INCLUDE = re.compile(r"^\s*@?include\s*:?\s*([^\s|:]+)\s*$", re.IGNORECASE)
_MACRO = re.compile(r"\$\$?\w*\([^()]*\)")
_FALSE = ("false", "f", "no", "0", "never")
#: How far above the folder of the DAG file its files may be.
_UP = 4


@dataclass(frozen=True)
class Sent:
    """What is sent for a DAG file."""

    #: The folder of which the folder that is sent is a picture.
    base: Path
    #: Path from there → the file or directory.
    files: Mapping[str, Path]
    #: From there to the folder of the DAG file.
    folder: str


def files_of(dag: ExistingDag, more: Sequence[str] = ()) -> Sent:
    """The files that belong to a DAG.

    Args:
        dag: the DAG.
        more: others, which no command names; paths from the folder of the file, or absolute ones.

    Raises:
        DagError: a file is not there that no node makes, or one is too far away.
    """
    home = dag.path.parent
    found: dict[Path, Path] = {}

    def add(path: Path) -> bool:
        where = Path(os.path.normpath(path))
        if where == home:  # the folder itself: what is in it
            return all([add(each) for each in where.iterdir()])
        if where in found or (where.exists() and not home.is_relative_to(where)):
            found[where] = where
        return where in found

    for path in dag.files:
        add(path)
    known: _Known = {}
    for node in dag.nodes.values():
        _add_files_of(node, home, add, known)
        if node.kind == SUBDAG and node.names:  # its DAGMan takes a rescue DAG, too
            file = node.folder / node.names
            for each in file.parent.glob(f"{glob.escape(file.name)}.rescue*"):
                add(each)
    for given in more:
        if not add(home / given):
            raise DagError(f"The file {given!r}, of remote_input_files, does not exist. Looked in: {home}.")
    base = Path(os.path.commonpath([home, *(path if path.is_dir() else path.parent for path in found)]))
    if len(home.relative_to(base).parts) > _UP or base == Path("/"):
        near = home.parents[min(_UP, len(home.parents) - 1) - 1]
        far = next((path for path in found if near == Path("/") or not path.is_relative_to(near)), home)
        raise DagError(
            f"{dag.path}: it uses {str(far)!r}, which is more than {_UP} folders above. The files of a DAG are sent "
            "with their folders: put it nearer, or name it by an absolute path if the access point has it."
        )
    files = {str(path.relative_to(base)): path for path in found if path != base}
    return Sent(base, files, str(home.relative_to(base)))


#: Folder and name of a submit file → whether it is sent or at the access point, its text, and what it names where that
#: does not depend on the node. Thousands of nodes may have the same.
_Known = dict[tuple[Path, str], tuple[bool, str | None, list[tuple[str, bool, list[str]]] | None]]


def _add_files_of(node: FileNode, home: Path, take: Callable[[Path], bool], known: _Known) -> None:
    for kind, script in node.scripts.items():
        made = not node.is_first if kind != "PRE" else bool(node.parents or node.dag)
        if not Path(script).is_absolute() and not take(node.folder / script) and not made:
            raise node.line.error(f"the {kind} script {script!r} of the node {node.name!r} does not exist.")
    text = node.body
    named_there: list[tuple[str, bool, list[str]]] | None = None
    if node.names and text is None:
        key = node.folder, node.names
        if key not in known:
            known[key] = _read(node, home, take)
        there, text, named_there = known[key]
        if not there and node.is_first and node.kind != FINAL and not node.options.get("noop"):
            what = "DAG file" if node.kind == SUBDAG else "submit file"
            raise node.line.error(
                f"the {what} {node.names!r} of the node {node.name!r} does not exist. Looked in: {node.folder}."
            )
    if text is None or node.options.get("noop"):
        return
    if named_there is None or node.variables:
        macros = {"job": node.name.removeprefix(f"{node.dag}+") if node.dag else node.name, **node.variables}
        named_there = [(name, needed, _matches(node.folder, name)) for name, needed in named(text, node.folder, macros)]
    for name, is_needed, matches in named_there:
        for match in matches:
            take(Path(match))
        if not matches and is_needed and node.is_first and not (node.options or node.kind == FINAL):
            raise node.line.error(
                f"the file {name!r} of the node {node.name!r} does not exist. Looked in: {node.folder}."
            )


def _read(
    node: FileNode, home: Path, take: Callable[[Path], bool]
) -> tuple[bool, str | None, list[tuple[str, bool, list[str]]] | None]:
    """What is known of the submit file of a node; its text too, if it has one that matters."""
    path = node.folder / node.names
    there = Path(node.names).is_absolute() or take(path)
    text = read(path) if there and path.is_file() and node.kind != SUBDAG else None
    text = None if text is None else own_paths.in_description(text, home, node.folder)
    if text is None or "$" in text or "include" in text.lower():
        return there, text, None
    return there, text, [(name, needed, _matches(node.folder, name)) for name, needed in named(text, node.folder, {})]


def _matches(folder: Path, name: str) -> list[str]:
    if not glob.has_magic(name):
        return [str(folder / name)] if (folder / name).exists() else []
    if not PurePosixPath(name).name.strip("*?"):
        return []  # anything: only HTCondor knows which
    return glob.glob(str(folder / name))  # noqa: PTH207 (the name may have folders)


def named(text: str, folder: Path, variables: Mapping[str, str], depth: int = 5) -> Iterator[tuple[str, bool]]:
    """The relative paths that a submit description names, with ``*`` where only HTCondor knows a part of it, and
    whether the file must be there.

    Args:
        text: the description.
        folder: in which its files are.
        variables: of the node.
        depth: how many files may include each other.
    """
    macros: dict[str, str] = {**variables}
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        if found := _COMMAND.match(line):
            macros[commands.canonical(found[1]).lower()] = found[2]
        elif found := _INCLUDE.match(line):
            name = _known(found[1], macros)
            yield name, True
            if (folder / name).is_file() and depth:
                yield from named(read(folder / name), folder, macros, depth - 1)
        elif found := _QUEUE.match(line):
            yield _known(found[1], macros), True
        elif found := _MATCHING.match(line):
            yield from ((_known(part, macros), False) for part in re.split(r"[\s,]+", found[1].strip("() ")))
    macros.update(variables)
    initial = _known(macros.get("initialdir") or macros.get("initial_dir") or "", macros)
    for command in ("executable", "input", "transfer_input_files", "public_input_files", "jar_files"):
        sent = macros.get(f"transfer_{command}", "").lower() not in _FALSE
        if command != "transfer_input_files" and not sent:
            continue
        for part in macros.get(command, "").split(",") if "files" in command else [macros.get(command, "")]:
            name = _known(part.strip(), macros)
            if name and not URL.match(name) and not name.startswith("/"):
                yield name if command == "executable" else os.path.join(initial, name), "*" not in name  # noqa: PTH118


def _known(text: str, macros: Mapping[str, str]) -> str:
    """A path with the values of macros, and ``*`` for those that only HTCondor knows."""
    return _MACRO.sub("*", expand(text, {name.lower(): value for name, value in macros.items()}))


#: What else is in a job directory.
_NOT_OUTPUTS = (DAG_NAME, STATUS_NAME, "workflow.log", "dagman.out", "dagman.err", ".incoming")
_RESCUE = re.compile(r"\.rescue\d+\Z")
#: DAGMan's files of a run beside a DAG. If they were sent, DAGMan would take that run for one in progress.
_OF_A_RUN = (".lock", ".nodes.log", ".condor.sub", ".dagman.log", ".dagman.out", ".dagman.lib.out", ".metrics")


def stage(
    dag: ExistingDag,
    sent: Sent,
    stage_folder: Path,
    max_jobs: Mapping[str, int],
    *,
    earlier: Path | None = None,
    done: Sequence[str] | None = None,
    rescues: bool = True,
) -> None:
    """Builds the folder that is sent for an existing DAG: links to its files, and a copy of the DAG file with what is
    wanted besides.

    Args:
        dag: the DAG.
        sent: its files.
        stage_folder: an empty folder.
        max_jobs: throttles by category.
        earlier: the job directory, with the outputs of an earlier run that is continued.
        done: the nodes that are done already; ``None``: all nodes run.
        rescues: whether the rescue DAGs beside inner DAGs count.

    Raises:
        DagError: another file has the name of the copy.
        OSError: it cannot be written.
    """
    root = stage_folder / FOLDER
    home = root / sent.folder
    home.mkdir(parents=True)
    (stage_folder / INPUTS).mkdir()
    copy = home / DAG_NAME
    changed = _changed(dag)
    own = os.path.normpath(os.path.join(sent.folder, DAG_NAME))  # noqa: PTH118
    if earlier is not None:
        for path in sorted(earlier.iterdir()):
            if path.name not in _NOT_OUTPUTS and not path.name.startswith(f"{DAG_NAME}."):
                link(path, root / path.name)
    for relative, source in sent.files.items():
        if relative == own and source != dag.path:
            raise DagError(f"{source}: a file beside the DAG file cannot have this name, which is needed. Rename it.")
        if relative == own or (not rescues and _RESCUE.search(relative)):
            continue
        _forget_older(source, root / relative)
        if source in changed:
            (root / relative).parent.mkdir(parents=True, exist_ok=True)
            (root / relative).unlink(missing_ok=True)
            (root / relative).write_text(changed[source])
        else:
            link(source, root / relative)
    for file in dag_files(dag, sent):
        for ending in _OF_A_RUN:
            (root / f"{file}{ending}").unlink(missing_ok=True)
    more = [f"MAXJOBS {category} {number}" for category, number in max_jobs.items()]
    if not dag.status_file:
        more.append(f"NODE_STATUS_FILE {os.path.relpath(root / STATUS_NAME, home)} {STATUS_INTERVAL}")
    text = changed[dag.path].encode() if dag.path in changed else dag.path.read_bytes()
    copy.write_bytes(text.rstrip(b"\n") + ("\n" + "\n".join([*more, ""])).encode())
    if done is not None:
        (home / RESCUE_NAME).write_text("".join(f"DONE {name}\n" for name in done))


def _changed(dag: ExistingDag) -> dict[Path, str]:
    """The files of a DAG with paths that become relative."""
    home, found = dag.path.parent, {}
    for path in dag.files:
        if path.is_file() and own_paths.has_any(text := read(path), home):
            found[path] = own_paths.in_dag(text, home)
    for folder, name in {(node.folder, node.names) for node in dag.nodes.values() if node.kind != SUBDAG}:
        path = Path(os.path.normpath(folder / name))
        if name and path.is_file() and own_paths.has_any(text := read(path), home):
            found[path] = own_paths.in_description(text, home, folder)
    return found


def dag_files(dag: ExistingDag, sent: Sent) -> list[str]:
    """The inner DAGs of a DAG, as paths in the folder that is sent."""
    files = {Path(os.path.normpath(node.folder / node.names)) for node in dag.nodes.values() if node.kind == SUBDAG}
    return [os.path.relpath(file, sent.base) for file in sorted(files)]


def _forget_older(source: Path, target: Path) -> None:
    """Removes links to outputs of an earlier run that were changed since at their source."""
    pairs = [(source, target)]
    if source.is_dir():
        pairs = [(each, target / each.relative_to(source)) for each in source.rglob("*") if not each.is_dir()]
    for path, there in pairs:
        if there.is_symlink() and path.exists() and path.stat().st_mtime_ns > there.stat().st_mtime_ns:
            there.unlink()
