"""`HttpConnection`: uvicorn's protocol with the bounds that it lacks, and with answers in the form of the protocol.

uvicorn reads headers of any size, waits for a request for any time, and holds any number of connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from aegisrt.core.result import Error, ErrorCode
from aegisrt.manifest.server import HttpOptions
from aegisrt.serving.protocol.http_answer import json_body
from aegisrt.serving.protocol.status import error_body

_NO_LEVEL = 100
"""uvicorn logs nothing: the server's own log has all in its own form."""
_SLOW_READER_S = 30.0
"""How long a client may leave an answer unread in the connection's buffer."""
_MOST_QUEUED = 16
"""Requests that a connection may have behind the one that is answered."""
_DISCARD_S = 2.0
"""How long the rest of a refused request is read: closing at once would reset the connection, and lose the answer."""
_PROBLEMS = {
    400: "the request is not HTTP/1.1",
    408: "the request did not arrive in time",
    431: "the headers are too large",
    429: "too many requests wait on the connection",
    501: "the server does not change the protocol of a connection",
}


@dataclass(slots=True)
class Connections:
    """The connections of one listener, and what they have in common."""

    options: HttpOptions
    config: Config
    state: ServerState = field(default_factory=ServerState)

    def factory(self) -> Callable[[], asyncio.Protocol]:
        """Return what makes the protocol of a connection."""
        return lambda: HttpConnection(self)


