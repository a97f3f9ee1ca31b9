"""``python -m prefect_jobs.tethys``: helps to move an app of the Tethys Platform."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from prefect_jobs.tethys.move.check import check
from prefect_jobs.tethys.move.reading import NoPython
from prefect_jobs.tethys.move.report import print_check, print_rewrite
from prefect_jobs.tethys.move.rewrite import rewrite


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: those of the command line, if not given.

    Returns:
        The exit status: 0 if all will work, 1 if not, 2 if there is nothing to read.
    """
    options = _parser().parse_args(arguments)
    try:
        if options.command == "check":
            found = check(options.path)
            print_check(found, as_json=options.json)
            return found.status
        done = rewrite(options.path, write=options.write)
        print_rewrite(done, written=options.write, as_json=options.json)
        return done.status
    except NoPython as error:
        sys.stderr.write(f"error: {error}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m prefect_jobs.tethys",
        description="Helps to move an app of the Tethys Platform to prefect-jobs. The app's code is read, never run.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    text = "List what of an app will work, what will not, and what to write instead."
    _add(commands.add_parser("check", help=text, description=text))
    text = "Change the imports of an app; without --write, print what would change."
    rewriting = commands.add_parser("rewrite", help=text, description=text)
    _add(rewriting)
    rewriting.add_argument("--write", action="store_true", help="Change the files.")
    return parser


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", type=Path, help="A Python file, or the folder of an app.")
    parser.add_argument("--json", action="store_true", help="Print JSON.")


if __name__ == "__main__":
    # long chains of calls and sums are nested deeply
    sys.setrecursionlimit(20_000)
    raise SystemExit(main())
