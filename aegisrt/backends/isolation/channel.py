"""`Channel`: messages between two processes, each with its length before it, within one deadline."""

from __future__ import annotations

import struct
import time
from socket import SHUT_RDWR, socket

_LENGTH = struct.Struct("!Q")
_CLOCK_ERROR_S = 1e-3


class LateError(Exception):
    """The deadline passed before the whole message was sent or received."""


class BadMessageError(ValueError):
    """The other process sent a message that breaks the protocol."""


class Channel:
    """One end of a connection, used by one thread at a time. After an error, no message can be sent or received."""

    def __init__(self, connection: socket) -> None:
        self._connection = connection

    def send(self, message: bytes, until: float | None = None) -> None:
        """Send one message.

        LateError: if it is not sent at `until`, a time of `time.monotonic`; partial messages count.
        """
        self._wait_until(until)
        try:
            self._connection.sendall(_LENGTH.pack(len(message)) + message)
        except TimeoutError:
            raise _late(until) from None

    def receive(self, most: int | None = None, until: float | None = None) -> bytes:
        """Return the next message of at most `most` bytes.

        EOFError: if the other end is closed before the message is complete.
        LateError: if it is not complete at `until`, a time of `time.monotonic`.
        BadMessageError: if it is longer.
        """
        (size,) = _LENGTH.unpack(self._exactly(_LENGTH.size, until))
        if most is not None and size > most:
            raise BadMessageError(f"{size} bytes, where {most} are allowed")
        return self._exactly(size, until)

    def close(self) -> None:
        """Close it, for the other end too even if a forked process has a copy of our end; may be called again."""
        if self._connection.fileno() < 0:
            return
        try:
            self._connection.shutdown(SHUT_RDWR)
        except OSError:
            pass  # the other end is closed
        finally:
            self._connection.close()

    def _exactly(self, size: int, until: float | None) -> bytes:
        """Return `size` bytes; many small pieces take no more memory than they have bytes."""
        received = bytearray(size)
        free = memoryview(received)
        while free:
            self._wait_until(until)
            try:
                count = self._connection.recv_into(free)
            except TimeoutError:
                raise _late(until) from None
            if not count:
                raise EOFError
            free = free[count:]
        return bytes(received)

    def _wait_until(self, until: float | None) -> None:
        if until is None:
            self._connection.settimeout(None)
            return
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise LateError
        self._connection.settimeout(left_s)


def _late(until: float | None) -> Exception:
    """Return what a TimeoutError means: the deadline, or an exception that a signal's handler raised."""
    passed = until is not None and time.monotonic() > until - _CLOCK_ERROR_S
    return LateError() if passed else TimeoutError()
