"""What the parent spends on a message: no more time and memory than the message is long."""

import json
import socket
import struct
import threading
import time
import tracemalloc

import pytest

from aegisrt.backends.isolation.answers import parse_call
from aegisrt.backends.isolation.channel import BadMessageError, Channel
from aegisrt.backends.isolation.strings import unpacked
from aegisrt.core.result import ResultError
from aegisrt.core.tensor import DataType, TensorSpec


def test_the_rank_of_an_answer_costs_no_time():
    """The product of 300,000 sizes would take seconds, whatever the deadline."""
    free = TensorSpec("y", DataType.FP32, None)
    message = json.dumps({"ok": [["FP32", [9] * 300_000, 4]]}).encode()
    started = time.process_time()
    with pytest.raises(BadMessageError, match="dimensions"):
        parse_call(message, [free])
    with pytest.raises(ValueError, match="dimensions"):
        unpacked(b"[]\n", (9,) * 300_000)
    assert time.process_time() - started < 1.0


def test_a_message_in_small_pieces_takes_no_more_memory():
    ours, theirs = socket.socketpair()
    size = 1 << 18

    def send():
        theirs.sendall(struct.pack("!Q", size))
        for _ in range(size // 2):
            theirs.send(b"xx")

    sender = threading.Thread(target=send, daemon=True)
    channel = Channel(ours)
    tracemalloc.start()
    sender.start()
    assert channel.receive(size) == b"x" * size
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    sender.join()
    channel.close()
    theirs.close()
    assert peak < 4 * size, peak


def test_the_texts_of_an_error_are_cut_in_the_parent_too():
    texts = {"message": "m" * 900_000, "hint": None, "cause": "c" * 90_000}
    with pytest.raises(ResultError) as raised:
        parse_call(json.dumps({"error": {"code": "DATA_LOSS", **texts}}).encode(), [])
    assert (len(raised.value.error.message), len(raised.value.error.cause)) == (10_000, 10_000)
