"""What a log of compute-sanitizer's memcheck says: the findings, and whose call made each.

The format is that of https://docs.nvidia.com/compute-sanitizer/ComputeSanitizer/index.html#understanding-memcheck-errors.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MARK = re.compile(r"^=========\s?(?P<text>.*)$")
_FRAME = re.compile(r"Host Frame:.*\bin (?P<library>\S+)$")
_NO_FINDING = ("COMPUTE-SANITIZER", "ERROR SUMMARY", "LEAK SUMMARY", "Error:", "Warning:", "Target application")
_DRIVER = ("libcuda.so", "libcudart", "libsanitizer", "libInjection", "libTreeLauncher")
_OURS = ("libffi", "_ctypes", "_driver.")
"""Through what our own calls reach the driver: ctypes and pycuda."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One error: its first line, and the library that made the call."""

    text: str
    caller: str

    @property
    def is_memory(self) -> bool:
        """Whether a kernel reached memory that it must not reach, which may be memory that we bound."""
        return not self.text.startswith("Program hit ")

    @property
    def is_ours(self) -> bool:
        """Whether it was a call of ours, or a kernel's use of memory that we may have given it."""
        return self.is_memory or any(part in self.caller for part in _OURS)


def findings(log: str) -> list[Finding]:
    """Return the errors in a log, in its order."""
    found: list[Finding] = []
    for block in _blocks(log):
        libraries = [match["library"] for line in block[1:] if (match := _FRAME.search(line))]
        caller = next((name for name in libraries if not any(part in name for part in _DRIVER)), "")
        found.append(Finding(block[0], caller))
    return found


def finished(log: str) -> bool:
    """Return whether the program was watched to its end."""
    return "ERROR SUMMARY" in log


def _blocks(log: str) -> list[list[str]]:
    """Return each error's lines: the first has one space after the mark, the others more."""
    blocks: list[list[str]] = []
    for line in log.splitlines():
        marked = _MARK.match(line)
        if marked is None or not marked["text"].strip():
            continue
        text = marked["text"]
        if text[0] in " \t":
            if blocks:
                blocks[-1].append(text.strip())
        elif not text.startswith(_NO_FINDING):
            blocks.append([text.strip()])
    return blocks
