"""How the parent reads what an isolated process sends: its first answer, an answer with its memory, strings, frames."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np

from aegisrt.backends.isolation.answers import (
    LONGEST_CALL,
    LONGEST_READY,
    ReadyMessage,
    call_answer,
    error_answer,
    parse_call,
    parse_ready,
    ready_answer,
)
from aegisrt.backends.isolation.arena import Arena
from aegisrt.backends.isolation.channel import BadMessageError, Channel, LateError
from aegisrt.backends.isolation.strings import packed, unpacked
from aegisrt.core.result import Error, ErrorCode, ResultError
from aegisrt.core.tensor import DataType, Signature, TensorSpec
from tests.measuring.fuzz import mutations

_SPECS = (
    TensorSpec("y", DataType.FP32, ("n", 4)),
    TensorSpec("text", DataType.BYTES, None),
    TensorSpec("mask", DataType.BOOL, (None,)),
)
_ERROR = Error(ErrorCode.DATA_LOSS, "damaged", "copy it", cause="x")
_ARENA_BYTES = 1 << 20
_SHAPES = ((2,), (), (0,), (3, 1), (1 << 40,), (1 << 62, 4))
_FRAMES_S = 0.05
_LATEST_S = 2.0


def ready(path: Path) -> None:
    """Read a first answer."""
    try:
        found = parse_ready(path.read_bytes(), 1)
    except ResultError as error:
        raise BadMessageError from error
    json.dumps(found.metadata)
    for spec in (*found.signature.inputs, *found.signature.outputs):
        assert isinstance(spec.name, str), spec
        assert spec.shape is None or all(dim is None or isinstance(dim, str) or dim >= 0 for dim in spec.shape), spec
    assert all(isinstance(text, str) for pair in found.model_metadata.items() for text in pair)


def ready_seeds() -> list[bytes]:
    """Return valid first answers."""
    signature = Signature(
        (TensorSpec("x", DataType.FP32, ("n", None, 3), optional=True),), _SPECS, (("o", "sequence"),)
    )
    message = ReadyMessage(signature, {"engine": "e", "a": [1, {"b": None}]}, {"author": "me"}, 7, ("0" * 64,))
    return [ready_answer(message), error_answer(_ERROR)]


def call(path: Path) -> None:
    """Read an answer, and then the outputs out of a memory: the first bytes of the file are the answer's length."""
    data = path.read_bytes()
    size = int.from_bytes(data[:4], "little")
    arena = Arena(fixed_bytes=_ARENA_BYTES)
    try:
        os.pwrite(arena.descriptor, data[4 + size :][:_ARENA_BYTES], 0)
        laid = parse_call(data[4 : 4 + size], _SPECS)
        try:
            outputs = arena.read(laid, copy=True)
        except ValueError as error:
            raise BadMessageError from error
        for spec, array in zip(_SPECS, outputs, strict=True):
            assert DataType.of(array.dtype) is spec.dtype or spec.dtype is DataType.BYTES, array.dtype
            assert array.flags.owndata or array.base is not None
    except ResultError as error:
        raise BadMessageError from error
    finally:
        arena.close()


def call_seeds() -> list[bytes]:
    """Return valid answers with their memory."""
    texts = np.array(["a", b"\xff\x00", "\u20ac" * 2000], object)
    arena = Arena(fixed_bytes=_ARENA_BYTES)
    outputs = {"y": np.ones((2, 4), np.float32), "text": texts, "mask": np.array([True, False])}
    answer = call_answer(arena.write(outputs))
    memory = os.pread(arena.descriptor, 1 << 13, 0)
    arena.close()
    return [len(message).to_bytes(4, "little") + message + memory for message in (answer, error_answer(_ERROR))]


def call_changed(data: bytes, random: Random) -> bytes:
    """Change the answer, or the memory."""
    size = int.from_bytes(data[:4], "little")
    answer, memory = data[4 : 4 + size], data[4 + size :]
    if random.random() < 0.6:
        answer = mutations.json_text_changed(answer, random)
    else:
        memory = mutations.bytes_changed(memory, random)
    return len(answer).to_bytes(4, "little") + answer + memory


def strings(path: Path) -> None:
    """Read strings, of the shape that the first byte chooses."""
    data = path.read_bytes()
    shape = _SHAPES[data[0] % len(_SHAPES)] if data else ()
    found = unpacked(data[1:], shape)
    assert found.shape == shape
    assert all(isinstance(value, str | bytes) for value in found.ravel())


def strings_seeds() -> list[bytes]:
    """Return strings of each form."""
    forms = (["a", "b"], [b"a", b"\x00\xff"], ["a", b"b"], ["\ud800", "x" * 2000], [], ["only"], ["a", "b", "c"])
    arrays = [np.array([*values, None], object)[:-1] for values in forms]
    shape_of = {2: 0, 0: 2, 1: 1, 3: 3}
    return [bytes([shape_of[len(array)]]) + packed(array).tobytes() for array in arrays]


def frames(path: Path) -> None:
    """Receive messages from another process's end until it breaks the protocol, is closed, or is late."""
    ours, theirs = socket.socketpair()
    data, until = path.read_bytes(), time.monotonic() + _FRAMES_S
    sender = threading.Thread(target=_send, args=(theirs, data), daemon=True)
    sender.start()
    channel = Channel(ours)
    try:
        for _ in range(1 << 16):
            message = channel.receive(LONGEST_CALL, until)
            assert len(message) <= LONGEST_CALL
    finally:
        channel.close()
        sender.join()
        theirs.close()
        late_s = time.monotonic() - until
        assert late_s < _LATEST_S, f"{late_s:.1f} s after its deadline"


def _send(connection: socket.socket, data: bytes) -> None:
    try:
        connection.sendall(data)
        if not data.endswith(b"\0"):  # else the connection stays open: the receiver has to give up
            connection.shutdown(socket.SHUT_WR)
    except OSError:
        return


def frames_seeds() -> list[bytes]:
    """Return one message, several, and one that is too long."""
    one = _framed(b"{}")
    return [one, one * 3, _framed(b"x" * 70_000), struct.pack("!Q", LONGEST_READY) + b"x", _framed(b"\0"), one + b"\0"]


def _framed(message: bytes) -> bytes:
    return struct.pack("!Q", len(message)) + message


READERS: dict[str, tuple[str, Callable[[], list[bytes]], mutations.Change, Callable[[Path], object], int]] = {
    "child-ready": (".json", ready_seeds, mutations.json_text_changed, ready, 800),
    "child-call": (".bin", call_seeds, call_changed, call, 800),
    "child-strings": (".bin", strings_seeds, mutations.text_changed, strings, 800),
    "child-frames": (".bin", frames_seeds, mutations.bytes_changed, frames, 100),
}
"""Suffix, seeds, change, reader and examples of each target."""
ENDS: dict[str, tuple[type[Exception], ...]] = {
    "child-ready": (BadMessageError,),
    "child-call": (BadMessageError,),
    "child-strings": (ValueError,),
    "child-frames": (BadMessageError, EOFError, LateError),
}
"""What the parent takes as a reason to end the process."""
