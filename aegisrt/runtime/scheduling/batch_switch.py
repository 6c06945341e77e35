"""`BatchSwitch`: whether a model's requests may still be joined; once off, it stays off."""

from __future__ import annotations

import threading

from aegisrt.core.shown.log import Log

_log = Log(__name__)


class BatchSwitch:
    """Thread-safe; its lock guards `off` alone."""

    def __init__(self, model: str, off: str | None = None) -> None:
        self._model = model
        self._lock = threading.Lock()
        self.off = off
        """Why requests are run one by one; None while they may be joined."""

    def turn_off(self, reason: str) -> bool:
        """Turn batching off for good; return whether this call did."""
        with self._lock:
            if self.off is not None:
                return False
            self.off = reason
        _log.warning("model `%s` runs its requests one by one from now on: %s", self._model, reason, model=self._model)
        return True
