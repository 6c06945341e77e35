"""What TensorRT says of a failure: it answers None or False, and the reason goes to its logger."""

from __future__ import annotations

import logging
import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_log = logging.getLogger("aegisrt.backends.tensorrt")
_LEVELS = {
    "INTERNAL_ERROR": logging.ERROR,
    "ERROR": logging.ERROR,
    "WARNING": logging.DEBUG,
    "INFO": logging.DEBUG,
    "VERBOSE": logging.NOTSET,
}
_NOISE = re.compile(
    r"^\[checkMacros\.cpp|catchCudaError|Thread context has not been set|In getCurrentCC|^(\S+: )?--- (Begin|End) node"
)
_NO_CUDA = "CUDA initialization failure"
"""TensorRT 8.6 makes no builder then, and logs the reason as a warning."""
_PLACE = re.compile(r"\s*\(?In \S+ at \S+:\d+\)?|^\S+: Error Code \d+: |^(\d+: )?\[\S+::\d+\] ?|Error Code \d+: ")


class EngineLog:
    """Keeps the errors that are logged while one listens. TensorRT logs from several threads, and takes one logger."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listening: list[list[str]] = []
        self._recent: deque[tuple[int, str]] = deque(maxlen=64)
        self.mark = 0
        """How many errors were logged so far; `since` takes it."""

    def add(self, level: str, text: str) -> None:
        """Hand an error to all who listen, and everything to Python's logging."""
        if _LEVELS.get(level, logging.NOTSET):
            _log.log(logging.DEBUG, "%s: %s", level, text)
        counts = _LEVELS.get(level) == logging.ERROR or (level == "WARNING" and _NO_CUDA in text)
        if counts and not _NOISE.search(text):
            with self._lock:
                self.mark += 1
                self._recent.append((self.mark, text))
                for lines in self._listening:
                    lines.append(text)

    def since(self, mark: int) -> list[str]:
        """Return what `errors` would have collected from `mark` on: for calls where listening costs too much."""
        with self._lock:
            return [text for number, text in self._recent if number > mark]

    @contextmanager
    def errors(self) -> Iterator[list[str]]:
        """Collect the errors that are logged inside the block; those of calls beside it may be among them."""
        lines: list[str] = []
        with self._lock:
            self._listening.append(lines)
        try:
            yield lines
        finally:
            with self._lock:
                self._listening = [held for held in self._listening if held is not lines]


def new_logger(module: Any, log: EngineLog) -> Any:
    """Return an `ILogger` of the module that writes to `log`; it must live as long as anything made with it."""

    class Logger(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            log.add(severity.name, text)

    return Logger()


def sentence(lines: list[str]) -> str:
    """Return the first logged error without its source files and numbers, or a word that there was none."""
    for line in lines:
        plain = " ".join(_PLACE.sub("", line).split())
        if plain:
            return _balanced(plain).removesuffix(".")
    return "it does not say why"


def is_out_of_memory(lines: list[str]) -> bool:
    """Return whether the logged errors tell of memory that could not be had."""
    text = "\n".join(lines).lower()
    return "out of memory" in text or "outofmemory" in text or "cudaerrormemoryallocation" in text


def no_gpu(lines: list[str]) -> str | None:
    """Return the CUDA runtime's own words where the logged errors say that there is no GPU or no driver, else None."""
    for line in lines:
        found = re.search(rf"\(cudaError (35|38|100|101|803|804): ([^)]*)\)|({_NO_CUDA}[^.]*)", line)
        if found:
            return found[2] or found[3]
    return None


def _balanced(text: str) -> str:
    """Return the text with the bracket closed again that the place of the error ended with."""
    return f"{text.rstrip()})" if text.count("(") > text.count(")") else text
