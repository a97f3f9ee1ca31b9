"""Reads a submit file with HTCondor's own parser. Run as a module in a process of its own, since the parser is a C
library that may end its process and writes to standard error. The process starts elsewhere and then goes to the folder
of the file: Python would import modules from the folder in which it starts.

The answer is a line of JSON: ``{"sections": …}``, one for each ``queue`` statement, or ``{"error": …, "line": …}``.
"""

import json
import os
import re
import sys
import warnings
from pathlib import Path
from typing import Any

_QUEUE = re.compile(r"^\s*queue(?![\w.])(?!\s*=)(.*)$", re.IGNORECASE | re.DOTALL)
_BLOCK = re.compile(r"@=\s*(\w+)\s*$")
_IF = re.compile(r"^\s*if\b", re.IGNORECASE)
_ENDIF = re.compile(r"^\s*endif\b", re.IGNORECASE)
#: The words after which the items of a ``queue`` statement come, with a slice.
_SLICE = re.compile(r"\b(?:in|from|matching(?:\s+(?:files|dirs|any))?)\s*\[([-\d:\s]*)\]", re.IGNORECASE)
_COUNT = re.compile(r"^\s*(\d+|\$)")
_FROM_INPUT = re.compile(r"\bfrom\s*(?:\[[^\]]*\]\s*)?-\s*$", re.IGNORECASE)
#: What the bindings say of a list with a blank line, and what it means.
_NO_ROW = "invalid qargs"
_BLANK = "the list of items has a blank line, of which condor_submit would make a process without values. Remove it"
#: The name that holds a text whose macros are expanded.
_SCRATCH = "prefect_jobs_scratch"


class FileError(Exception):
    """The file cannot be read; ``line`` counts from 1, 0: none."""

    def __init__(self, text: str, line: int = 0) -> None:
        super().__init__(text)
        self.line = line


class Statement:
    """A line with those that continue it: text, and its place in the file."""

    def __init__(self, lines: list[str], first: int) -> None:
        self.lines = lines
        self.first = first
        text = "\n".join(lines)
        match = None if text.lstrip().startswith("#") else _QUEUE.match(re.sub(r"\\\n", " ", text))
        self.queue = None if match is None else match[1].strip()

    @property
    def text(self) -> str:
        """As the parser gets it: a ``queue`` statement with a count, to tell it from none."""
        if self.queue is None:
            return "\n".join(self.lines)
        head, *rest = self.queue.split("\n")
        return "\n".join([f"queue {head if _COUNT.match(head) else f'1 {head}'.rstrip()}", *rest])


def statements_of(text: str) -> list[Statement]:
    """The statements of a file.

    Raises:
        FileError: a list or a block has no end.
    """
    lines, found, number = text.replace("\r\n", "\n").split("\n"), list[Statement](), 0
    while number < len(lines):
        first, end = number, None
        while lines[number].rstrip().endswith("\\") and number + 1 < len(lines):
            number += 1
        whole = "\n".join(lines[first : number + 1])
        block = _BLOCK.search(whole)
        if whole.lstrip().startswith("#"):
            number = first  # a comment is not continued
        elif block:
            end = re.compile(rf"^\s*@{block[1]}\b")
        elif _QUEUE.match(whole) and whole.count("(") > whole.count(")"):
            end = re.compile(r"^\s*\)")
        while end is not None and not end.match(lines[number]):
            number += 1
            if number == len(lines):
                what = "block" if block else "list"
                raise FileError(f"the {what} that begins here has no end", first + 1)
        number += 1
        found.append(Statement(lines[first:number], first + 1))
    return found


def sections_of(condor: Any, text: str) -> list[dict[str, Any]]:
    """The commands, the count and the items of each ``queue`` statement that is reached; without one, the commands.

    Raises:
        FileError: the parser does not accept the file.
    """
    before: list[Statement] = []
    sections: list[dict[str, Any]] = []
    for statement in statements_of(text):
        if statement.queue is None:
            before.append(statement)
            continue
        parsed = _parsed(condor, [*before, statement])
        if parsed.getQArgs():  # else it stands in a branch that is not taken
            sections.append(_section(condor, parsed, statement))
    if _depth(before) > 0:
        raise FileError("an 'if' has no 'endif'")
    return sections or [{"commands": _commands(_parsed(condor, before)), "count": None, "items": None, "line": 0}]


