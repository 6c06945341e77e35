"""`IsolatedProcess`: the parent's end of one isolated instance."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from socket import socketpair

from aegisrt.backends.isolation.answers import LONGEST_CALL, LONGEST_READY, ReadyMessage, parse_call, parse_ready
from aegisrt.backends.isolation.arena import Arena
from aegisrt.backends.isolation.channel import BadMessageError, Channel, LateError
from aegisrt.backends.isolation.child import GRACE_S, LOAD, CallMessage, Job
from aegisrt.backends.isolation.output import Output
from aegisrt.backends.process.child import has_no_memory
from aegisrt.backends.process.ended import how_it_ended
from aegisrt.backends.process.environment import environment_of_child
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.tensor import Array, TensorSpec

_CHILD = "from aegisrt.backends.isolation.child import main as isolated_child; isolated_child()"
"""The name `isolated_child` is for the output of `ps`. Not `-m`: the classes of the child's messages would be those of
`__main__`, and could not be unpickled here."""
_RESET_IS_UNREAD = sys.platform == "linux"
"""Whether ECONNRESET means that the other end of a socket pair was closed with our message unread: on Linux,
`unix_release_sock` in net/unix/af_unix.c sets it then, and nothing else does."""
_LAST_OUTPUT_S = 0.5
"""How long the end of a process waits for what it printed, which a process that it started may still keep open."""
_LEAST_TO_LOAD_S = 60.0
"""A process may take at least this long to load its model, also if `isolation_timeout_ms` is shorter."""


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


class IsolatedProcess:
    """A process that loads one model. Used by one thread at a time."""

    def __init__(self, job: Job) -> None:
        """Start the process without waiting for it; `ready` reads its first message."""
        with ExitStack() as undo:
            ours, theirs = map(undo.enter_context, socketpair())
            self._inputs = undo.enter_context(closing(Arena()))
            self._outputs = undo.enter_context(closing(Arena(fixed_bytes=job.options.isolation_output_bytes)))
            self._printed = undo.enter_context(closing(Output()))
            descriptors = theirs.fileno(), self._inputs.descriptor, self._outputs.descriptor
            self._process = _popen(job.options.environment, self._printed.writer, descriptors)
            undo.callback(self._process.kill)
            theirs.close()
            try:
                self._printed.start()
            except RuntimeError as error:
                raise OSError(errno.EAGAIN, str(error)) from None
            undo.pop_all()
        self._memory_bytes = job.options.isolation_memory_bytes
        limit_ms = job.options.isolation_timeout_ms
        self._limit_s = None if limit_ms is None else limit_ms / 1e3
        self._channel = Channel(ours)
        self._ready: ReadyMessage | None = None
        self._unsent: list[object] = [job, LOAD]
        self._files = 0 if job.deployed else len(job.files.present)
        """How many digests its first answer has."""
        self.was_spare = False
        """Whether it was started by `prepare`, as a spare process."""
        self.died_loading = False
        """Whether it ended before its model was loaded."""
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
            self._channel.send(pickle.dumps(self._unsent.pop(0)), _after(_LEAST_TO_LOAD_S))
        except OSError:
            return  # it has died already; `ready` reports that
        except LateError:
            self.kill()

    def ready(self) -> ReadyMessage:
        """Wait until the model is loaded, and return its signature and metadata.

        UNAVAILABLE: if the process dies before, does not load it in time, or answers nonsense.
        RESOURCE_EXHAUSTED: if it dies because it reached its limit on memory.
        Or the error that it answers.
        """
        if self._ready is None:
            limit_s = None if self._limit_s is None else max(self._limit_s, _LEAST_TO_LOAD_S)
            until = _after(limit_s)
            try:
                while self._unsent:
                    self._channel.send(pickle.dumps(self._unsent.pop(0)), until)
                self._ready = parse_ready(self._channel.receive(LONGEST_READY, until), self._files)
            except (EOFError, OSError):
                self.died_loading = True
                message = f"the process of the model {self.end()} while it loaded"
                raise self.death(message, "its output went to stderr") from None
            except LateError:
                self._kill_and_end()
                message = f"the process of the model was ended: it had not loaded it after {limit_s:g} s"
                raise fail(
                    ErrorCode.UNAVAILABLE, message, "raise `isolation_timeout_ms` if loading takes longer"
                ) from None
            except BadMessageError as bad:
                self._kill_and_end()
                message = f"the process of the model was ended: its first answer is not one of this protocol ({bad})"
                raise fail(ErrorCode.UNAVAILABLE, message, "find out what its engine loaded") from None
            except BaseException:
                self.end()
                raise
        return self._ready

    def call(self, inputs: dict[str, Array], outputs: Sequence[TensorSpec]) -> list[Array]:
        """Return the outputs of one call, copied out of the shared memory.

        Raise ProcessDiedError, LateError if `isolation_timeout_ms` pass, BadMessageError, or the engine's own error.
        """
        until = _after(self._limit_s)
        laid = self._inputs.write(inputs)
        call = CallMessage(dict(zip(inputs, laid, strict=True)), tuple(spec.name for spec in outputs))
        self.owes_answer = True
        try:
            self._channel.send(pickle.dumps(call), until)
        except (BrokenPipeError, ConnectionResetError):
            raise ProcessDiedError(may_have_begun=False) from None
        try:
            answer = self._channel.receive(LONGEST_CALL, until)
        except EOFError:
            raise ProcessDiedError(may_have_begun=True) from None
        except ConnectionResetError:
            raise ProcessDiedError(may_have_begun=not _RESET_IS_UNREAD) from None
        self.owes_answer = False
        found = parse_call(answer, outputs)
        try:
            return self._outputs.read(found, copy=True)
        except ValueError as error:
            raise BadMessageError(str(error)) from None

    def is_alive(self) -> bool:
        """Return whether the process runs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Kill the process; `end` returns how it ended."""
        self._process.kill()

    def end(self) -> str:
        """End the process if it still runs, and return a text for how it ended; may be called again."""
        self._channel.close()
        try:
            status = self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        for arena in (self._inputs, self._outputs):
            arena.close()
        self._printed.end(_LAST_OUTPUT_S)
        return how_it_ended(status)

    def death(self, message: str, hint: str) -> ResultError:
        """Return the error for the death of this process, which `end` ended: its limit on memory may be the reason."""
        if self._memory_bytes is None:
            return fail(ErrorCode.UNAVAILABLE, message, hint)
        tail = self._printed.end(_LAST_OUTPUT_S)
        limited = f"its limit on memory is {self._memory_bytes / 2**30:.3g} GiB"
        if has_no_memory(tail):
            more = "raise `isolation_memory_bytes`, or send smaller requests"
            return fail(ErrorCode.RESOURCE_EXHAUSTED, f"{message}: it ran out of memory, {limited}", more, cause=tail)
        return fail(ErrorCode.UNAVAILABLE, message, f"{hint}; {limited}: `isolation_memory_bytes`")

    def _kill_and_end(self) -> None:
        self.kill()
        self.end()


def _after(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + seconds


def _popen(named: Sequence[str], output: int, descriptors: tuple[int, ...]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  (our own interpreter and module)
        [sys.executable, "-P", "-c", _CHILD, *map(str, descriptors)],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=environment_of_child(named, _search_path()),
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
