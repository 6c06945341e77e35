"""Diagnostics as text with snippets, as GitHub annotations, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from aegisrt.core.diagnostic import Diagnostic, Location
from aegisrt.manifest.diagnostics.snippet import OVERRIDE, Sources, printable, read_lines, snippet

_COLORS = {"error": "1;31", "warning": "1;33", "frame": "1;34", "bold": "1", "hint": "1;36"}


def render_text(diagnostics: Iterable[Diagnostic], *, sources: Sources = read_lines, color: bool = False) -> str:
    """Return all diagnostics for a person to read, in the given order, then how many there are; "" for none.

    `sources` returns the lines of a file by the name that locations use; None leaves the snippet out.
    """
    reported = list(diagnostics)
    paint = _painted if color else _plain
    once = cache(sources)
    blocks = [_block(diagnostic, once, paint) for diagnostic in reported]
    return "\n\n".join([*blocks, _count(reported)]) + "\n" if reported else ""


def render_github(diagnostics: Iterable[Diagnostic]) -> str:
    """Return one workflow command a line, which GitHub Actions shows beside the line of the file.

    https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions#setting-an-error-message
    """
    return "".join(f"{_command(diagnostic)}\n" for diagnostic in diagnostics)


def to_json(diagnostics: Iterable[Diagnostic]) -> dict[str, Any]:
    """Return the document of `aegisrt validate --json`; `ok` is False if one of them is an error."""
    reported = list(diagnostics)
    return {
        "ok": all(diagnostic.severity != "error" for diagnostic in reported),
        "diagnostics": [diagnostic.to_json() for diagnostic in reported],
    }


def _plain(text: str, _: str) -> str:
    return text


def _painted(text: str, style: str) -> str:
    return f"\x1b[{_COLORS[style]}m{text}\x1b[0m"


def _block(diagnostic: Diagnostic, sources: Sources, paint: Any) -> str:
    at = diagnostic.location
    severity = paint(f"{diagnostic.severity}[{diagnostic.id}]", diagnostic.severity)
    lines = [f"{paint(printable(str(at)), 'bold')}: {severity}: {paint(printable(diagnostic.message), 'bold')}"]
    margin = " " * len(str(at.line))
    lines += _snippet(diagnostic, sources, margin, paint)
    facts = [("path", diagnostic.path), ("set by", diagnostic.set_by or "")]
    facts += [("note", _noted(note.message, note.location)) for note in diagnostic.notes]
    lines += [f"{margin} {paint('=', 'frame')} {name}: {printable(fact)}" for name, fact in facts if fact]
    if diagnostic.hint:
        lines += ["", f"{paint('hint', 'hint')}: {printable(diagnostic.hint)}"]
    return "\n".join(lines)


def _snippet(diagnostic: Diagnostic, sources: Sources, margin: str, paint: Any) -> list[str]:
    lines = sources(diagnostic.location.file)
    rows = snippet(diagnostic.location, lines) if lines is not None else []
    label = f" {printable(diagnostic.label)}" if diagnostic.label else ""
    if not rows:
        return [f"{margin} {paint('=', 'frame')}{label}"] if label else []
    framed = [f"{margin} {paint('|', 'frame')}"]
    for row in rows:
        number = margin if row.number is None else str(row.number).rjust(len(margin))
        text = row.text if row.number is not None else paint(row.text + label, diagnostic.severity)
        framed.append(f"{paint(f'{number} |', 'frame')} {text}".rstrip())
    return framed


def _noted(message: str, location: Location | None) -> str:
    return f"{message}: {location}" if location else message


def _count(reported: Sequence[Diagnostic]) -> str:
    """Return `3 errors and 1 warning in deploy.yaml and 2 overrides`."""
    counts = [
        _plural(sum(diagnostic.severity == severity for diagnostic in reported), severity)
        for severity in ("error", "warning")
    ]
    names = dict.fromkeys(diagnostic.location.file for diagnostic in reported)
    files = [printable(name) for name in names if not name.startswith(OVERRIDE)]
    places = files[0] if len(files) == 1 else _plural(len(files), "file")
    overrides = _plural(len(names) - len(files), "override")
    return f"{' and '.join(filter(None, counts))} in {' and '.join(filter(None, [places, overrides]))}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count > 1)}" if count else ""


def _command(diagnostic: Diagnostic) -> str:
    at = diagnostic.location
    texts = [diagnostic.message, diagnostic.label, diagnostic.hint]
    properties = {"title": diagnostic.id}
    if at.file.startswith(OVERRIDE):
        texts.insert(0, f"{at}:")
    else:
        place = {"file": printable(_from_here(at.file)), "line": at.line, "col": at.column, "endColumn": at.end_column}
        properties = {name: str(value) for name, value in place.items()} | properties
    listed = ",".join(f"{name}={_escaped(value, ':,')}" for name, value in properties.items())
    text = _escaped("\n".join(printable(part) for part in texts if part))
    return f"::{diagnostic.severity} {listed}::{text}"


def _from_here(file: str) -> str:
    """Return the file relative to the current folder, which in a workflow is the repository's."""
    path, here = Path(file), Path.cwd()
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else file


def _escaped(text: str, more: str = "") -> str:
    """Return text as a workflow command takes it, percent first.

    https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts
    """
    for char in "%\r\n" + more:
        text = text.replace(char, f"%{ord(char):02X}")
    return text
