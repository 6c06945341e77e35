"""What the children of test_job.py do."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from aegisrt.backends.process.child import child_main, report_progress
from aegisrt.core.result import ErrorCode, fail


def work(job: dict[str, Any]) -> dict[str, Any]:
    match job["what"]:
        case "echo":
            report_progress("half way")
            print("a word for the log")
            return {"value": job["value"]}
        case "fail":
            raise fail(ErrorCode.UNIMPLEMENTED, "no such operator", "use another")
        case "raise":
            raise ZeroDivisionError("by nothing")
        case "fill":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        case "litter":
            Path(tempfile.mkdtemp(), "part").touch()
            os.kill(os.getpid(), signal.SIGSEGV)
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            Path(job["folder"], "pid").write_text(str(other.pid))
            time.sleep(60)
        case "eat":
            return {"size": len(bytearray(2**31))}
    return {}


if __name__ == "__main__":
    child_main(work)
