"""The four distributions of TensorRT: which are installed, and the imported one as `TensorRT`.

`tensorrt` builds and runs; `tensorrt_lean` and `tensorrt_dispatch` run version-compatible engines; `tensorrt_rtx`
builds and runs for RTX GPUs, with a file format of its own. All have one API
(https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html#version-compatibility).
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from aegisrt.backends.tensorrt.log import EngineLog, new_logger
from aegisrt.backends.tensorrt.options import Distribution
from aegisrt.core.result import ErrorCode, fail

ALL: tuple[Distribution, ...] = get_args(Distribution)
BUILDERS: tuple[Distribution, ...] = ("tensorrt", "tensorrt_rtx")
OLDEST = (8, 6)
"""The oldest TensorRT that has what is called here (`execute_async_v3` on named tensors and progress aside)."""
INSTALL = {
    "tensorrt": "pip install 'aegisrt[tensorrt]'",
    "tensorrt_rtx": "pip install 'aegisrt[tensorrt-rtx]'",
    "tensorrt_lean": "pip install tensorrt_lean_cu13",
    "tensorrt_dispatch": "pip install tensorrt_dispatch_cu13",
}
_NEEDED_BY_8 = re.compile(r"libcu(blas|dnn)\w*\.so")
"""`libnvinfer_plugin.so.8` is linked with them, used or not, and its wheel asks for any cuDNN: pip takes 9."""


@dataclass(frozen=True, slots=True, eq=False)
class TensorRT:
    """An imported distribution, with the one logger that it may have in a process."""

    module: Any
    distribution: Distribution
    version: tuple[int, ...]
    log: EngineLog = field(repr=False)
    logger: Any = field(repr=False)
    lifecycle: threading.Lock = field(default_factory=threading.Lock, repr=False)
    """Held while runtimes, engines and execution contexts are made and destroyed. Some of these calls keep the GIL
    (all but loading, in TensorRT 8), and the logger needs it: a thread that logs under a lock of TensorRT's own and one
    that waits for that lock with the GIL would wait for ever."""

    @property
    def words(self) -> str:
        """What to call it in a message: `TensorRT 10.16.1.11`."""
        return version_words(self.distribution, self.version)

    @property
    def is_rtx(self) -> bool:
        """Whether its files are those of TensorRT for RTX."""
        return self.distribution == "tensorrt_rtx"

    @property
    def raises_safely(self) -> bool:
        """Whether the bindings may raise from calls that give up the GIL; before 10.13 they crash the process.

        Compare `infer_shapes` and `set_optimization_profile_async` in python/src/infer/pyCore.cpp of
        https://github.com/NVIDIA/TensorRT, release/10.12 and release/10.13; those of TensorRT for RTX are not public.
        """
        return not self.is_rtx and self.version >= (10, 13)

    def make(self, kind: str) -> Any:
        """Return a new `Runtime` or `Builder`, or None where TensorRT does not make it; its log says why."""
        try:
            return getattr(self.module, kind)(self.logger) or None
        except TypeError:  # pybind11: the factory returned nullptr
            return None

    def has(self, group: str, name: str) -> bool:
        """Return whether an enumeration of this version has a member; both change with the version."""
        return hasattr(getattr(self.module, group, None), name)


def version_words(distribution: str, version: Sequence[int]) -> str:
    """Return a distribution and a version as people name them."""
    names = {"tensorrt": "", "tensorrt_rtx": " for RTX", "tensorrt_lean": " lean", "tensorrt_dispatch": " dispatch"}
    return f"TensorRT{names[distribution]} {'.'.join(map(str, version))}"


def installed() -> dict[Distribution, str | None]:
    """Return the versions of the installed distributions, by name; imports nothing."""
    return {name: _version(name) for name in ALL if _module(name) is not None}


def installed_version() -> tuple[int, ...] | None:
    """Return the version of the installed TensorRT, its lean or its dispatch runtime; None where there is none of them.

    Imports nothing.
    """
    for name in ALL:
        if name != "tensorrt_rtx" and _module(name) is not None:
            return _numbers(_version(name) or "") or None
    return None


def load_tensorrt(wanted: Sequence[Distribution]) -> TensorRT:
    """Return the first of `wanted` that is installed, imported.

    UNAVAILABLE, with the install command, where none is installed, or with the loader's words where one does not
    import; FAILED_PRECONDITION for a version older than 8.6.
    """
    name = next((item for item in wanted if _module(item) is not None), None)
    if name is None:
        here = [item for item in ALL if _module(item) is not None]
        told = " or ".join(f"`{item}`" for item in wanted)
        also = f"; installed is {', '.join(f'`{item}`' for item in here)}" if here else ""
        message = f"Python module {told} is not installed{also}"
        raise fail(ErrorCode.UNAVAILABLE, message, f"run: {INSTALL[wanted[0]]}")
    with _lock:
        if name not in _loaded:
            _loaded[name] = _load(name)
        return _loaded[name]


def _load(name: Distribution) -> TensorRT:
    spelled = _module(name) or name
    try:
        module = importlib.import_module(spelled)
    except (ImportError, OSError, RuntimeError) as error:
        message = f"Python module `{spelled}` is installed but does not import: {error}"
        hint = f"install its libraries; see `aegisrt doctor`, or run: {INSTALL[name]}"
        if _NEEDED_BY_8.search(str(error)):
            hint = "TensorRT 8 needs cuBLAS 12 and cuDNN 8: pip install nvidia-cublas-cu12 'nvidia-cudnn-cu12<9'"
        raise fail(ErrorCode.UNAVAILABLE, message, hint, cause=repr(error)) from error
    version = _numbers(_own_version(module, spelled) or _version(name) or "")
    if not version:
        message = f"Python module `{spelled}` does not tell its version"
        raise fail(ErrorCode.FAILED_PRECONDITION, message, f"install it anew: {INSTALL[name]}")
    if name != "tensorrt_rtx" and version < OLDEST:
        message = f"{version_words(name, version)} is too old: AegisRT needs 8.6 or later"
        raise fail(ErrorCode.FAILED_PRECONDITION, message, f"run: {INSTALL[name]}")
    log = EngineLog()
    logger = new_logger(module, log)
    if hasattr(module, "init_libnvinfer_plugins"):  # the lean and the dispatch runtime have none
        module.init_libnvinfer_plugins(logger, "")
    return TensorRT(module, name, version, log, logger)


def _module(name: Distribution) -> str | None:
    """Return the module to import: the distribution's own, or its bindings where only those wheels are installed."""
    for spelled in (name, f"{name}_bindings"):
        try:
            if importlib.util.find_spec(spelled) is not None:
                return spelled
        except (ImportError, ValueError):
            continue
    return None


def _version(name: Distribution) -> str | None:
    spelled = _module(name) or name
    for package in importlib.metadata.packages_distributions().get(spelled, ()):
        return importlib.metadata.version(package)
    return _written_version(spelled)


def _written_version(spelled: str) -> str | None:
    """Return the version that stands in a package's source: one that was unpacked is no installed distribution."""
    spec = importlib.util.find_spec(spelled)
    source = Path(spec.origin) if spec is not None and spec.origin else None
    if source is None or source.suffix != ".py":
        return None
    found = re.search(r"""^__version__ = ["'](.+?)["']""", source.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else None


def _own_version(module: Any, spelled: str) -> str | None:
    """Return what an imported module says; TensorRT 8.6.1's `tensorrt` leaves it to its `tensorrt_bindings`."""
    bindings = sys.modules.get(f"{spelled}_bindings")
    return getattr(module, "__version__", None) or getattr(bindings, "__version__", None)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:4] if part.isdecimal())


_loaded: dict[Distribution, TensorRT] = {}
_lock = threading.Lock()
