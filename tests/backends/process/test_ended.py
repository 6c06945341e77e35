"""One wording for how a process ended."""

from __future__ import annotations

import signal

import pytest

from aegisrt.backends.process.ended import how_it_ended


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "ended with exit code 0"),
        (3, "ended with exit code 3"),
        (-signal.SIGSEGV, "died of SIGSEGV"),
        (-(signal.SIGRTMIN + 1), f"died of signal {signal.SIGRTMIN + 1}"),
    ],
)
def test_how_a_process_ended(status, text):
    assert how_it_ended(status) == text
