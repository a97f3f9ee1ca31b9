"""The folder that is sent to the access point for a DAG: the DAG file, submit files, and links to inputs of nodes.

dag/workflow.dag            the DAG; DAGMan writes its files beside it
dag/<node>/<node>.sub       a node's submit file; the node runs in that folder, and its outputs are written there
inputs/<number>/<name>      local files, each sent once for all nodes that read it; they are not fetched back
"""

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from prefect_jobs import graph
from prefect_jobs.schedulers.condor.dag import references as dag_references
from prefect_jobs.schedulers.condor.dag.file import DAG_NAME, FOLDER, submit_file, write_dag
from prefect_jobs.schedulers.condor.dag.model import FINAL, JOB, PROGRAMS, SERVICE, SPLICE, SUBDAG, DagNode
from prefect_jobs.schedulers.condor.submit.description import Request, describe_node
from prefect_jobs.schedulers.condor.submit.input_files import SEPARATORS, DescriptionError, InputFiles, expand, literal

INPUTS = "inputs"
RESCUE_NAME = f"{DAG_NAME}.rescue001"
#: DAGMan's files of a run, beside an inner DAG. If they were sent, DAGMan would take that run for one in progress.
_DAGMANS_OWN = (".lock", ".nodes.log", ".condor.sub", ".dagman.log", ".dagman.out", ".metrics")
#: Largest number of links to directories on the way to a file: links that form a net have endless paths.
_LINKS = 3


@dataclass(frozen=True)
class DagRequest:
    """What to submit."""

    nodes: Sequence[DagNode]
    max_jobs: Mapping[str, int]
    #: The job directory of the workflow, into which outputs are fetched.
    directory: Path
    #: Folders in which relative names are searched, after the node's own and before that in which it was created.
    search: Sequence[Path]
    #: An empty folder for all of this, without spaces in its path.
    stage: Path
    #: The nodes that are done already, by DAGMan's names (``+`` for nodes in a splice); ``None``: all nodes run.
    done: Sequence[str] | None = None
    #: Folders in which relative names are searched last.
    last: Sequence[Path] = ()


def stage(request: DagRequest) -> None:
    """Builds the folder.

    Raises:
        DescriptionError: a node that HTCondor would not accept, a file that is missing.
        OSError: it cannot be written.
    """
    root = request.stage / FOLDER
    root.mkdir()
    (request.stage / INPUTS).mkdir()
    shelf = _Shelf(request.stage / INPUTS)
    scripts: dict[tuple[str, str], str] = {}
    outputs = _Outputs(request)
    for node in request.nodes:
        folder = root / node.directory
        places = _places(request, node)
        if node.noop and node.kind in PROGRAMS:
            folder.mkdir(parents=True, exist_ok=True)  # DAGMan reads no submit file for it, but runs its scripts
        elif node.kind in PROGRAMS:
            _stage_program(request, node, folder, shelf, outputs)
        else:
            (folder / "logs").mkdir(parents=True, exist_ok=True)
            _stage_inner_dag(node, folder, places)
        for which, script in (("PRE", node.pre_script), ("POST", node.post_script)):
            if script:
                what = f"{which} script of the {node.title}"
                scripts[node.name, which] = _up(node) + shelf.script(script, node.remote_input_files, places, what)
    _stage_earlier(request, root)
    (root / DAG_NAME).write_text(write_dag(request.nodes, request.max_jobs, scripts))


def _places(request: DagRequest, node: DagNode) -> list[Path]:
    made = [Path(node.folder)] if node.folder else []
    return [request.directory / node.directory, request.directory, *request.search, *made, *request.last]


def _stage_program(request: DagRequest, node: DagNode, folder: Path, shelf: "_Shelf", outputs: "_Outputs") -> None:
    """Writes the node's submit file."""
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    places = _places(request, node)
    wanted = Request(
        name=node.name,
        attributes=node.attributes,
        directory=places[0],
        search=places[1:],
        input_files=node.remote_input_files,
        count=node.num_jobs,
        variables={"JOB": node.name, **{key: str(value) for key, value in node.variables.items()}},
        what="node",
    )

    def files(macros: Mapping[str, str]) -> InputFiles:
        return _StagedFiles(node, places, macros, folder, shelf, outputs)

    try:
        description = describe_node(wanted, files)
    except DescriptionError as error:
        text = str(error)
        raise DescriptionError(text if node.title in text else f"The {node.title}: {text}") from None
    if not description.spool:
        for name in description.folders:
            (places[0] / name).mkdir(parents=True, exist_ok=True)
    for name in description.folders:
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / submit_file(node)).write_text(f"{description.text}queue {node.num_jobs}\n")


def _stage_inner_dag(node: DagNode, folder: Path, places: Sequence[Path]) -> None:
    """Links the DAG of a SUBDAG or SPLICE, the files that it names, and the node's other files into its folder."""
    path = next((place / str(node.dag_file) for place in places if (place / str(node.dag_file)).is_file()), None)
    if path is None:
        raise DescriptionError(
            f"The dag_file {node.dag_file!r} of the {node.title} does not exist. "
            f"Looked in: {', '.join(map(str, places))}."
        )
    for relative, source in dag_references.files_of(path).items():
        link(source, folder / relative)
    for given in node.remote_input_files:
        found = next((place / given for place in places if (place / given).exists()), None)
        if found is None:
            raise DescriptionError(f"The input file {given!r} of the {node.title} does not exist.")
        link(found.absolute(), folder / found.name)


