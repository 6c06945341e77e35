"""`TimingCache`: the builder's measurements, kept in a file between builds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aegisrt.backends.process.child import report_progress
from aegisrt.backends.tensorrt.distribution import TensorRT
from aegisrt.core.fresh_file import fresh_file
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.system_error import system_error

_ANOTHER = "name another file in `build.timing_cache`"


class TimingCache:
    """A timing cache of one build; it does nothing without a path, or on TensorRT for RTX, which has none."""

    def __init__(self, trt: TensorRT, config: Any, path: str | None) -> None:
        """Set the cache of `config` from the file.

        ALREADY_EXISTS: if the file is a link or something else than a timing cache. It would be overwritten.
        Errors as of `system_error`: if the file cannot be read, or its folder not be created.
        """
        self._config = config
        self._path = None if path is None or trt.is_rtx else Path(path)
        if self._path is not None:
            cache = config.create_timing_cache(_content(self._path))
            if not cache:
                raise _not_ours(f"{self._path} is not a timing cache of {trt.display_name}")
            if not config.set_timing_cache(cache, False):
                report_progress(f"{self._path} is of another GPU or another TensorRT: it is neither used nor replaced")
                self._path = None

    def write(self) -> None:
        """Replace the file in one step, since other builds may read it. The engine does not depend on it.

        A link is replaced, and not followed.
        """
        if self._path is None:
            return
        try:
            with fresh_file(self._path) as fresh:
                fresh.write_bytes(self._config.get_timing_cache().serialize())
        except OSError as error:
            report_progress(f"the timing cache was not written: {error}")


def _content(path: Path) -> bytes:
    try:
        if path.is_symlink():
            raise _not_ours(f"the timing cache {path} is a link, and AegisRT follows none to write")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.read_bytes() if path.is_file() else b""
    except OSError as error:
        raise system_error(error, f"the timing cache {path} cannot be used", _ANOTHER) from None


def _not_ours(message: str) -> ResultError:
    return fail(ErrorCode.ALREADY_EXISTS, message, f"delete it, or {_ANOTHER}")
