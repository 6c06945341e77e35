"""The process server of the kit ends with its caller, without output."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path


def test_a_caller_that_goes_away_while_it_waits_for_an_answer_is_no_traceback(tmp_path: Path):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    program = f"from aegisrt.conformance.processes.zygote import serve; serve({theirs.fileno()})"
    with (tmp_path / "log").open("wb") as log:
        served, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with served, far:
            socket.send_fds(ours, [json.dumps({"do": "fork"}).encode()], [served.fileno(), log.fileno()])
    server = subprocess.Popen([sys.executable, "-c", program], pass_fds=[theirs.fileno()], stderr=subprocess.PIPE)
    theirs.close()
    ours.close()
    _, said = server.communicate(timeout=60)
    assert said == b""
