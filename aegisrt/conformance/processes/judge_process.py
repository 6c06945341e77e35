"""`JudgeProcess`: a process that judges one backend, so that a crash or a hang of its engine costs one check."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from socket import socketpair

from aegisrt.backends.process.ended import how_it_ended
from aegisrt.conformance.check import Check
from aegisrt.conformance.options import ConformanceOptions
from aegisrt.conformance.processes.child import CallerEnvironment
from aegisrt.conformance.processes.judge import Outcome
from aegisrt.conformance.processes.zygote import zygote
from aegisrt.conformance.report import Status
from aegisrt.conformance.target import Target

_GRACE_S = 5.0
_LONGEST_END = 400
_TIMEOUT = "Timeout ("
"""What faulthandler prints first when the time is up."""
_FRAME = re.compile(r'File "(.+)", line (\d+) in (\S+)')


class JudgeProcess:
    """The caller's end of one process."""

    def __init__(self, target: Target, settings: ConformanceOptions, folder: Path) -> None:
        """Start a process that judges `target`; `folder` is the run's."""
        self._settings = settings
        self._zygote = zygote()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed in `close`)
        ours, theirs = socketpair()
        self._pid = self._zygote.fork(theirs.fileno(), self._log)
        theirs.close()
        self._connection = Connection(ours.detach())
        self.alive = True
        self._connection.send(CallerEnvironment.of_this_process())
        self._connection.send((target, settings, folder))

    def run(self, check: Check) -> Outcome:
        """Return the check's outcome in the process; FAILED, with the cause, if the process dies or hangs.

        After that the process is gone (`alive` is False).
        """
        limit_s = self._settings.time_limit_s
        mark = os.fstat(self._log.fileno()).st_size
        try:
            self._connection.send(check.id)
            while self._connection.poll(limit_s + _GRACE_S):
                message = self._connection.recv()
                if isinstance(message, Outcome):
                    return message
                limit_s += self._settings.build_limit_s  # the message announces a build
            hung = True
        except (EOFError, OSError):
            hung = False
        status, output = self._end(), self._output_since(mark)
        # The child's watchdog and the `poll` above race: whichever ends the process, it was a hang.
        hung = hung or (os.WIFEXITED(status) and _TIMEOUT in output)
        return Outcome(Status.FAILED, _cause(status, self._settings.time_limit_s if hung else None, output))

    def close(self) -> None:
        """End the process and drop its output."""
        if self.alive:
            self._end()
        self._log.close()

    def _end(self) -> int:
        self.alive = False
        self._connection.close()
        # The group first, which the process may not have made yet: then the process alone.
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                kill(self._pid, signal.SIGKILL)
        return self._zygote.wait(self._pid)

    def _output_since(self, mark: int) -> str:
        self._log.seek(mark)
        return self._log.read().decode("utf-8", "replace")


def _cause(status: int, limit_s: float | None, output: str) -> str:
    """Return how a process ended, where in the backend, and the last line of its output."""
    if limit_s is not None:
        cause = f"did not return within {limit_s:g} s"
    else:
        cause = f"the process {how_it_ended(os.waitstatus_to_exitcode(status))}"
    return ": ".join(part for part in (cause, _place_and_last_line(output)) if part)


def _place_and_last_line(output: str) -> str:
    """Return the innermost frame outside the standard library and the last line before the dump, if known."""
    printed, _, dump = output.partition("Fatal Python error")
    if not dump:
        printed, _, dump = output.partition(_TIMEOUT)
    frames = [(Path(file), line, name) for file, line, name in _FRAME.findall(dump)]
    library = Path(os.__file__).parent
    frame = next((frame for frame in frames if library not in frame[0].parents[:3]), None)
    where = f"in `{frame[2]}` at {frame[0].name}:{frame[1]}" if frame else ""
    last_line = printed.strip().splitlines()[-1:] if printed.strip() else []
    return "; ".join(part for part in (where, *last_line) if part)[-_LONGEST_END:]
