"""`Log`: events for the standard `logging`, one line each: unprintable characters escaped, secrets as `***`.

The loggers are named after the modules, under `aegisrt`, whose NullHandler keeps Python from printing warnings of a
library: the application decides (https://docs.python.org/3/howto/logging.html#configuring-logging-for-a-library).
An event has fields, as attributes of its record, for handlers that write JSON. Events never hold tensors. Its traceback
has the exceptions' texts escaped and masked, because an application's handler prints it as it is.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from aegisrt.core.suggest import escaped

ROOT = "aegisrt"
_MOST_CAUSES = 8
"""How many exceptions behind one are shown: they may form a ring."""
logging.getLogger(ROOT).addHandler(logging.NullHandler())


class Log:
    """The events of one module. Texts are formatted only if the level is enabled."""

    __slots__ = ("_logger",)

    def __init__(self, name: str) -> None:
        """`name` is the module's `__name__`."""
        self._logger = logging.getLogger(name)

    def logs_info(self) -> bool:
        """Return whether `info` logs anything, so that what it takes need not be collected otherwise."""
        return self._logger.isEnabledFor(logging.INFO)

    def debug(self, text: str, *arguments: object, error: BaseException | None = None) -> None:
        """Log what helps to debug AegisRT, with the traceback of `error`."""
        self._log(logging.DEBUG, text, arguments, {}, error)

    def info(self, text: str, *arguments: object, **fields: object) -> None:
        """Log that something happened as it should: a model was loaded."""
        self._log(logging.INFO, text, arguments, fields)

    def warning(self, text: str, *arguments: object, **fields: object) -> None:
        """Log what an operator should look at: a process died and was replaced."""
        self._log(logging.WARNING, text, arguments, fields)

    def error(self, text: str, *arguments: object, error: BaseException | None = None) -> None:
        """Log that code failed which never should, with the traceback of `error`."""
        self._log(logging.ERROR, text, arguments, {}, error)

    def _log(
        self,
        level: int,
        text: str,
        arguments: tuple[object, ...],
        fields: dict[str, object],
        error: BaseException | None = None,
    ) -> None:
        if self._logger.isEnabledFor(level):
            message = clean(text % arguments)
            extra = {name: _clean_field(value) for name, value in fields.items() if value is not None}
            # Without arguments, `logging` takes the message as it is: a `%` in it formats nothing.
            shown = None if error is None else _clean_error(error)
            self._logger.log(level, message, exc_info=shown, extra=extra, stacklevel=3)


def clean(text: str) -> str:
    """Return a text on one line, with secrets as `***` and unprintable characters escaped."""
    return escaped(_Secrets.hide(text))


def hide_in_logs(key: frozenset[str], hide: Callable[[str], str]) -> None:
    """From now on, apply `hide` to every text of an event; `key` are the values that it hides.

    For the whole process, since the events of a request do not know the manifest that has the secret.
    """
    _Secrets.add(key, hide)


class _Secrets:
    """What hides values of environment variables that manifests of this process read; guarded by `_lock`."""

    _lock = threading.Lock()
    _hidden: dict[frozenset[str], Callable[[str], str]] = {}  # noqa: RUF012  (guarded by the lock)

    @classmethod
    def add(cls, key: frozenset[str], hide: Callable[[str], str]) -> None:
        with cls._lock:
            cls._hidden = {**cls._hidden, key: hide}

    @classmethod
    def hide(cls, text: str) -> str:
        for hide in cls._hidden.values():
            text = hide(text)
        return text


def _clean_field(value: object) -> object:
    if isinstance(value, tuple | list):
        return [_clean_field(item) for item in value]
    return value if isinstance(value, bool | int | float) else clean(str(value))


def _clean_error(error: BaseException, causes: int = _MOST_CAUSES) -> Exception:
    """Return a stand-in for handlers: the name, frames and causes of `error`, and its text on one line."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  (an application's or an engine's class)
        text = "its text cannot be shown"
    kind = type(error)
    shown: Exception = type(clean(kind.__qualname__), (Exception,), {"__module__": clean(kind.__module__)})(clean(text))
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and causes:
        shown.__cause__ = _clean_error(cause, causes - 1)
    return shown.with_traceback(error.__traceback__)


STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""The attributes that every record of `logging` has; any others are an event's fields."""
