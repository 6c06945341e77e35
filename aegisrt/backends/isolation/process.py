"""`IsolatedProcess`: the parent's end of one isolated instance."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack, closing
from multiprocessing.connection import Connection
from pathlib import Path
from socket import SHUT_RDWR, socket, socketpair
from typing import Any

from aegisrt.backends.isolation.arena import Arena
from aegisrt.backends.isolation.child import GRACE_S, LOAD, CallMessage, Job, ReadyMessage
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.tensor import Array

_CHILD = "from aegisrt.backends.isolation.child import main as isolated_child; isolated_child()"
"""The name `isolated_child` is for the output of `ps`. Not `-m`: the classes of the child's messages would be those of
`__main__`, and could not be unpickled here."""
_RESET_IS_UNREAD = sys.platform == "linux"
"""Whether ECONNRESET means that the other end of a socket pair was closed with our message unread: on Linux,
`unix_release_sock` in net/unix/af_unix.c sets it then, and nothing else does."""


def _current_folder() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # it was deleted
        return os.sep


_STARTED_IN = _current_folder()
"""The current folder when this module was imported."""


class ProcessDiedError(Exception):
    """The process ended; `may_have_begun` is False if it cannot have read the request."""

    def __init__(self, may_have_begun: bool) -> None:
        super().__init__()
        self.may_have_begun = may_have_begun


class ProcessHungError(Exception):
    """The process did not answer a request in time."""


class IsolatedProcess:
    """A process that loads one model. Used by one thread at a time."""

    def __init__(self, job: Job) -> None:
        """Start the process without waiting for it; `ready` reads its first message."""
        with ExitStack() as undo:
            ours, theirs = map(undo.enter_context, socketpair())
            self._inputs, self._outputs = (undo.enter_context(closing(Arena())) for _ in range(2))
            self._process = _popen((theirs.fileno(), self._inputs.descriptor, self._outputs.descriptor))
            theirs.close()
            undo.pop_all()
        self._connection: Connection[Any, Any] = Connection(ours.detach())
        self._ready: ReadyMessage | None = None
        self._unsent: list[object] = [job, LOAD]
        self.was_spare = False
        """Whether it was started by `prepare`, as a spare process."""
        self.owes_answer = False
        """Whether it was sent a request whose answer was not read: the next request would get that answer."""

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def prepare(self) -> None:
        """Make this a spare process: it imports its engine, and loads the model in `ready`."""
        self.was_spare = True
        try:
            self._connection.send(self._unsent.pop(0))
        except OSError:
            return  # it has died already; `ready` reports that

    def ready(self) -> ReadyMessage:
        """Wait until the model is loaded, and return its signature and metadata.

        UNAVAILABLE: if the process dies before; or the error that it answers.
        """
        if self._ready is None:
            try:
                while self._unsent:
                    self._connection.send(self._unsent.pop(0))
                result = self._connection.recv()
            except (EOFError, OSError):
                message = f"the process of the model {self.end()} while it loaded"
                raise fail(ErrorCode.UNAVAILABLE, message, "its output went to stderr") from None
            except BaseException:
                self.end()
                raise
            if result.is_err():
                self.end()
            self._ready = _value(result)
        return self._ready

    def call(self, inputs: dict[str, Array], outputs: tuple[str, ...], limit_s: float | None) -> dict[str, Array]:
        """Return the outputs of one call, copied out of the shared memory.

        Raise ProcessDiedError, ProcessHungError after `limit_s` seconds, or the engine's own error.
        """
        call = CallMessage(self._inputs.write(inputs), outputs)
        self.owes_answer = True
        try:
            self._connection.send(call)
        except (BrokenPipeError, ConnectionResetError):
            raise ProcessDiedError(may_have_begun=False) from None
        try:
            if not self._connection.poll(limit_s):
                raise ProcessHungError
            result = self._connection.recv()
        except EOFError:
            raise ProcessDiedError(may_have_begun=True) from None
        except ConnectionResetError:
            raise ProcessDiedError(may_have_begun=not _RESET_IS_UNREAD) from None
        self.owes_answer = False
        return self._outputs.read(_value(result), copy=True)

    def is_alive(self) -> bool:
        """Return whether the process runs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Kill the process; `end` returns how it ended."""
        self._process.kill()

    def end(self) -> str:
        """End the process if it still runs, and return a text for how it ended; may be called again."""
        _hang_up(self._connection)
        try:
            status = self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        for arena in (self._inputs, self._outputs):
            arena.close()
        return f"died of {signal.Signals(-status).name}" if status < 0 else f"ended with exit code {status}"


def _popen(descriptors: tuple[int, ...]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  (our own interpreter and module)
        [sys.executable, "-P", "-c", _CHILD, *map(str, descriptors)],
        stdin=subprocess.DEVNULL,
        stdout=2,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(_search_path())},
        pass_fds=descriptors,
        start_new_session=True,
    )


def _search_path() -> list[str]:
    """Return this process's `sys.path` for the child, with absolute folders.

    A relative entry, such as `''` at a prompt and with `python -c`, means the current folder. That may have changed
    since the backend's module was found there, so both folders count. PYTHONPATH cannot hold `''`.
    """
    folders = dict.fromkeys((_STARTED_IN, _current_folder()))
    return list(dict.fromkeys(os.path.normpath(os.path.join(folder, path)) for path in sys.path for folder in folders))  # noqa: PTH118


def _hang_up(connection: Connection[Any, Any]) -> None:
    """Close a connection, for the other end too even if a process that was forked meanwhile has a copy of our end."""
    if connection.closed:
        return
    ours = socket(fileno=connection.fileno())
    try:
        ours.shutdown(SHUT_RDWR)
    except OSError:
        pass  # the other end is closed
    finally:
        ours.detach()
        connection.close()


def _value(result: Any) -> Any:
    if result.is_err():
        raise ResultError(result.unwrap_err())
    return result.unwrap()