def _stage_earlier(request: DagRequest, root: Path) -> None:
    """Adds the rescue DAG, and the files of an earlier run for the nodes that are still to be run."""
    names = {node.name for node in request.nodes}
    over = {node.name for node in request.nodes if node.done}
    if request.done is not None:
        done = [name for name in request.done if name.partition("+")[0] in names]
        (root / RESCUE_NAME).write_text("".join(f"DONE {name}\n" for name in done))
        over |= names.intersection(done)
    if any(node.kind in (FINAL, SERVICE) for node in request.nodes):
        wanted = over  # they may read all of them
    else:
        pending = [node.name for node in request.nodes if node.name not in over]
        wanted = graph.ancestors({node.name: node.parents for node in request.nodes}, *pending)
    for node in request.nodes:
        # An inner DAG continues from its last state, too.
        inner = request.done is not None and node.name not in over and node.kind in (SUBDAG, SPLICE)
        if inner or node.name in over & wanted:
            _link_contents(request.directory / node.directory, root / node.directory, leave=_DAGMANS_OWN)


def _link_contents(
    source: Path, target: Path, leave: tuple[str, ...] = (), above: tuple[Path, ...] = (), links: int = _LINKS
) -> None:
    """Links the contents of a directory, and of directories that links in it lead to, but not in cycles."""
    if not source.is_dir():
        return
    above = (*above, source.resolve())
    for path in sorted(source.iterdir()):
        follows = path.is_symlink() and path.is_dir()
        if follows and (links == 0 or path.resolve() in above):
            continue
        if path.exists() and not (leave and path.name.endswith(leave)):
            link(path, target / path.name, leave, above, links - follows)


def link(
    source: Path, target: Path, leave: tuple[str, ...] = (), above: tuple[Path, ...] = (), links: int = _LINKS
) -> None:
    """Links a file; copies a directory as a directory of links, since HTCondor transfers no link to a directory."""
    if target.is_symlink() or target.is_file():
        return
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        _link_contents(source, target, leave, above, links)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source)


def _up(node: DagNode) -> str:
    """From a node's directory to the parent of the folders of the DAG and of local files."""
    return "../" * (len(PurePosixPath(node.directory).parts) + 1)


class _Shelf:
    """The folder of local files, with one subfolder for each folder that files come from."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers: dict[Path, int] = {}

    def place(self, path: Path, levels: int = 1) -> str:
        """Links a file; returns the folder, from a node's directory, that contains its last ``levels`` parts."""
        source = path.parents[levels - 1]
        number = self._numbers.setdefault(source, len(self._numbers))
        link(path, self._folder / str(number) / path.relative_to(source))
        return f"{INPUTS}/{number}"

    def script(self, given: str, named: Sequence[str], places: Sequence[Path], what: str) -> str:
        """Copies a script, so that it is executable whatever its permissions on this machine. It may be one of the
        ``named`` input files, by its base name."""
        wanted = PurePosixPath(given)
        same = named if str(wanted.parent) in (".", "..") else ()
        names = [given, *(each for each in same if PurePosixPath(each).name == wanted.name)]
        path = next((place / name for name in names for place in places if (place / name).is_file()), None)
        if path is None:
            raise DescriptionError(f"The {what}, {given!r}, does not exist. Looked in: {', '.join(map(str, places))}.")
        source = path.absolute().parent / ".scripts"  # separate from data of the same folder: a copy, not a link
        number = self._numbers.setdefault(source, len(self._numbers))
        target = self._folder / str(number) / path.name
        if SEPARATORS.search(path.name):
            raise DescriptionError(f"The {what}, {path.name!r}, has a space or a comma in its name. Rename it.")
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)
        target.chmod(0o755)
        return f"{INPUTS}/{number}/{path.name}"


class _Outputs:
    """The paths that lead to outputs of other nodes."""

    def __init__(self, request: DagRequest) -> None:
        self._names: dict[PurePosixPath, list[str]] = {}
        for node in request.nodes:
            self._names.setdefault(PurePosixPath(node.directory), []).append(node.name)
        self._parents = {node.name: node.parents for node in request.nodes}
        #: A node and all its ancestors; one node at a time, since those in a long chain have very many.
        self._before: tuple[str, set[str]] = ("", set())

    def _comes_before(self, other: str, node: DagNode) -> bool:
        if other in node.parents:
            return True
        if self._before[0] != node.name:
            self._before = (node.name, graph.ancestors(self._parents, node.name))
        return other in self._before[1]

    def shares(self, node: DagNode) -> bool:
        """Whether another node that may run before this one has the same directory."""
        others = [name for name in self._names[PurePosixPath(node.directory)] if name != node.name]
        if not set(others).isdisjoint(node.parents):
            return True
        return any(node.kind not in (JOB, SUBDAG) or self._comes_before(other, node) for other in others)

    def look_up(self, node: DagNode, text: str) -> str | None:
        """The path, from this node, to an output in another node's directory; ``None``: the text leads to none.

        Raises:
            DescriptionError: the other node does not run before this one.
        """
        own = PurePosixPath(node.directory)
        for base in (own, PurePosixPath()):
            path = PurePosixPath(os.path.normpath(base / text))
            for above in (path, *path.parents):
                others = self._names.get(above)
                if others is None or above == own:
                    continue
                if node.kind in (JOB, SUBDAG) and not any(self._comes_before(other, node) for other in others):
                    raise DescriptionError(
                        f"The {node.title} reads {text!r}, which the node {others[0]!r} writes, but that node is no "
                        "ancestor. Add it with add_parent()."
                    )
                return os.path.relpath(path, own)
        return None


