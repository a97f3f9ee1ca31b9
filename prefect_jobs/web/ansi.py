"""Colours that programs write to terminals, as HTML. Everything else of a terminal's language is left out. Pure."""

import re

from markupsafe import Markup, escape

#: ECMA-48: a control sequence, of which "m" sets colours; an operating system command; other escapes.
_SEQUENCE = re.compile(r"\x1b(?:\[([0-9;:?]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\\\)?|[@-Z\\^_]|$)")
_BOLD = 1
_COLOURS = {*range(30, 38), *range(90, 98)}


def as_html(text: str) -> Markup:
    """The text, escaped, with spans for colours and bold."""
    if "\x1b" not in text:
        return escape(text)
    parts: list[Markup] = []
    classes: tuple[str, ...] = ()
    end = 0
    for found in _SEQUENCE.finditer(text):
        parts.append(_span(text[end : found.start()], classes))
        end = found.end()
        if found[2] == "m":
            classes = _changed(classes, found[1])
    parts.append(_span(text[end:], classes))
    return Markup("").join(parts)


def _span(text: str, classes: tuple[str, ...]) -> Markup:
    if not text or not classes:
        return escape(text)
    return Markup('<span class="{}">{}</span>').format(" ".join(classes), text)


def _changed(classes: tuple[str, ...], codes: str) -> tuple[str, ...]:
    numbers = [int(code) if code.isdigit() else 0 for code in re.split("[;:]", codes or "0")]
    found = dict.fromkeys(classes)
    while numbers:
        code = numbers.pop(0)
        if code in (38, 48):  # 256 or 16 million colours: left out, with their arguments
            del numbers[: 2 if numbers[:1] == [5] else 4]
        elif code == 0:
            found = {}
        elif code == _BOLD:
            found["pj-bold"] = None
        elif code == 22:
            found.pop("pj-bold", None)
        elif code in _COLOURS or code == 39:
            found = {name: None for name in found if not name.startswith("pj-c")}
            if code != 39:
                found[f"pj-c{code % 10}"] = None
    return tuple(found)
