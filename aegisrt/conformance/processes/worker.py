"""`JudgeProcess`: a process that judges one backend, so that a crash or a hang of its engine costs one check."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re
import signal
import sys
import tempfile
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from socket import socketpair
from typing import NoReturn

from aegisrt.conformance.check import Check, all_checks
from aegisrt.conformance.options import ConformanceOptions
from aegisrt.conformance.processes.judge import Judge, Outcome
from aegisrt.conformance.processes.probe import PROBE
from aegisrt.conformance.processes.zygote import zygote
from aegisrt.conformance.report import Status
from aegisrt.conformance.target import Target

_GRACE_S = 5.0
_LAST_WORDS = 400
_TIMEOUT = "Timeout ("
"""What faulthandler prints first when the time is up."""
_FRAME = re.compile(r'File "(.+)", line (\d+) in (\S+)')


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a new process must take over before it can unpickle a target."""

    path: tuple[str, ...]
    environ: dict[str, str]
    folder: str

    @staticmethod
    def here() -> Surroundings:
        """Return those of this process."""
        return Surroundings(tuple(sys.path), dict(os.environ), str(Path.cwd()))

    def take_over(self) -> None:
        """Make this process like the one that they are from."""
        sys.path[:] = self.path
        os.environ.clear()
        os.environ.update(self.environ)
        os.chdir(self.folder)


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
        self._connection.send(Surroundings.here())
        self._connection.send((target, settings, folder))

    def run(self, check: Check) -> Outcome:
        """Return what the check comes to in the process; if that dies or hangs, the outcome says so and it is gone."""
        limit_s = self._settings.time_limit_s
        mark = os.fstat(self._log.fileno()).st_size
        try:
            self._connection.send(check.id)
            while self._connection.poll(limit_s + _GRACE_S):
                message = self._connection.recv()
                if isinstance(message, Outcome):
                    return message
                limit_s += self._settings.build_limit_s
            hung = True
        except (EOFError, OSError):
            hung = False
        status, said = self._end(), self._said(mark)
        hung = hung or (os.WIFEXITED(status) and _TIMEOUT in said)
        return Outcome(Status.FAILED, _epitaph(status, self._settings.time_limit_s if hung else None, said))

    def close(self) -> None:
        """End the process and forget what it printed."""
        if self.alive:
            self._end()
        self._log.close()

    def _end(self) -> int:
        self.alive = False
        self._connection.close()
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                kill(self._pid, signal.SIGKILL)
        return self._zygote.wait(self._pid)

    def _said(self, mark: int) -> str:
        self._log.seek(mark)
        return self._log.read().decode("utf-8", "replace")


def run_child(connection: int, log: int) -> NoReturn:
    """Serve a `JudgeProcess` until it hangs up; the forked process's whole life."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for stream in (1, 2):
        os.dup2(log, stream)
    faulthandler.enable(2)
    code = 0
    try:
        _serve(Connection(connection))
    except (EOFError, ConnectionError):
        pass
    except BaseException:  # noqa: BLE001  (its caller reads it in the log)
        traceback.print_exc()
        code = 70
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _serve(caller: Connection) -> None:
    caller.recv().take_over()
    target, settings, folder = caller.recv()

    def limit(seconds: float) -> None:
        faulthandler.dump_traceback_later(seconds, exit=True)

    def announce(text: str) -> None:
        limit(settings.build_limit_s + settings.time_limit_s)
        caller.send(text)

    judge, checks = Judge(target, settings, folder, announce), {PROBE.id: PROBE, **all_checks()}
    while True:
        check = checks[caller.recv()]
        limit(settings.time_limit_s)
        outcome = judge.judge(check)
        faulthandler.cancel_dump_traceback_later()
        caller.send(outcome)


def _epitaph(status: int, limit_s: float | None, said: str) -> str:
    """Return how a process ended, with its last words."""
    if limit_s is not None:
        cause = f"did not come back within {limit_s:g} s"
    elif os.WIFSIGNALED(status):
        cause = f"the process died of {signal.Signals(os.WTERMSIG(status)).name}"
    else:
        cause = f"the process ended itself with exit code {os.waitstatus_to_exitcode(status)}"
    return ": ".join(part for part in (cause, _last_words(said)) if part)


def _last_words(said: str) -> str:
    """Return where in the backend it ended and the last line that was printed before, as far as known."""
    printed, _, dump = said.partition("Fatal Python error")
    if not dump:
        printed, _, dump = said.partition(_TIMEOUT)
    frames = [(Path(file), line, name) for file, line, name in _FRAME.findall(dump)]
    library = Path(os.__file__).parent
    frame = next((frame for frame in frames if library not in frame[0].parents[:3]), None)
    where = f"in `{frame[2]}` at {frame[0].name}:{frame[1]}" if frame else ""
    words = printed.strip().splitlines()[-1:] if printed.strip() else []
    return "; ".join(part for part in (where, *words) if part)[-_LAST_WORDS:]
