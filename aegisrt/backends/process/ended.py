"""`how_it_ended`: how a process ended, as a text for messages."""

from __future__ import annotations

import signal


def how_it_ended(status: int) -> str:
    """Return `died of SIGSEGV` or `ended with exit code 1`; `status` is as of `Popen.returncode`."""
    if status >= 0:
        return f"ended with exit code {status}"
    try:
        return f"died of {signal.Signals(-status).name}"
    except ValueError:  # most real-time signals have no name
        return f"died of signal {-status}"
