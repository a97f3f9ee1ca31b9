"""What the commands print."""

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from prefect_jobs.tethys.move.check import Check
from prefect_jobs.tethys.move.reading import Problem
from prefect_jobs.tethys.move.rewrite import Remark, Rewrite
from prefect_jobs.tethys.move.rules.finding import Verdict


def print_check(check: Check, *, as_json: bool) -> None:
    """Prints what was found in an app."""
    _print(_json(check_data(check)) if as_json else _text(_check_lines(check)))


def print_rewrite(rewrite: Rewrite, *, written: bool, as_json: bool) -> None:
    """Prints what was rewritten, or would be."""
    if as_json:
        _print(_json(_rewrite_data(rewrite, written=written)))
    else:
        _print("".join(changed.diff for changed in rewrite.changed) if not written else "")
        _print(_text(_rewrite_lines(rewrite, written=written)))


def check_data(check: Check) -> dict[str, Any]:
    """What was found in an app, for programs."""
    return {
        "findings": [
            {
                "file": str(line.path),
                "line": line.line,
                "column": line.column,
                "code": line.code,
                "kind": str(line.verdict),
                "message": line.message,
                "write": line.write,
            }
            for line in check.lines
        ],
        "problems": _problem_data(check.problems),
        "summary": {
            **{str(verdict): check.count(verdict) for verdict in Verdict},
            "files": check.files,
            "problems": len(check.problems),
        },
    }


def _check_lines(check: Check) -> Iterator[str]:
    for line in check.lines:
        yield f"{line.path}:{line.line}:{line.column}: {line.verdict}: {line.code}"
        yield f"    {line.message}"
        if line.write:
            yield f"    write: {line.write}"
    yield from _problem_lines(check.problems)
    works, changes, fails = (check.count(verdict) for verdict in Verdict)
    yield f"{fails} will not work, {changes} to change, {works} that work; {_read(check.files, check.problems)}."


def _rewrite_lines(rewrite: Rewrite, *, written: bool) -> Iterator[str]:
    if written:
        yield from (f"{changed.path}: {_count(changed.imports, 'import')} rewritten" for changed in rewrite.changed)
    yield from (f"{remark.path}:{remark.line}: {remark.message}" for remark in _remarks(rewrite))
    yield from _problem_lines(rewrite.problems)
    done = "rewritten" if written else "to rewrite"
    left = f", {_count(len(rewrite.left), 'import')} to change by hand" if rewrite.left else ""
    where = f"{_count(rewrite.imports, 'import')} {done} in {_count(len(rewrite.changed), 'file')}{left}"
    hint = " Nothing was written: use --write." if rewrite.changed and not written else ""
    yield f"{where}; {_read(rewrite.files, rewrite.problems)}.{hint}"


def _rewrite_data(rewrite: Rewrite, *, written: bool) -> dict[str, Any]:
    return {
        "written": written,
        "changed": [
            {"file": str(changed.path), "imports": changed.imports, "diff": changed.diff} for changed in rewrite.changed
        ],
        "left": [_remark_data(remark) for remark in rewrite.left],
        "staying": [_remark_data(remark) for remark in rewrite.staying],
        "problems": _problem_data(rewrite.problems),
        "summary": {
            "imports": rewrite.imports,
            "changed": len(rewrite.changed),
            "left": len(rewrite.left),
            "files": rewrite.files,
            "problems": len(rewrite.problems),
        },
    }


def _remarks(rewrite: Rewrite) -> list[Remark]:
    return sorted([*rewrite.left, *rewrite.staying], key=lambda remark: (remark.path, remark.line))


def _remark_data(remark: Remark) -> dict[str, Any]:
    return {"file": str(remark.path), "line": remark.line, "message": remark.message}


def _problem_data(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    return [{"file": str(each.path), "line": each.line or None, "message": each.message} for each in problems]


def _problem_lines(problems: Iterable[Problem]) -> Iterator[str]:
    for problem in problems:
        yield f"{problem.path}:{f'{problem.line}:' if problem.line else ''} {problem.message}"


def _read(files: int, problems: list[Problem]) -> str:
    bad = f", {len(problems)} could not be read" if problems else ""
    return f"{_count(files, 'file')} read{bad}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=2, ensure_ascii=True) + "\n"


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _print(text: str) -> None:
    # names of files may have bytes that are no text, and the terminal may not know each character
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
