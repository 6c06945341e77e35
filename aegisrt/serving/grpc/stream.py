"""`InferStream`: the requests of one `ModelStreamInfer` call, several at once, each answered when it is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from aegisrt.core.result import Error, ErrorCode, ResultError
from aegisrt.serving.grpc.calls import GrpcCalls, OverloadError
from aegisrt.serving.protocol.grpc_answer import stream_answer, stream_error
from aegisrt.serving.protocol.status import public
from aegisrt.serving.protocol.wire import fields, length_delimited

_MOST_AT_ONCE = 64
_ID = 3


class InferStream:
    """Answers a stream. An error of one request is its answer, and the stream goes on."""

    def __init__(self, calls: GrpcCalls, left_ms: Callable[[], float | None], header: str | None) -> None:
        self._calls = calls
        self._left_ms = left_ms
        self._header = header
        self._answers: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(_MOST_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def answers(self, messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the answers until the client has sent its last request and all are answered."""
        reader = asyncio.ensure_future(self._read(messages))
        try:
            while (answer := await self._answers.get()) is not None:
                yield answer
        finally:
            reader.cancel()
            for task in self._tasks:
                task.cancel()

    async def _read(self, messages: AsyncIterator[bytes]) -> None:
        try:
            async for message in messages:
                await self._room.acquire()
                task = asyncio.ensure_future(self._answer(message))
                self._tasks.add(task)
                task.add_done_callback(self._ended)
            if self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            self._answers.put_nowait(None)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.release()

    async def _answer(self, message: bytes) -> None:
        try:
            answer = stream_answer(await self._calls.infer(message, self._left_ms(), self._header))
        except (ResultError, OverloadError) as failure:
            answer = _failed(failure.error, message)
        except Exception as failure:  # noqa: BLE001  (a bug; the client gets an answer)
            answer = _failed(Error(ErrorCode.INTERNAL, repr(failure)), message)
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
