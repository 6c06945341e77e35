"""`run_child`: the judged process, which runs the checks that its `JudgeProcess` names."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

from aegisrt.conformance.catalogue import all_checks
from aegisrt.conformance.processes.judge import Judge
from aegisrt.conformance.processes.probe import PROBE


@dataclass(frozen=True, slots=True)
class CallerEnvironment:
    """The settings of the caller that a new process needs before it can unpickle a target."""

    path: tuple[str, ...]
    environ: dict[str, str]
    folder: str

    @staticmethod
    def of_this_process() -> CallerEnvironment:
        """Return the settings of this process."""
        return CallerEnvironment(tuple(sys.path), dict(os.environ), str(Path.cwd()))

    def apply(self) -> None:
        """Give this process the caller's import path, environment variables and current folder."""
        sys.path[:] = self.path
        os.environ.clear()
        os.environ.update(self.environ)
        os.chdir(self.folder)


def run_child(connection: int, log: int) -> NoReturn:
    """Serve a `JudgeProcess` until it closes the connection, then end; the forked process's whole life."""
    # A group of its own, so that whatever the engine starts can be killed with it.
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
    except BaseException:  # noqa: BLE001  (the caller reads it in the log)
        traceback.print_exc()
        code = 70
    sys.stdout.flush()
    sys.stderr.flush()
    # Not `sys.exit`: this is a fork of the zygote, whose frames and exit handlers must not run here.
    os._exit(code)


def _serve(caller: Connection) -> None:
    caller.recv().apply()
    target, settings, folder = caller.recv()

    def limit(seconds: float) -> None:
        # The watchdog is a C thread, so that it ends a process whose engine holds the GIL too.
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
