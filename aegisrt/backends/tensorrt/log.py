"""TensorRT's log: its calls return None or False on a failure, and write the reason there."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aegisrt.core.shown.log import Log

_log = Log("aegisrt.backends.tensorrt")
_ERRORS = ("INTERNAL_ERROR", "ERROR")
_LOGGED = (*_ERRORS, "WARNING", "INFO")
"""The severities that Python's log gets; `VERBOSE` is left out."""
_NOISE = re.compile(
    r"^\[checkMacros\.cpp|catchCudaError|Thread context has not been set|In getCurrentCC|^(\S+: )?--- (Begin|End) node"
)
_NO_CUDA = "CUDA initialization failure"
"""TensorRT 8.6 creates no builder then, and logs the reason as a warning."""
_OUT_OF_MEMORY = re.compile(
    r"out ?of ?memory|cudaErrorMemoryAllocation|\(cudaError 2:|initialization failure with error: 2\b|bad_alloc"
    r"|cannot allocate memory|failed to map segment|insufficient workspace",
    re.IGNORECASE,
)
_SKIPPED_TACTIC = re.compile(r"insufficient memory|memory is insufficient", re.IGNORECASE)
"""A warning for one kernel that needs more memory than the GPU has; the build fails if there is no other kernel."""
_NO_TACTIC = "Could not find any implementation"
_PLACE = re.compile(r"\s*\(?In \S+ at \S+:\d+\)?|^\S+: Error Code \d+: |^(\d+: )?\[\S+::\d+\] ?|Error Code \d+: ")


class TensorRTLog:
    """Collects logged errors for the blocks that ask for them. TensorRT logs from several threads, to one logger."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._collectors: list[list[str]] = []
        self._recent: deque[tuple[int, str]] = deque(maxlen=64)
        self.mark = 0
        """The number of errors logged so far, for `since`."""

    def add(self, level: str, text: str) -> None:
        """Pass an error to all open `errors` blocks, and every line to Python's logging, for DEBUG."""
        if level in _LOGGED:
            _log.debug("%s: %s", level, text)
        if _counts(level, text):
            with self._lock:
                self.mark += 1
                self._recent.append((self.mark, text))
                for lines in self._collectors:
                    lines.append(text)

    def since(self, mark: int) -> list[str]:
        """Return what `errors` would have collected since `mark`; for calls that are too quick for `errors`."""
        with self._lock:
            return [text for number, text in self._recent if number > mark]

    @contextmanager
    def errors(self) -> Iterator[list[str]]:
        """Collect the errors that are logged inside the block, those of concurrent calls included."""
        lines: list[str] = []
        with self._lock:
            self._collectors.append(lines)
        try:
            yield lines
        finally:
            with self._lock:
                self._collectors = [other for other in self._collectors if other is not lines]


def new_logger(package: Any, log: TensorRTLog) -> Any:
    """Return an `ILogger` that writes to `log`; it must outlive everything that is created with it."""

    class Logger(package.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            package.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            log.add(severity.name, text)

    return Logger()


def sentence(lines: list[str]) -> str:
    """Return the first logged error without its source files and numbers."""
    for line in lines:
        if _SKIPPED_TACTIC.search(line):
            continue
        plain = " ".join(_PLACE.sub("", line).split())
        if plain:
            return _balanced(plain).removesuffix(".")
    return "it logged no reason"


def is_out_of_memory(lines: list[str]) -> bool:
    """Return whether a logged error reports a failed allocation, or kernels that all need too much memory."""
    skipped = any(_SKIPPED_TACTIC.search(line) for line in lines)
    return any(_OUT_OF_MEMORY.search(line) or (skipped and _NO_TACTIC in line) for line in lines)


def is_driver_too_old(lines: list[str]) -> bool:
    """Return whether a logged error reports a driver that does not support the CUDA runtime."""
    return any(re.search(r"(cudaError|error:) (35|803|804)\b", line) for line in lines)


def is_recording(lines: list[str]) -> bool:
    """Return whether a logged error reports that the application is recording a CUDA graph."""
    return any("capturing" in line for line in lines)


def no_gpu(lines: list[str]) -> str | None:
    """Return the CUDA runtime's message if a logged error reports a missing GPU or driver."""
    for line in lines:
        match = re.search(rf"\(cudaError (35|38|100|101|803|804): ([^)]*)\)|({_NO_CUDA}[^.]*)", line)
        if match:
            return match[2] or match[3]
    return None


def _counts(level: str, text: str) -> bool:
    """Return whether a line is an error or a warning that explains one."""
    if level == "WARNING":
        return _NO_CUDA in text or _SKIPPED_TACTIC.search(text) is not None
    return level in _ERRORS and (_NOISE.search(text) is None or is_out_of_memory([text]))


def _balanced(text: str) -> str:
    """Return the text with the closing bracket that `_PLACE` cut off."""
    return f"{text.rstrip()})" if text.count("(") > text.count(")") else text