def _depth(statements: list[Statement]) -> int:
    return sum(bool(_IF.match(each.text)) - bool(_ENDIF.match(each.text)) for each in statements)


def _parsed(condor: Any, statements: list[Statement]) -> Any:
    """What HTCondor reads in the statements; an ``if`` that is open at their end is closed.

    Raises:
        FileError: it cannot read them; with the line of the first that it cannot read.
    """

    def submit(number: int) -> Any:
        lines = [each.text for each in statements[:number]]
        return condor.Submit("\n".join([*lines, *["endif"] * _depth(statements[:number])]) + "\n")

    try:
        return submit(len(statements))
    except Exception as error:
        for number, statement in enumerate(statements, 1):
            try:
                submit(number)
            except Exception:
                line = statement.lines[0].strip()
                raise FileError(f"HTCondor cannot read {line[:200]!r}", statement.first) from error
        raise FileError(_text(error)) from error


def _section(condor: Any, parsed: Any, statement: Statement) -> dict[str, Any]:
    wanted = statement.queue or ""
    if _FROM_INPUT.search(wanted):
        raise FileError("the items come from standard input. Put them into a file, or give items=", statement.first)
    commands, words = _commands(parsed), statement.text.split("\n")[0].removeprefix("queue ")
    count, rest = _count_of(condor, commands, words, statement)
    items: list[dict[str, str]] | None = None
    if rest:
        try:
            items = [dict(item) for item in parsed.itemdata() or ()]
        except TypeError:
            items = []  # nothing matches
        except Exception as error:
            raise FileError(_BLANK if _NO_ROW in str(error) else _text(error), statement.first) from error
        items = _sliced(items, rest, statement)
    return {"commands": commands, "count": count, "items": items, "line": statement.first}


def _count_of(condor: Any, commands: dict[str, str], words: str, statement: Statement) -> tuple[int, str]:
    """The number at the beginning of a ``queue`` statement, and what follows it."""
    match = re.match(r"\s*(\$\w*\([^)]*\)|\d+)\s*(.*)$", re.sub(r"\s#.*$", "", words), re.DOTALL)
    if match is None:
        raise FileError(f"'queue {words}' has no number of processes", statement.first)
    text, rest = match[1], match[2]
    if text.startswith("$"):
        scratch = condor.Submit({**commands, _SCRATCH: text})
        text = str(scratch.expand(_SCRATCH)).strip()
    if not text.isdigit():
        raise FileError(f"the number of processes is {text!r}, which is no whole number", statement.first)
    return int(text), rest


def _sliced(items: list[dict[str, str]], rest: str, statement: Statement) -> list[dict[str, str]]:
    match = _SLICE.search(rest)
    if match is None:
        return items
    try:
        bounds = [int(part) if part.strip() else None for part in match[1].split(":")]
        return items[slice(*bounds)] if len(bounds) > 1 else [items[int(match[1])]]
    except (ValueError, IndexError) as error:
        raise FileError(f"[{match[1]}] is no slice of {len(items)} items", statement.first) from error


def _commands(parsed: Any) -> dict[str, str]:
    # (a value of several lines is one for HTCondor, too)
    return {str(name): " ".join(str(parsed[name]).split("\n")) for name in parsed.keys()}  # noqa: SIM118 (it is no dict)


def _text(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def main() -> None:
    """Answers for the file that the argument names."""
    answer: dict[str, Any]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import htcondor2
        # Programs that the file runs see the environment of the caller, and all modules are imported before: those in
        # the folder are not ours.
        if sys.argv[2:]:
            os.environ["PYTHONPATH"] = sys.argv[2]
        else:
            os.environ.pop("PYTHONPATH", None)
        path = Path(sys.argv[1])
        os.chdir(path.parent)
        answer = {"sections": sections_of(htcondor2, path.read_text("utf-8-sig"))}
    except FileError as error:
        answer = {"error": str(error), "line": error.line}
    except UnicodeDecodeError as error:
        answer = {"error": f"it is not UTF-8 text: {error.reason} at byte {error.start}", "line": 0}
    except Exception as error:
        answer = {"error": _text(error), "line": 0}
    print(f"\n{json.dumps(answer)}", flush=True)


if __name__ == "__main__":
    main()
