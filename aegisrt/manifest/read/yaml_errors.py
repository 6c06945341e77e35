"""`syntax_diagnostic`: an error of PyYAML, or of the decoding before it, explained to a user of manifests."""

from __future__ import annotations

import re
from contextlib import suppress
from shlex import quote
from typing import Any

import yaml

from aegisrt.core.diagnostic import Diagnostic, Location, Note
from aegisrt.core.suggest import escaped
from aegisrt.manifest.diagnostics.snippet import LINE_BREAK
from aegisrt.manifest.read.limits import TOO_MANY, too_deep
from aegisrt.manifest.read.yaml_causes import likely_cause
from aegisrt.manifest.read.yaml_loader import ManifestLoader, TooDeepError, TooManyError

_QUOTE_IT = "put the value in quotes if it is text"
_OPENED = {
    "while parsing a flow mapping": "`{`",
    "while parsing a flow sequence": "`[`",
    "while scanning a quoted scalar": "quote",
}
"""By the context of a PyYAML error: the character that opened it."""
_WORDED: tuple[tuple[str, str, str | None], ...] = (
    (r"found character '\\t'", "YAML is not indented with tabs", "indent with spaces"),
    (r"found character '(.)' that cannot", r"a value cannot start with `\1`", _QUOTE_IT),
    (r"mapping values are not", "a second `:` on this line, or a wrong indentation", "quote a value that holds `: `"),
    (r"could not find expected ':'", "the key before this has no `:`", "write `key: value`"),
    (r"expected ',' or '(.)'", r"expected `,` or `\1`", r"close it with `\1`, or put a comma between its entries"),
    (r"expected the node content, but found '([\]}])'", r"this `\1` has no opening bracket", _QUOTE_IT),
    (r"expected a single document|but found another document", "a second document starts here",
     "write one document a file, without `---` between"),
    (r"expected '<document start>'", "this is outside of the manifest's mapping", "write it as `key: value`"),
    (r"found undefined alias '(.*)'", r"there is no anchor `&\1` before this alias", _QUOTE_IT),
    (r"found unknown escape character '(.)'", r"`\\\1` is not an escape", "in single quotes a backslash is itself"),
    (r"(block )?sequence entries are not allowed", "a list starts on a line of its own", "or is in brackets: `[a, b]`"),
    (r"expected alphabetic or numeric character", "`&` and `*` name an anchor or an alias", _QUOTE_IT),
    (r"found unexpected end of stream", "the file ends inside a quoted text", "close the quote"),
)  # fmt: skip


def syntax_diagnostic(error: yaml.YAMLError, text: str, name: str) -> Diagnostic:
    """Return the diagnostic of an error of YAML's syntax in `text`, the file called `name`.

    It is located at the likely cause if one is known. Else it is located where PyYAML fails, with a note that points at
    the bracket or quote around that place; if that is never closed, PyYAML fails at the end of the file, and the
    diagnostic is located at the opening one.
    """
    if isinstance(error, yaml.reader.ReaderError):
        message = f"the character {_code_point(error.character)} is not allowed in YAML"
        place = place_after(text[: error.position], name)
        return Diagnostic("yaml-syntax", message, place, hint="remove it, or escape it in double quotes")
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "context", None) or str(error)
    if isinstance(error, TooDeepError):
        return too_deep(_place(mark, name))
    if isinstance(error, TooManyError):
        return Diagnostic("yaml-syntax", TOO_MANY, _place(mark, name), hint="write fewer")
    if mark is None:
        return Diagnostic("yaml-syntax", f"not valid YAML: {escaped(problem)}", Location(name, 1, 1, 2))
    if isinstance(error, yaml.MarkedYAMLError) and (cause := likely_cause(error, text, name)):
        return cause
    opened, opening = _OPENED.get(getattr(error, "context", "")), getattr(error, "context_mark", None)
    if not opened and mark.index >= len(text.rstrip()):
        opened, opening = _unclosed(text)
    if opened and opening and mark.index >= len(text.rstrip()):
        hint = f"close it; the file ends at line {mark.line + 1} without"
        return Diagnostic("yaml-syntax", f"this {opened} is never closed", _place(opening, name), hint=hint)
    notes = (Note(f"the {opened} is here", _place(opening, name)),) if opened and opening else ()
    message, hint_or_none = _worded(problem, _before(mark, text))
    if problem.startswith("mapping values are not") and _joined(text, mark):
        message, hint_or_none = "the line above has no space after its `:`", "write `key: value`"
    return Diagnostic("yaml-syntax", message, _place(mark, name), hint=hint_or_none, notes=notes)


def not_utf8(content: bytes, error: UnicodeDecodeError, name: str) -> Diagnostic:
    """Return the diagnostic of a file that is not UTF-8, located at its first byte that is not."""
    before = content[: error.start].decode("utf-8-sig", errors="replace")
    message = f"byte 0x{content[error.start]:02x} is not UTF-8"
    is_model = name.endswith(".onnx")
    hint = f"`aegisrt init --model {quote(name)}` writes a manifest of it" if is_model else "save the file as UTF-8"
    return Diagnostic("not-utf8", message, place_after(before, name), hint=hint)


def place_after(before: str, name: str) -> Location:
    """Return the place of the character after `before`, the text from the start of the file called `name`."""
    lines = LINE_BREAK.split(before)
    column = len(lines[-1]) + 1
    return Location(name, len(lines), column, column + 1)


def _joined(text: str, mark: Any) -> bool:
    """Return True if the line above a mark is `key:value`, which YAML reads as a text that continues below."""
    lines = LINE_BREAK.split(text[: mark.index])
    return len(lines) > 1 and ":" not in lines[-1] and re.fullmatch(r"\s*[\w-]+:[^\s:].*", lines[-2]) is not None


def _unclosed(text: str) -> tuple[str | None, Any]:
    """Return the innermost bracket that is open at the end of the text, and its mark; None if none is."""
    opened: list[tuple[str, Any]] = []
    with suppress(yaml.YAMLError):
        for token in yaml.scan(text, ManifestLoader):
            if isinstance(token, yaml.FlowMappingStartToken | yaml.FlowSequenceStartToken):
                bracket = "`{`" if isinstance(token, yaml.FlowMappingStartToken) else "`[`"
                opened.append((bracket, token.start_mark))
            elif isinstance(token, yaml.FlowMappingEndToken | yaml.FlowSequenceEndToken) and opened:
                opened.pop()
    return opened[-1] if opened else (None, None)


def _place(mark: Any, name: str) -> Location:
    return Location(name, mark.line + 1, mark.column + 1, mark.column + 2)


def _before(mark: Any, text: str) -> str:
    """Return the part of the line before a mark."""
    return text[mark.index - mark.column : mark.index]


def _worded(problem: str, before: str) -> tuple[str, str | None]:
    if problem.startswith("expected ',' or") and before.endswith("$"):
        return "`${` inside of brackets is read as a mapping", 'put the whole value in quotes: `"${...}"`'
    for pattern, message, hint in _WORDED:
        if found := re.match(pattern, problem):
            return escaped(found.expand(message)), hint and found.expand(hint)
    if problem.startswith("expected <block end>"):
        if before.strip(" -?"):
            return "unexpected text after a value", "put the whole value in quotes"
        return "this line's indentation matches no line above it", "indent keys of one mapping alike"
    return f"not valid YAML: {escaped(problem)}", _QUOTE_IT


def _code_point(character: Any) -> str:
    return f"U+{character if isinstance(character, int) else ord(character):04X}"
