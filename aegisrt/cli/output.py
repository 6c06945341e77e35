"""Output of a verb: one JSON document, or text; errors in the requested format."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

from aegisrt.core.result import Error
from aegisrt.core.suggest import escaped, safe_lines, with_unseen_escaped, without_commands


@contextmanager
def engine_output() -> Iterator[None]:
    """Redirect what engines and third parties' modules print to stderr: stdout is for the output of a verb.

    For Python's `print`; `own_stdout` in main.py does it for native code, which writes to the file descriptor. What is
    logged without a handler is shown as by `warn` from now on.
    """
    import logging

    class EscapedLog(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warn(shown_line(self.format(record)))

    if type(logging.lastResort).__name__ != EscapedLog.__name__:
        logging.lastResort = EscapedLog(logging.WARNING)
    with redirect_stdout(sys.stderr):
        yield


def print_json(value: Any) -> None:
    """Write one JSON document to stdout; NaN and infinities become strings, as in protobuf's JSON."""
    plain = finite(value)
    text = with_unseen_escaped(json.dumps(plain, ensure_ascii=False, default=str))
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # a terminal without Unicode, or a file name that is not UTF-8
        text = with_unseen_escaped(json.dumps(plain, default=str))
    sys.stdout.write(text + "\n")


def print_text(text: str) -> None:
    """Write lines to stdout, safe for a terminal and a log (`shown`)."""
    sys.stdout.write(shown(text) + "\n")


def warn(text: str) -> None:
    """Write lines to stderr, safe for a terminal and a log (`shown`)."""
    sys.stderr.write(shown(text) + "\n")


def shown(text: str) -> str:
    """Return lines that are safe for a terminal and a log (`safe_lines`)."""
    return safe_lines(text)


def shown_line(text: str) -> str:
    """Return a text as one line, as `shown`: a line break in a name would forge a line of the output."""
    return without_commands(escaped(text))


def print_error(error: Error, format: str) -> int:  # noqa: A002
    """Print an error, and return the exit code: 2 if it has diagnostics of a manifest or a command line, else 1."""
    code = 2 if error.diagnostics else 1
    if error.diagnostics and format == "github":
        from aegisrt.manifest.diagnostics.report import render_github

        sys.stdout.write(render_github(error.diagnostics))
    elif format == "json":
        print_json({"ok": False, "error": error_json(error)})
    elif error.diagnostics:
        from aegisrt.manifest.diagnostics.report import render_text

        sys.stderr.write(render_text(error.diagnostics, color=wants_color(sys.stderr)))
    else:
        warn(shown_line(f"{_location(error)}error[{error.code}]: {error.message}"))
        if error.cause and error.cause.strip():
            warn(f"   = cause: {error.cause.strip().splitlines()[0]}")
        if error.log:
            warn(f"   = log: {error.log}")
        if error.hint:
            warn(f"\n{shown_line(f'hint: {error.hint}')}")
    return code


def error_json(error: Error) -> dict[str, Any]:
    """Return the `error` of a JSON document."""
    plain: dict[str, Any] = {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "location": str(error.location) if error.location else None,
        "cause": error.cause,
    }
    if error.log:
        plain["log"] = error.log
    if error.diagnostics:
        plain["diagnostics"] = [item.to_json() for item in error.diagnostics]
    return plain


def wants_color(stream: TextIO) -> bool:
    """Return whether to color: on a terminal that supports it, or if FORCE_COLOR is set; never if NO_COLOR is set.

    A variable is set if its value is not empty: https://no-color.org, https://force-color.org.
    """
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and os.environ.get("TERM") != "dumb")


def _location(error: Error) -> str:
    return f"{error.location}: " if error.location else ""


def finite(value: Any) -> Any:
    """Return plain data with NaN and infinities as strings, as in protobuf's JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
