"""`Zygote`: a process that has imported the kit and forks a copy of itself, in milliseconds, on request.

Forking the caller itself would copy its threads' locks in whatever state they are, engines' too. This process has one
thread and no engine, so a fork of it is equivalent to a new interpreter, in a fiftieth of the time. It ends when its
caller ends, and kills the processes that it forked.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import IO

from aegisrt.conformance.processes.child import run_child

_MESSAGE = 1 << 16
_instance: Zygote | None = None
_lock = threading.Lock()


class Zygote:
    """The caller's end. Thread-safe."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        program = f"from aegisrt.conformance.processes.zygote import serve; serve({theirs.fileno()})"
        # One thread only: numpy's BLAS would start its own, and Python warns of a fork with threads.
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-c", program],
            stdin=subprocess.DEVNULL,
            env=environ,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        self._socket = ours
        self._lock = threading.Lock()
        self.owner = os.getpid()

    def fork(self, connection: int, log: IO[bytes]) -> int:
        """Return the id of a new process that runs `child.run_child` on `connection` and prints into `log`."""
        return self._ask({"do": "fork"}, [connection, log.fileno()])

    def wait(self, pid: int) -> int:
        """Return the wait status of a forked process; call it once, when the process has ended or is about to end."""
        return self._ask({"do": "wait", "pid": pid}, [])

    def close(self) -> None:
        """End the process and those that it forked."""
        self._socket.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def alive(self) -> bool:
        """Return whether the process runs."""
        return self._process.poll() is None

    def _ask(self, message: dict[str, object], fds: list[int]) -> int:
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(message).encode()], fds)
            answer = self._socket.recv(_MESSAGE)
        if not answer:
            raise OSError("the conformance kit's process server has died")
        return int(answer)


def zygote() -> Zygote:
    """Return the one zygote of this process, started at the first call."""
    global _instance
    with _lock:
        if _instance is None or _instance.owner != os.getpid() or not _instance.alive:
            _instance = Zygote()
            atexit.register(_instance.close)
        return _instance


def serve(control: int) -> None:
    """Answer the caller's messages until it closes the socket; the program of the process itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    children: set[int] = set()
    with socket.socket(fileno=control) as caller:
        while True:
            text, fds, _, _ = socket.recv_fds(caller, _MESSAGE, 2)
            if not text:
                break
            message = json.loads(text)
            if message["do"] == "fork":
                answer = os.fork()
                if answer == 0:
                    caller.close()
                    run_child(*fds)
                children.add(answer)
            else:
                _, answer = os.waitpid(message["pid"], 0)
                children.discard(message["pid"])
            for fd in fds:
                os.close(fd)
            try:
                caller.send(str(answer).encode())
            except OSError:  # the caller ended while it waited for this answer
                break
    for child in children:
        with contextlib.suppress(OSError):
            os.killpg(child, signal.SIGKILL)
