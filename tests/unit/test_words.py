"""The documentation, and the texts and comments of the code, are plain English."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: What we had to replace most often → what to write instead.
INSTEAD = {
    r"whoever|whomever": "the one who does it: a process, a caller, the user",
    r"somebody|anybody": "the one who does it: a person, another process, a caller",
    r"nobody (?:can tell|knows|asks|is told|shall)": "what is not known: 'the status is unknown'",
    r"(?:has|have|had) (?:it|them|a job) looked at|look(?:s|ed)? at|a look at": "'refresh', 'poll', 'check' or 'read'",
    r"should (?:it|that|this|that one|they|one) (?:have|be|not|get|got|die)": "'if it …'",
    r"(?:is|was|be) told to|is to be told|is not to be told": "what is done: 'released', 'stopped', 'asked for'",
    r"lets? (?:it |them |him )?go on": "'resume', 'release' or 'continue'",
    r"shall": "'must' or 'will'",
    r"mends?|mended": "'fix' or 'correct'",
    r"in vain": "'without success', 'failed'",
    r"anew": "'again'",
    r"as (?:it was|they were)": "'unchanged'",
    r"(?:no|is no|are no) other's": "'does not affect the others'",
    r"(?:by|without|but) a hand": "'by a person'",
    r"what (?:becomes|became|has become) of": "'the outcome of', 'the status of'",
    r"signs? of life": "'heartbeat'",
    r"by which it is known": "'identifies'",
    r"did not manage": "'failed'",
    r"be it": "'whether', 'or'",
}
#: A phrase may be broken where a line ends.
_PATTERNS = {
    re.compile(rf"\b(?:{pattern})\b".replace(" ", r"\s+"), re.IGNORECASE): instead
    for pattern, instead in INSTEAD.items()
}

#: Folders of Python whose texts are plain.
CLEAN = ("blocks", "flows", "prefect_jobs")

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
MODULES = sorted(path for name in CLEAN for path in (ROOT / name).rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_documentation_is_plain(page: Path) -> None:
    found = problems([(1, page.read_text())])
    assert not found, "\n".join(found)


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_the_code_speaks_plainly(module: Path) -> None:
    found = problems([*strings(module.read_text()), *comments(module.read_text())])
    assert not found, "\n".join(found)


def test_phrases_are_found_wherever_they_stand() -> None:
    code = '''
"""Ends it, whoever
is there."""
# What is looked
# at here.
text = f"It {1 + 1} was " "told to go. "
mending = 0
'''
    found = problems([*strings(code), *comments(code)])
    assert [problem.partition(":")[0] for problem in found] == ["line 2", "line 6", "line 4"]


def problems(texts: list[tuple[int, str]]) -> list[str]:
    """The phrases to be replaced, each with its line and what to write instead."""
    return [
        f"line {line + text.count(chr(10), 0, match.start())}: {match.group()!r}: write {instead}"
        for line, text in texts
        for pattern, instead in _PATTERNS.items()
        for match in pattern.finditer(text)
    ]


def strings(code: str) -> Iterator[tuple[int, str]]:
    """Lines and values of the strings in a module, those written in several parts as one."""
    tree = ast.parse(code)
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            texts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
            yield node.lineno, "".join(texts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.lineno, node.value


def comments(code: str) -> Iterator[tuple[int, str]]:
    """Lines and texts of the comments in a module, those of several lines as one."""
    block: list[tokenize.TokenInfo] = []
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type != tokenize.COMMENT:
            continue
        if block and token.start != (block[-1].start[0] + 1, block[-1].start[1]):
            yield block[0].start[0], _text_of(block)
            block = []
        block.append(token)
    if block:
        yield block[0].start[0], _text_of(block)


def _text_of(block: list[tokenize.TokenInfo]) -> str:
    return "\n".join(token.string.lstrip("#: ") for token in block)
