"""`FailureLog`: the first failure of a kind is logged at once, more of the same once a minute with their count."""

from __future__ import annotations

import threading
import time

from aegisrt.core.result import Error
from aegisrt.core.shown.log import Log

EVERY_S = 60.0
"""The shortest time between two events of one kind."""
_log = Log(__name__)


class FailureLog:
    """Logs the failed requests of one model, of each code by itself. Thread-safe; a success costs it nothing."""

    __slots__ = ("_kinds", "_lock", "_model")

    def __init__(self, model: str) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._kinds: dict[str, tuple[float, int]] = {}
        """By code: when it was logged last, on the monotonic clock in seconds, and how many were not logged since."""

    def failed(self, error: Error, request_id: object = None) -> None:
        """Log a failed request, unless one with its code was logged within a minute."""
        now = time.monotonic()
        with self._lock:
            last = self._kinds.get(error.code)
            if last is not None and now - last[0] < EVERY_S:
                self._kinds[error.code] = last[0], last[1] + 1
                return
            self._kinds[error.code] = now, 0
        unlogged = last[1] if last is not None else 0
        shown_id = "" if request_id is None else f" `{request_id}`"
        more = f" ({unlogged} more since the last of this code that was logged)" if unlogged else ""
        _log.warning(
            "request%s of model `%s` failed: %s: %s%s",
            shown_id,
            self._model,
            error.code,
            error.message,
            more,
            model=self._model,
            code=str(error.code),
            request_id=request_id,
            unlogged=unlogged,
        )
