"""An HTTP client that sends exactly the bytes of a test."""

from __future__ import annotations

import json
import socket
from contextlib import contextmanager

TIMEOUT_S = 20


@contextmanager
def connected(server):
    with socket.create_connection(server.http_address, timeout=TIMEOUT_S) as connection:
        yield connection


def exchange(server, data):
    """Send bytes, and return all that the server sends until it closes the connection."""
    with connected(server) as connection:
        connection.sendall(data)
        return read_to_end(connection)


def read_to_end(connection):
    received = b""
    while True:
        try:
            more = connection.recv(1 << 16)
        except ConnectionResetError:
            return received
        if not more:
            return received
        received += more


def read_answer(connection):
    """Return the status, the headers and the body of one answer on a connection that stays open."""
    received = b""
    while b"\r\n\r\n" not in received:
        more = connection.recv(1 << 16)
        if not more:
            raise ConnectionError(f"closed after {received!r}")
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    status, headers = parsed(head)
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(1 << 20)
    return status, headers, body


def parsed(head):
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers


def answers(received):
    """Return the statuses of all answers in what a connection received."""
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        status, headers = parsed(head)
        found.append(status)
        received = rest[int(headers.get("content-length", 0)) :]
    return found


def infer(value=(1.0, 2.0), model="id_fp32", headers=b"", **more):
    """Return an inference request in JSON."""
    tensor = {"name": "x", "shape": [len(value)], "datatype": "FP32", "data": list(value)}
    return post(f"/v2/models/{model}/infer", json.dumps({"inputs": [tensor], **more}).encode(), headers)


def post(path, body, headers=b""):
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n".encode()
    return head + headers + b"\r\n" + body


def get(path, headers=b""):
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n".encode() + headers + b"\r\n"


CLOSE = b"Connection: close\r\n"
