"""`InferStream`: the requests of one `ModelStreamInfer` call, several at once, each answered when it is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from time import perf_counter_ns
from typing import TypeAlias

from aegisrt.core.result import Error, ResultError
from aegisrt.serving.grpc.calls import GrpcCalls, OverloadError, internal
from aegisrt.serving.protocol.grpc_answer import stream_answer, stream_error
from aegisrt.serving.protocol.status import public
from aegisrt.serving.protocol.wire import fields, length_delimited

_MOST_AT_ONCE = 64
_DRAIN_EVERY_S = 0.25
_ID = 3

Done: TypeAlias = Callable[[Error | None, tuple[int, int], int], None]
"""Gets the error, the bytes of the request and of the answer, and when the request was read."""


class InferStream:
    """Answers a stream. An error of one request is its answer, and the stream goes on."""

    def __init__(self, calls: GrpcCalls, left_ms: Callable[[], float | None], header: str | None, done: Done) -> None:
        """`done` counts and logs an answer; the rest is as in `GrpcCalls.infer`."""
        self._calls = calls
        self._done = done
        self._left_ms = left_ms
        self._header = header
        self._answers: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(_MOST_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def answers(self, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the answers until the client has sent its last request, or the server drains, and all are answered.

        A client that reads no answers may have 64 requests here; further ones are read when it has read answers.
        """
        running = asyncio.ensure_future(self._run(messages))
        try:
            while (answer := await self._answers.get()) is not None:
                yield answer
                self._room.release()
        finally:
            running.cancel()
            for task in self._tasks:
                task.cancel()

    async def _run(self, messages: AsyncIterator[bytes]) -> None:
        """Read until the end or the drain, wait for the answers, and end them."""
        reader = asyncio.ensure_future(self._read(messages))
        try:
            while not reader.done() and not self._calls.service.is_draining:
                await asyncio.wait((reader,), timeout=_DRAIN_EVERY_S)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            if self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            reader.cancel()
            self._answers.put_nowait(None)

    async def _read(self, messages: AsyncIterator[bytes]) -> None:
        await self._room.acquire()  # before a message is read: one that was read is always answered
        async for message in messages:
            task = asyncio.ensure_future(self._answer(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await self._room.acquire()

    async def _answer(self, message: bytes) -> None:
        since_ns = perf_counter_ns()
        error: Error | None = None
        try:
            answer = stream_answer(await self._calls.infer(message, self._left_ms(), self._header))
        except (ResultError, OverloadError) as failure:
            error = failure.error
        except Exception as failure:  # noqa: BLE001  (a bug; the client gets an answer, and the log the cause)
            error = internal(failure)
        if error is not None:
            answer = _failed(error, message)
        self._done(error, (len(message), len(answer)), since_ns)
        self._answers.put_nowait(answer)


def _failed(error: Error, message: bytes) -> bytes:
    shown = public(error)
    text = shown.message if shown.hint is None else f"{shown.message} ({shown.hint})"
    return stream_error(text, _identity(message))


def _identity(message: bytes) -> bytes:
    """Return a `ModelInferResponse` with the request's id alone, so that the client finds the request of the error."""
    try:
        found = [
            bytes(value) for at, _, value in fields(memoryview(message)) if at == _ID and not isinstance(value, int)
        ]
    except ResultError:
        return b""
    return length_delimited(_ID, found[-1]) if found else b""
