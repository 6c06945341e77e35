"""`HIDDEN`: the stand-in for a value of the environment; and `hide`, which takes such values out of texts.

A CI job has its secrets in environment variables, and its log is read by many.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from aegisrt.core.diagnostic import Diagnostic, Note
from aegisrt.core.result import Error
from aegisrt.core.shown.log import hide_in_logs
from aegisrt.core.suggest import escaped

HIDDEN_TEXT = "***"
_SHORT = 3
_CLIPPED = 50
"""Messages clip a text after this many characters or more."""


class Hidden:
    """A value that messages must not show."""

    def __str__(self) -> str:
        return HIDDEN_TEXT


HIDDEN: Final = Hidden()


def hide_in(error: Error, values: Iterable[str]) -> Error:
    """Return an error, and its diagnostics, with `***` instead of each of the values."""
    pattern = _pattern(values)
    if pattern is None:
        return error
    return replace(
        error,
        message=_hidden(error.message, pattern) or "",
        hint=_hidden(error.hint, pattern),
        cause=_hidden(error.cause, pattern),
        log=_hidden(error.log, pattern),
        diagnostics=tuple(_without(one, pattern) for one in error.diagnostics),
    )


def hide_in_events(values: frozenset[str]) -> None:
    """Show `***` instead of each of the values in what this process logs from now on."""
    pattern = _pattern(values)
    if pattern is not None:
        hide_in_logs(values, partial(pattern.sub, HIDDEN_TEXT))


def hide(diagnostics: Iterable[Diagnostic], values: Iterable[str]) -> tuple[Diagnostic, ...]:
    """Return diagnostics with `***` instead of each of the values."""
    pattern = _pattern(values)
    return tuple(diagnostics) if pattern is None else tuple(_without(one, pattern) for one in diagnostics)


def _without(diagnostic: Diagnostic, pattern: re.Pattern[str]) -> Diagnostic:
    return replace(
        diagnostic,
        message=_hidden(diagnostic.message, pattern) or "",
        path=_hidden(diagnostic.path, pattern) or "",
        hint=_hidden(diagnostic.hint, pattern),
        label=_hidden(diagnostic.label, pattern),
        notes=tuple(Note(_hidden(note.message, pattern) or "", note.location) for note in diagnostic.notes),
    )


def _hidden(text: str | None, pattern: re.Pattern[str]) -> str | None:
    return text and pattern.sub(HIDDEN_TEXT, text)


def _pattern(values: Iterable[str]) -> re.Pattern[str] | None:
    """Return a pattern of the values as messages may write them; a short one is found in quotes only."""
    forms = {form for value in values for form in _forms(value)}
    longest = sorted(forms, key=len, reverse=True)
    parts = [re.escape(form) if len(form) > _SHORT else f'(?<=[`"]){re.escape(form)}(?=[`"])' for form in longest]
    return re.compile("|".join(parts)) if parts else None


def _forms(value: str) -> set[str]:
    forms = {value, value.strip(), escaped(value), escaped(json.dumps(value, ensure_ascii=False))[1:-1]}
    with contextlib.suppress(ValueError, OSError):
        forms.add(str(Path(value).relative_to(Path.cwd())))
    forms |= {json.dumps(value)[1:-1], repr(value)[1:-1]}
    forms |= {form[:_CLIPPED] for form in forms}
    return forms - {"", "."}
