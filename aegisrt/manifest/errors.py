"""`manifest_error`: the error that carries every diagnostic of a manifest."""

from __future__ import annotations

from collections.abc import Iterable
from shlex import quote

from aegisrt.core.diagnostic import Diagnostic, Location
from aegisrt.core.result import Error, ErrorCode
from aegisrt.manifest.contained import is_link_away

MOST_DIAGNOSTICS = 300
"""How many are reported: a small file may have a hundred thousand errors."""
_ABOUT_THE_FILE = ("link-away", "file-not-found", "unreadable-file", "is-a-directory", "not-a-file")
_CODES = {
    "file-not-found": ErrorCode.NOT_FOUND,
    "missing-file": ErrorCode.NOT_FOUND,
    "unreadable-file": ErrorCode.PERMISSION_DENIED,
    "wrong-sha256": ErrorCode.DATA_LOSS,
    "not-row-wise": ErrorCode.FAILED_PRECONDITION,
}


def manifest_error(diagnostics: Iterable[Diagnostic], name: str) -> Error:
    """Return the error that carries the diagnostics: files first, by line, then overrides.

    An error that an alias (`*x`) copies to several places is reported once, at the place where it is written. The code
    is INVALID_ARGUMENT, unless all diagnostics are of files or of batching, and agree on another. Those of a link out
    of its folder become one: they would show lines of any file that this process may read. Only the first
    `MOST_DIAGNOSTICS` are kept.
    """
    by_text = {(one.id, one.location, one.message): one for one in reversed(_without_links_away([*diagnostics]))}
    ordered = sorted(by_text.values(), key=_order)
    errors = [diagnostic for diagnostic in ordered if diagnostic.severity == "error"] or ordered
    codes = {_CODES.get(diagnostic.id, ErrorCode.INVALID_ARGUMENT) for diagnostic in errors}
    first, is_cut = errors[0], len(errors) >= MOST_DIAGNOSTICS
    if is_cut:
        ordered = [*errors[: MOST_DIAGNOSTICS - 1], _more_errors(errors[MOST_DIAGNOSTICS - 1])]
    more = len(errors) - 1
    count = f"more than {MOST_DIAGNOSTICS - 2}" if is_cut else f"{more}"
    message = first.message if not more else f"{first.message}; {count} more error{'s' * (more > 1)} in {name}"
    return Error(
        codes.pop() if len(codes) == 1 else ErrorCode.INVALID_ARGUMENT,
        message,
        first.hint or first.label,
        first.location,
        diagnostics=tuple(ordered[:MOST_DIAGNOSTICS]),
    )


def _more_errors(first: Diagnostic) -> Diagnostic:
    """Return the last diagnostic of too many; `first` is the first that is not reported."""
    message = f"there are more than {MOST_DIAGNOSTICS - 1} errors; the others are not reported"
    return Diagnostic("more-errors", message, first.location, hint="correct these first")


def _without_links_away(diagnostics: list[Diagnostic]) -> list[Diagnostic]:
    """Return the diagnostics; of those in a link out of its folder, only that it is one."""
    away = {file for file in {one.location.file for one in diagnostics} if is_link_away(file)}
    return [
        _link_away(one) if one.location.file in away and one.id not in _ABOUT_THE_FILE else one for one in diagnostics
    ]


def _link_away(diagnostic: Diagnostic) -> Diagnostic:
    file = diagnostic.location.file
    message = f"`{file}` is a link out of its folder, and has errors"
    hint = f'check the file itself: `aegisrt validate "$(readlink -f {quote(file)})"`'
    return Diagnostic("link-away", message, Location(file, 1, 1, 2), hint=hint, severity=diagnostic.severity)


def _order(diagnostic: Diagnostic) -> tuple[bool, str, int, int, str]:
    at = diagnostic.location
    return at.file.startswith("override "), at.file, at.line, at.column, diagnostic.id