class HttpConnection(HttpToolsProtocol):
    """One connection. A client gets `read_timeout_s` for each request, and `idle_timeout_s` between them."""

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections.config, connections.state, {})
        self._options = connections.options
        self.logger = type(self.logger)(__name__, _NO_LEVEL)
        self.parser = httptools.HttpRequestParser(self)  # uvicorn's own accepts data after `connection: close`
        self._arrived = 0
        """Bytes of the last read."""
        self._header_bytes = 0
        """At least the size of the headers so far, or of what came since the last piece of the body."""
        self._uncounted = 0
        """The size of the read that the headers begin in, if something else is before them."""
        self._is_continued = False
        """Whether the read has something before what is parsed now."""
        self._in_headers = False
        self._hosts = 0
        self._is_complete = True
        self._is_discarding = False
        self._is_upgrade = False
        self._open: list[RequestResponseCycle] = []
        """The requests that are not answered yet, oldest first."""
        self._current: RequestResponseCycle | None = None
        """The request whose body arrives."""
        self._timer: asyncio.TimerHandle | None = None
        self._slow: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Close the connection at once if there are too many."""
        if len(self.connections) >= self._options.max_connections:
            transport.abort()
            self.transport = transport
            return
        super().connection_made(transport)
        self._wait(self._options.idle_timeout_s, self._close_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection, and withdraw its request."""
        self._stop_waiting()
        if self._slow is not None:
            self._slow.cancel()
        self._disconnect()
        if self.flow is not None:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what arrived; refuse what is not HTTP or is too large."""
        if self._is_discarding:
            return None
        self._arrived = len(data)
        self._is_continued = not self._is_complete
        if not self._is_complete:
            self._header_bytes += self._arrived
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._read_again(data[upgrade.args[0] :]) if self._is_upgrade else self._refuse(501)
        except httptools.HttpParserError as error:
            status = error.__context__.status if isinstance(error.__context__, _RefusedRequestError) else 400
            return self._refuse(status)
        if not self._is_complete and self._header_bytes > self._options.max_header_bytes:
            return self._refuse(431)  # trailers and extensions of chunks too: the parser joins their pieces
        return None

    def on_message_begin(self) -> None:
        """Begin a request: its time runs from here to its last byte."""
        super().on_message_begin()
        self._unset_keepalive_if_required()
        self._stop_waiting()
        self._wait(self._options.read_timeout_s, self._end_late)
        self._in_headers, self._is_complete = True, False
        self._header_bytes, self._uncounted = (0, self._arrived) if self._is_continued else (self._arrived, 0)
        self._hosts, self._current = 0, None

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count the headers; refuse trailers, which would be taken for headers."""
        if not self._in_headers:
            raise _RefusedRequestError(400)
        super().on_header(name, value)
        if self.headers[-1][0] == b"host":
            self._hosts += 1

    def on_headers_complete(self) -> None:
        """Refuse headers that are too large, and a request without exactly one host."""
        self._in_headers = False
        most = self._options.max_header_bytes
        if self._header_bytes + self._uncounted > most:  # the reads may have a part of the body too
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > most:
                raise _RefusedRequestError(431)
        if self._hosts > 1 or (not self._hosts and self.parser.get_http_version() == "1.1"):
            raise _RefusedRequestError(400)
        if len(self.pipeline) >= _MOST_QUEUED:
            raise _RefusedRequestError(429)
        self._is_upgrade = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if self._is_upgrade:
            return
        super().on_headers_complete()
        self._current = self.cycle
        self._current.transport = _AnswerTransport(self)  # type: ignore[assignment]
        self._open.append(self._current)

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._header_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request; wait for the next one if it is answered already."""
        self._is_complete, self._current = True, None
        self._is_continued = not self._is_upgrade
        self._stop_waiting()
        if self._is_upgrade:
            return
        super().on_message_complete()
        if self.cycle.response_complete:
            self._wait(self._options.idle_timeout_s, self._close_idle)

    def on_response_complete(self) -> None:
        """Wait for the next request, unless a part of it is there."""
        self._open = [cycle for cycle in self._open if not cycle.response_complete]
        if self._is_discarding:
            return
        super().on_response_complete()
        if not self._is_complete:
            self._unset_keepalive_if_required()

    def pause_writing(self) -> None:
        """Close the connection of a client that does not read its answer."""
        super().pause_writing()
        if self._slow is None:
            self._watch_reader(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Go on with an answer that its client reads."""
        super().resume_writing()
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._timer = self.loop.call_later(seconds, then)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close_idle(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def _end_late(self) -> None:
        """Refuse a request that took too long to arrive; give it more time if it was not read."""
        if self.flow.read_paused:
            self._wait(self._options.read_timeout_s, self._end_late)
        else:
            self._refuse(408)

    def _watch_reader(self, unread: int) -> None:
        self._slow = self.loop.call_later(_SLOW_READER_S, self._end_slow, unread)

    def _end_slow(self, unread: int) -> None:
        """Cut off a client that has read nothing of its answer since `unread` bytes were left."""
        left = self.transport.get_write_buffer_size()
        if left < unread:
            self._watch_reader(left)
        else:
            self.transport.abort()

    def _read_again(self, rest: bytes) -> None:
        """Read a request without its `Upgrade`, which a server may ignore (RFC 9110, 7.8); it is the last one.

        The parser takes what is behind the headers for another protocol.
        """
        line = b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        headers = [pair for pair in self.headers if pair[0] not in (b"upgrade", b"connection")]
        lines = [b"%s: %s\r\n" % pair for pair in (*headers, (b"connection", b"close"))]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(line + b"".join(lines) + b"\r\n" + rest)

    def close_answered(self) -> None:
        """Close the connection after an answer; first read the rest of a request that was not read."""
        if self._is_complete:
            self.transport.close()
        else:
            self._discard()

    def _discard(self) -> None:
        if self._is_discarding or self.transport.is_closing():
            return
        self._is_discarding = True
        self._stop_waiting()
        self._unset_keepalive_if_required()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._wait(_DISCARD_S, self._close_idle)

    def _disconnect(self) -> None:
        """Withdraw all requests that are not answered."""
        for cycle in self._open:
            cycle.disconnected = True
            cycle.message_event.set()
        self._open.clear()

    def _refuse(self, status: int) -> None:
        """Answer a request that cannot be read, and close; one that is answered or behind others is only cut off."""
        if self._is_discarding or self.transport.is_closing():
            return
        is_next = all(cycle is self._current for cycle in self._open)
        if is_next and (self._current is None or not self._current.response_started):
            error = Error(ErrorCode.INVALID_ARGUMENT, _PROBLEMS[status])
            body = json_body(error_body(error))
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            self.transport.write(STATUS_LINE[status] + head + body)
        self._disconnect()
        self.pipeline.clear()
        self._discard()


class _AnswerTransport:
    """The transport of an answer: it does not close the connection before the request is read."""

    __slots__ = ("_connection", "is_closing", "write")

    def __init__(self, connection: HttpConnection) -> None:
        self._connection = connection
        self.write = connection.transport.write
        self.is_closing = connection.transport.is_closing

    def close(self) -> None:
        """Close the connection."""
        self._connection.close_answered()


class _RefusedRequestError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status
