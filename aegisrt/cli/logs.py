"""The log of the command: `-v`, `-q`, `--log-level` and `--log-format`; what `aegisrt.*` logs goes to stderr."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from typing import Any

from aegisrt.core.shown.log import ROOT, STANDARD, clean
from aegisrt.core.suggest import with_unseen_escaped

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
FORMATS = ("text", "json")
_FAILURES = "aegisrt.runtime.failures"
"""The logger of failed requests."""


def configure(arguments: argparse.Namespace) -> None:
    """Send events to stderr as the command line asks, until `end`."""
    end()
    logger, handler = logging.getLogger(ROOT), _Stderr()
    handler.setFormatter(_Json() if arguments.log_format == "json" else _Text())
    logger.addHandler(handler)
    logger.setLevel(_level(arguments))


def hide_failures() -> None:
    """Without `-v`, do not log failed requests: for a verb that prints their errors itself.

    Only for the handler of `configure`: those of a program that calls `main` get them.
    """
    logger = logging.getLogger(ROOT)
    if logger.level > logging.INFO:
        for handler in [one for one in logger.handlers if isinstance(one, _Stderr)]:
            handler.addFilter(lambda record: record.name != _FAILURES)


def end() -> None:
    """Log as before `configure`: a program may call `main` as a function."""
    logger = logging.getLogger(ROOT)
    for handler in [one for one in logger.handlers if isinstance(one, _Stderr)]:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


def _level(arguments: argparse.Namespace) -> int:
    if arguments.log_level is not None:
        return LEVELS[arguments.log_level]
    if arguments.quiet:
        return logging.ERROR
    return (logging.WARNING, logging.INFO, logging.DEBUG)[min(arguments.verbose, 2)]


class _Stderr(logging.Handler):
    """Writes to the `sys.stderr` of the moment, one write for each event."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write an event; a closed stderr loses it."""
        try:
            sys.stderr.write(self.format(record) + "\n")
        except (OSError, ValueError):
            return


class _Text(logging.Formatter):
    """`2026-11-29T17:30:00.123Z WARNING aegisrt.runtime...: message`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return an event as a line, and the lines of its traceback."""
        line = f"{_time(record)} {record.levelname} {record.name}: {clean(record.getMessage())}"
        return "\n".join([line, *_traceback(self, record)])


class _Json(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `message`, the event's fields, `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return an event as one line of JSON."""
        fields = {key: value for key, value in vars(record).items() if key not in STANDARD}
        event: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": clean(record.getMessage()),
            **fields,
        }
        if lines := _traceback(self, record):
            event["exception"] = "\n".join(lines)
        return with_unseen_escaped(json.dumps(event, ensure_ascii=False, default=str))


def _time(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03}Z"


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    if not record.exc_info:
        return []
    return [clean(line) for line in formatter.formatException(record.exc_info).splitlines()]
