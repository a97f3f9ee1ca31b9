"""The documentation, and the texts and comments of the code, are plain English."""

import ast
import re
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

#: What may begin within a string is no comment. Python's own tokenizer takes ten times as long.
_STRING_OR_COMMENT = re.compile(r"""(?P<quote>\"{3}|'{3}|["'])(?:\\.|.)*?(?P=quote)|(?P<comment>#[^\n]*)""", re.DOTALL)

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
    code = module.read_text()
    found = problems([*strings(code), *comments(code)])
    assert not found, "\n".join(found)


def test_phrases_are_found_wherever_they_stand() -> None:
    code = '''
"""Ends it, whoever
is there."""
# What is looked
# at here.
text = f"It {1 + 1} was " "told to go. "
mending = 0
unlike = """ a "comment": # shall """, 'it\\'s # shall'
'''
    found = problems([*strings(code), *comments(code)])
    assert [problem.partition(":")[0] for problem in found] == ["line 2", "line 6", "line 8", "line 8", "line 4"]


def problems(texts: list[tuple[int, str]]) -> list[str]:
    """The phrases to be replaced, each with its line and what to write instead."""
    # Most modules have none, and to search each of their texts by itself takes ten times as long.
    together = "\0".join(text for _, text in texts)
    if not any(pattern.search(together) for pattern in _PATTERNS):
        return []
    return [
        f"line {line + text.count(chr(10), 0, match.start())}: {match.group()!r}: write {instead}"
        for line, text in texts
        for pattern, instead in _PATTERNS.items()
        for match in pattern.finditer(text)
    ]


def strings(code: str) -> Iterator[tuple[int, str]]:
    """Lines and values of the strings in a module, those written in several parts as one."""
    nodes = list(ast.walk(ast.parse(code)))
    parts = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            texts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
            yield node.lineno, "".join(texts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.lineno, node.value


def comments(code: str) -> Iterator[tuple[int, str]]:
    """Lines and texts of the comments in a module, those of several lines as one."""
    block: list[str] = []
    line, last, counted = 1, (0, 0), 0
    for token in _STRING_OR_COMMENT.finditer(code):
        if not token["comment"]:
            continue
        line += code.count("\n", counted, token.start())
        counted = token.start()
        place = line, token.start() - code.rfind("\n", 0, token.start())
        if block and place != (last[0] + 1, last[1]):
            yield last[0] - len(block) + 1, "\n".join(block)
            block = []
        block.append(token.group().lstrip("#: "))
        last = place
    if block:
        yield last[0] - len(block) + 1, "\n".join(block)
