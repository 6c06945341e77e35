"""`TokenFile`: bearer tokens of a file, which is read again when it changes."""

from __future__ import annotations

import hmac
from pathlib import Path
from time import monotonic

from aegisrt.core.result import Error, ErrorCode, ResultError, fail
from aegisrt.core.shown.log import Log
from aegisrt.core.system_error import system_error

NO_ADMIN = Error(
    ErrorCode.PERMISSION_DENIED,
    "this server does not load or unload models for its clients",
    "set `server.admin.token_file`, and send one of its tokens",
)
_log = Log(__name__)
_CHECK_EVERY_S = 1.0
_SHORTEST = 8


class TokenFile:
    """Checks tokens in constant time. A change of the file is seen within a second; a file that is not readable, or
    has no good tokens any more, leaves the earlier tokens valid, is read again a second later, and is reported once."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        NOT_FOUND, PERMISSION_DENIED: if it cannot be read.
        INVALID_ARGUMENT: if it has no tokens, or one is shorter than 8 characters or has blanks inside.
        """
        self._path = path
        self._checked = 0.0
        self._failing = False
        self._stamp, self._tokens = self._read()

    def accepts(self, authorization: bytes | None) -> bool:
        """Return whether an `Authorization` header has one of the tokens."""
        self._refresh()
        scheme, _, token = (authorization or b"").partition(b" ")
        if scheme.lower() != b"bearer":
            return False
        token = token.strip()
        matches = [hmac.compare_digest(token, known) for known in self._tokens]  # all of them, in any case
        return any(matches)

    def _refresh(self) -> None:
        now = monotonic()
        if now - self._checked < _CHECK_EVERY_S:
            return
        self._checked = now
        try:
            if self._stamp_now() != self._stamp:
                self._stamp, self._tokens = self._read()
        except (ResultError, OSError) as error:
            if not self._failing:
                reason = error.error.message if isinstance(error, ResultError) else str(error)
                _log.warning("the earlier tokens are still valid: %s", reason)
            self._failing = True
            return
        self._failing = False

    def _stamp_now(self) -> tuple[int, int, int]:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> tuple[tuple[int, int, int], tuple[bytes, ...]]:
        try:
            stamp = self._stamp_now()
            lines = [line.strip() for line in self._path.read_bytes().splitlines() if line.strip()]
        except OSError as error:
            raise system_error(error, f"the tokens of {self._path} cannot be read") from None
        if not lines or min(map(len, lines)) < _SHORTEST:
            message = f"{self._path} holds no tokens" if not lines else f"a token of {self._path} is too short"
            raise fail(ErrorCode.INVALID_ARGUMENT, message, "write one token a line, each of at least 8 characters")
        if any(len(line.split()) > 1 for line in lines):
            message = f"a token of {self._path} has blanks inside"
            raise fail(ErrorCode.INVALID_ARGUMENT, message, "write one token a line, and nothing else")
        return stamp, tuple(lines)