class _StagedFiles(InputFiles):
    """Local files are linked into the shelf; outputs of other nodes are expected when the node runs."""

    def __init__(
        self,
        node: DagNode,
        places: Sequence[Path],
        macros: Mapping[str, str],
        folder: Path,
        shelf: _Shelf,
        outputs: _Outputs,
    ) -> None:
        super().__init__(node.remote_input_files, places, links=None, count=node.num_jobs, macros=macros)
        self._node = node
        self._shelf = shelf
        self._outputs = outputs
        self._folder = folder
        self._up = _up(node)
        #: Its files may be created in its directory before it starts: by its script, or by a node that shares it.
        self._made = node.pre_script is not None or outputs.shares(node)
        self._sent: dict[str, str] = {}

    def executable(self, given: str) -> tuple[str, Path | None]:
        text, paths = self._paths(given, "executable")
        if not paths:
            return text, None
        if paths[0].is_dir():
            raise DescriptionError(f"The executable {given!r} is a directory. Name the program in it.")
        self._check_readable(paths)
        return self._placed(text, paths), paths[0]

    def standard_input(self, given: str) -> str:
        text, paths = self._paths(given, "standard input")
        return self._placed(text, paths)

    def _paths(self, given: str, what: str) -> tuple[str, list[Path]]:
        wanted = expand(given, self._macros)
        if wanted.startswith("/") or self._is_named(given):
            return super()._paths(given, what)
        foreign = self._outputs.look_up(self._node, wanted)
        if foreign is not None:
            return foreign, []
        try:
            text, paths = super()._paths(given, what)
        except DescriptionError:
            if not self._made:
                raise
            return wanted, []
        own = literal(Path(os.path.normpath(self._folders[0].absolute()))) + "/"
        if not self._made or not text.startswith(own):
            return text, paths
        # Perhaps fetched in an earlier run: take it where it is written again.
        self._check_readable(paths)
        for path in paths:
            link(path, self._folder / path.relative_to(os.path.normpath(self._folders[0].absolute())))
        return text.removeprefix(own), []

    def _is_named(self, given: str) -> bool:
        """Whether it is one of the node's remote_input_files, by path, base name, or as ``../name``."""
        path = PurePosixPath(given)
        beside = path.parent in (PurePosixPath(".."), PurePosixPath("."))
        return given in self._named or (beside and path.name in self._named)

    def _sendable(self, text: str, paths: Sequence[Path], contents: bool) -> str:
        self._check_readable(paths)
        placed = self._placed(text, paths)
        name = PurePosixPath(placed).name
        if SEPARATORS.search(placed):
            raise DescriptionError(
                f"The input file {name!r} has a space or a comma in its name, at which HTCondor "
                "splits its lists of files. Rename it, or put it into a directory and send that."
            )
        other = self._sent.setdefault(name, placed) if not contents else placed
        if other != placed:
            raise DescriptionError(
                f"The inputs {other!r} and {placed!r} have the same name, and all inputs of a job are in one folder "
                "there. Give the outputs of the earlier nodes different names, or send a directory."
            )
        return placed + ("/" if contents else "")

    def _check_readable(self, paths: Sequence[Path]) -> None:
        for path in paths:
            if not os.access(path, os.R_OK):
                raise DescriptionError(f"The file {str(path)!r} cannot be read by this process.")

    def _placed(self, text: str, paths: Sequence[Path]) -> str:
        """The path from the node's directory; ``text`` may contain the proc number."""
        if not paths:
            return text
        parts = PurePosixPath(text).parts
        # From the first part on that differs between procs, or the last one.
        first = next((index for index, part in enumerate(parts) if _varies(part)), len(parts) - 1)
        levels = len(parts) - first
        places = {self._shelf.place(path, levels) for path in paths}
        if len(places) > 1:
            raise DescriptionError(f"The files {text!r} of the processes are not all below one folder.")
        below = "/".join(parts[first:]) if len(paths) > 1 or _varies(parts[first]) else literal(Path(paths[0].name))
        return f"{self._up}{places.pop()}/{below}"


def _varies(part: str) -> bool:
    return bool(re.search(r"\$\((?:process|procid|step)\)", part, re.IGNORECASE))
