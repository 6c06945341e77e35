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
        case "environment":
            return {"names": sorted(os.environ), "temporary": os.environ["TMPDIR"]}
        case "answer":
            Path(sys.argv[2]).write_text(job["text"])
            os._exit(0)
        case "endless line":
            for _ in range(1 << 12):
                sys.stdout.write("x" * (1 << 16))
            return {}
        case "fail":
            raise fail(ErrorCode.UNIMPLEMENTED, "no such operator", "use another")
        case "raise":
            raise ZeroDivisionError("by nothing")
        case "fill":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        case "litter":
            Path(tempfile.mkdtemp(), "part").touch()
            os.kill(os.getpid(), signal.SIGSEGV)
        case "crash with a mark":
            print("compiling\n~~~^~~~\nit is too large\n  ^^^^^^^", flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            Path(job["folder"], "pid").write_text(str(other.pid))
            time.sleep(60)
        case "eat":
            return {"size": len(bytearray(2**31))}
        case "eat in C++":
            raise RuntimeError("InternalError: std::bad_alloc")
        case "eat below another error":
            try:
                bytearray(2**31)
            except MemoryError as error:
                raise ValueError("the model cannot be read") from error
        case "eat and hold on":
            held = [b"x" * 2**28 for _ in range(3)]
            try:
                held += [bytearray(2**28)]
            except MemoryError:
                held += [b"the answer is written although nothing is left"]
                raise
        case "crash on a refused allocation":
            _held = b"x" * (600 * 2**20)
            os.kill(os.getpid(), signal.SIGSEGV)
        case "raise with a mark":
            print("  ~~~~^~~~")
            raise ValueError("of two\nlines")
    return {}


if __name__ == "__main__":
    child_main(work)
