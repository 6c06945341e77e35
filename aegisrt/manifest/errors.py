"""`manifest_error`: the error that carries every diagnostic of a manifest."""

from __future__ import annotations

from collections.abc import Iterable

from aegisrt.core.diagnostic import Diagnostic
from aegisrt.core.result import Error, ErrorCode

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
    is INVALID_ARGUMENT, unless all diagnostics are of files or of batching, and agree on another.
    """
    by_text = {(one.id, one.location, one.message): one for one in reversed([*diagnostics])}
    ordered = sorted(by_text.values(), key=_order)
    errors = [diagnostic for diagnostic in ordered if diagnostic.severity == "error"] or ordered
    codes = {_CODES.get(diagnostic.id, ErrorCode.INVALID_ARGUMENT) for diagnostic in errors}
    first = errors[0]
    more = len(errors) - 1
    message = first.message if not more else f"{first.message}; {more} more error{'s' * (more > 1)} in {name}"
    return Error(
        codes.pop() if len(codes) == 1 else ErrorCode.INVALID_ARGUMENT,
        message,
        first.hint or first.label,
        first.location,
        diagnostics=tuple(ordered),
    )


def _order(diagnostic: Diagnostic) -> tuple[bool, str, int, int, str]:
    at = diagnostic.location
    return at.file.startswith("override "), at.file, at.line, at.column, diagnostic.id
