"""Stand-ins for a captured child: each speaks the protocol correctly until it attacks its parent."""

from __future__ import annotations

import json
import os
import pickle
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from aegisrt.backends.isolation.answers import ReadyMessage, call_answer, error_answer, ready_answer
from aegisrt.backends.isolation.arena import Arena, Laid
from aegisrt.backends.isolation.channel import Channel
from aegisrt.core.result import Error, ErrorCode
from aegisrt.core.tensor import DataType
from tests.backends.isolation.crashing import Crashing


class Command:
    """Unpickling it makes a file."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (Path(self.file),)


def answer(value: Any) -> bytes:
    return json.dumps(value).encode()


def framed(message: bytes) -> bytes:
    return struct.pack("!Q", len(message)) + message


def y(dtype: Any = "FP32", shape: Any = (2,), size: Any = 8) -> bytes:
    """Return an answer with one output."""
    return answer({"ok": [[dtype, shape, size]]})


def drip(message: bytes) -> Callable[[socket.socket], None]:
    def send(connection: socket.socket) -> None:
        for byte in message:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    return send


def half(connection: socket.socket) -> None:
    connection.sendall(framed(y())[:20])
    time.sleep(60)


MARKER = os.environ.get("AEGISRT_TEST_MARKER", "")
ERROR = {"code": "INTERNAL", "message": "m", "hint": None, "cause": None}
ANYTIME: dict[str, bytes | Callable[[socket.socket], None]] = {
    "pickle": framed(pickle.dumps(Command(MARKER))),
    "pickle-as-connection-sends-it": struct.pack("!i", 100) + pickle.dumps(Command(MARKER)),
    "huge-length": struct.pack("!Q", 2**63) + b"x",
    "largest-length": b"\xff" * 8,
    "no-bytes": framed(b""),
    "not-json": framed(b"{"),
    "not-utf-8": framed(b'"\xff"'),
    "huge-number": framed(b"9" * 5000),
    "deep-json": framed(b"[" * 500_000),
    "deep-mapping": framed(b'{"ok":' * 100_000),
    "a-list": framed(answer([1])),
    "both": framed(answer({"ok": [], "error": ERROR})),
    "neither": framed(answer({"other": 1})),
    "unknown-code": framed(answer({"error": {**ERROR, "code": "OWNED"}})),
    "code-is-a-list": framed(answer({"error": {**ERROR, "code": ["INTERNAL"]}})),
    "message-is-a-number": framed(answer({"error": {**ERROR, "message": 1}})),
    "more-fields": framed(answer({"error": {**ERROR, "location": "x"}})),
    "error-is-a-text": framed(answer({"error": "x"})),
    "half": half,
    "drip": drip(framed(b" " * 10_000)),
}
"""Attacks by any answer."""
CALLS: dict[str, bytes] = {
    "negative-shape": y(shape=[-1]),
    "negative-shapes": y(shape=[-1, -2]),
    "shape-is-a-number": y(shape=2),
    "shape-of-texts": y(shape=["2"]),
    "shape-of-truths": y(shape=[True], size=4),
    "shape-of-floats": y(shape=[2.0]),
    "endless-shape": y(shape=[2**64]),
    "shape-beyond-the-signature": y(shape=[2, 1]),
    "size-0": y(size=0),
    "size-of-others": y(size=4),
    "negative-size": y(size=-8),
    "beyond-the-memory": y(shape=[2**28 + 1], size=2**30 + 4),
    "far-beyond-the-memory": y(shape=[2**61 - 1], size=2**63 - 4),
    "endless-rank": y(shape=[9] * 300_000, size=4),
    "other-dtype": y("FP64", size=16),
    "unknown-dtype": y("OBJECT"),
    "dtype-is-a-list": y(["FP32"]),
    "pickled-dtype": y("BYTES"),
    "a-name": answer({"ok": {"other": ["FP32", [2], 8]}}),
    "named-row": answer({"ok": [["other", "FP32", [2], 8]]}),
    "offset": answer({"ok": [["FP32", [2], 8, 1 << 40]]}),
    "no-output": answer({"ok": []}),
    "two-outputs": answer({"ok": [["FP32", [2], 8]] * 2}),
    "row-is-a-mapping": answer({"ok": [{"dtype": "FP32", "shape": [2], "size": 8}]}),
}
"""Attacks by the answer to a request for `y`."""
SPEC = ["y", "FP32", ["n"], False]
READY: dict[str, Any] = {
    "inputs": [SPEC, SPEC],
    "outputs": [["y", "OBJECT", ["n"], False]],
    "outputs-": [["y", "FP32", [-1], False]],
    "outputs--": [["y", "FP32", [1.5], False]],
    "outputs----": [["y", "FP32", [9] * 100, False]],
    "outputs---": [[["y"], "FP32", ["n"], False]],
    "omitted": [["a"]],
    "metadata": ["a"],
    "metadata-": json.loads('{"a":' * 100 + "1" + "}" * 100),
    "model_metadata": {"a": 1},
    "memory_bytes": -1,
    "memory_bytes-": "1",
    "digests": [],
    "digests-": ["/etc/passwd"],
    "digests--": ["0" * 64, "0" * 64],
    "further": 1,
}
"""Attacks by one field of the first answer, whose name is before the dash."""


def truncate(writes: Arena) -> None:
    """Send a correct answer, and take its memory away."""
    writes.write({"y": np.zeros(1 << 20, np.float32)})
    try:
        os.ftruncate(writes.descriptor, 0)
    except OSError as error:
        print(f"truncation refused: {error.strerror}", file=sys.stderr, flush=True)


def grow(writes: Arena) -> None:
    """Make the memory of the outputs longer than its limit."""
    try:
        os.ftruncate(writes.descriptor, 1 << 40)
    except OSError as error:
        print(f"growth refused: {error.strerror}", file=sys.stderr, flush=True)


def seal(reads: Arena, writes: Arena) -> None:
    """Take from the parent what it needs to write the next request."""
    import fcntl

    for arena in (reads, writes):
        for kind in ("F_SEAL_GROW", "F_SEAL_WRITE", "F_SEAL_FUTURE_WRITE"):
            try:
                fcntl.fcntl(arena.descriptor, fcntl.F_ADD_SEALS, getattr(fcntl, kind, 16))
            except OSError:
                continue
            print("sealed", file=sys.stderr, flush=True)


def ready(path: Path, digest: str) -> bytes:
    backend = Crashing()
    signature = backend._signature(path)
    return ready_answer(ReadyMessage(signature, {"engine": "captured"}, {}, None, (digest,)))


def main(moment: str, attack: str, digest: str) -> None:
    """Attack the parent by the first answer (`ready`, `field`), or by the answer to a request."""
    control, inputs, outputs = (int(word) for word in sys.argv[1:4])
    connection = socket.socket(fileno=control)
    channel, reads = Channel(connection), Arena(inputs)
    job = pickle.loads(channel.receive())
    writes = Arena(outputs, fixed_bytes=job.options.isolation_output_bytes)
    channel.receive()
    first = ready(job.path, "" if job.deployed else digest)
    if job.deployed:
        first = answer({"ok": {**json.loads(first)["ok"], "digests": []}})
    if moment == "ready":
        send(connection, ANYTIME[attack])
    elif moment == "field":
        field = attack.rstrip("-")
        send(connection, framed(answer({"ok": {**json.loads(first)["ok"], field: READY[attack]}})))
    else:
        channel.send(first)
    while True:
        channel.receive()
        if moment == "any":
            send(connection, ANYTIME[attack])
        elif moment == "call":
            send(connection, framed(CALLS[attack]))
        else:
            other(attack, connection, channel, reads, writes)


def send(connection: socket.socket, what: bytes | Callable[[socket.socket], None]) -> None:
    try:
        connection.sendall(what) if isinstance(what, bytes) else what(connection)
    except OSError:
        sys.exit()


def other(attack: str, connection: socket.socket, channel: Channel, reads: Arena, writes: Arena) -> None:
    if attack == "truncated":
        truncate(writes)
        channel.send(call_answer([Laid(DataType.FP32, (1 << 20,), 4 << 20)]))
    elif attack == "grown":
        grow(writes)
        channel.send(call_answer([Laid(DataType.FP32, (1 << 14,), 4 << 14)]))
    elif attack == "larger":
        grow(writes)
        channel.send(call_answer([Laid(DataType.FP32, (1 << 15,), 4 << 15)]))
    elif attack == "terminal":
        os.write(1, b"\x1b]0;owned\x07\r::set-output name=x::y\n  ::error::no\xff\n" + b"x" * 20_000)
        os._exit(1)
    elif attack == "heirs":
        if os.fork() == 0:
            connection.close()
            os.setsid()
            time.sleep(20)
        os._exit(1)
    elif attack == "flood":
        while True:
            os.write(2, b"\x1b" * 65536)
    elif attack == "sealed":
        seal(reads, writes)
        channel.send(call_answer(writes.write({"y": np.ones(1, np.float32)})))
    elif attack == "long-error":
        channel.send(error_answer(Error(ErrorCode.DATA_LOSS, "\U0001f600" * 10**6, "h" * 10**6, cause="c" * 10**6)))
    elif attack == "environment":
        channel.send(error_answer(Error(ErrorCode.INTERNAL, json.dumps(sorted(os.environ)))))
    elif attack.startswith("strings:"):
        text = attack.removeprefix("strings:").encode()
        writes.write({"y": np.frombuffer(text, np.uint8)})
        channel.send(call_answer([Laid(DataType.BYTES, (2,), len(text))]))
