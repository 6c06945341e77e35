"""`snippet`: the lines of a file around a place, with a caret underline of the right width."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from aegisrt.core.diagnostic import Location
from aegisrt.core.suggest import without_commands
from aegisrt.manifest.contained import is_link_away, read_at_most

Sources: TypeAlias = Callable[[str], Sequence[str] | None]
OVERRIDE = "override "
LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
MOST_BYTES = 1 << 20
"""The size limit of a file that is read: PyYAML takes some ten seconds for it."""
_TAB = "    "
_REPLACED = "\N{REPLACEMENT CHARACTER}"
_MAX_COLUMNS = 120
_BEFORE_CARET = 60
_FAR = 1000
"""How many characters around the caret are considered: a line may be the whole file."""


def read_lines(file: str) -> list[str] | None:
    """Return the lines of a file, or of an override's own text, split as YAML splits them.

    None for a file that cannot be read, and for a link out of its folder, whose target is not the user's to show.
    """
    if file.startswith(OVERRIDE):
        return [file.removeprefix(OVERRIDE)]
    path = Path(file)
    try:
        content = read_at_most(path, MOST_BYTES) if path.is_file() and not is_link_away(file) else None
    except (OSError, ValueError):
        return None
    return None if content is None else LINE_BREAK.split(content.decode("utf-8-sig", errors="replace"))


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a snippet: the number of its line, or None for the row of carets."""

    number: int | None
    text: str


def snippet(location: Location, lines: Sequence[str]) -> list[Row]:
    """Return the line of `location`, the one before it, and the carets; empty if the file has no such line."""
    if not 1 <= location.line <= len(lines):
        return []
    skip = max(0, location.column - 1 - _FAR)
    line = lines[location.line - 1][skip : location.end_column + _FAR]
    left, marked = line[: location.column - 1 - skip], line[location.column - 1 - skip : location.end_column - 1 - skip]
    start, width = _columns(left), max(1, _columns(marked))
    cut = max(0, start - _BEFORE_CARET) if start + width > _MAX_COLUMNS else 0
    before = lines[location.line - 2][skip : location.end_column + _FAR] if location.line > 1 else ""
    is_seen = before.strip() and _columns(before) > cut
    rows = [Row(location.line - 1, _window(before, cut))] if is_seen else []
    shown, offset = _window(line, cut), 1 if cut else 0
    carets = " " * (start - cut + offset) + "^" * min(width, _MAX_COLUMNS - (start - cut))
    return [*rows, Row(location.line, shown), Row(None, carets)]


def printable(text: str) -> str:
    """Return text without characters that control a terminal or take no place on it; tabs become spaces.

    The characters that begin a command of a CI system are replaced, too: the width stays the same.
    """
    return without_commands("".join(map(_cell, text)), _REPLACED, _REPLACED)


def _cell(char: str) -> str:
    if char == "\t":
        return _TAB
    if char.isprintable() or unicodedata.category(char) == "Zs":
        return char
    return "" if unicodedata.category(char) == "Cf" else _REPLACED


def _columns(text: str) -> int:
    """Return how many columns of a terminal the text takes: two for a wide character, none for a combining one."""
    return sum(_width(char) for char in printable(text))


def _width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _window(line: str, cut: int) -> str:
    """Return the part of a long line that fits a terminal, from column `cut` on; `…` marks what is left out."""
    kept, column, text = "", 0, printable(line)
    for index, char in enumerate(text):
        if column >= cut + _MAX_COLUMNS:
            return ("…" if cut else "") + kept + ("…" if text[index:].strip() else "")
        if column >= cut:
            kept += char
        elif column + _width(char) > cut:
            kept += " "  # half of a wide character
        column += _width(char)
    return ("…" if cut else "") + kept
