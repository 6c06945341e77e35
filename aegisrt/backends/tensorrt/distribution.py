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

from aegisrt.backends.tensorrt.log import TensorRTLog, new_logger
from aegisrt.backends.tensorrt.options import Distribution
from aegisrt.core.optional import release
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.system_error import is_exhausted, system_error

ALL: tuple[Distribution, ...] = get_args(Distribution)
BUILDERS: tuple[Distribution, ...] = ("tensorrt", "tensorrt_rtx")
OLDEST = (8, 6)
"""The oldest version with the calls that AegisRT makes; 8.6 has no progress monitor in Python."""
INSTALL = {
    "tensorrt": "pip install 'aegisrt-runtime[tensorrt]'",
    "tensorrt_rtx": "pip install 'aegisrt-runtime[tensorrt-rtx]'",
    "tensorrt_lean": "pip install tensorrt_lean_cu13",
    "tensorrt_dispatch": "pip install tensorrt_dispatch_cu13",
}
_INSTALL_FOR_8 = "pip install nvidia-cublas-cu12 'nvidia-cudnn-cu12<9'"
_NEEDED_BY_8 = re.compile(r"libcu(blas|dnn)\w*\.so")
"""`libnvinfer_plugin.so.8` is linked with them, used or not, and its wheel accepts any cuDNN: pip installs 9."""


@dataclass(frozen=True, slots=True, eq=False)
class TensorRT:
    """An imported distribution, with the one logger that it may have in a process."""

    package: Any
    """The Python module."""
    distribution: Distribution
    version: tuple[int, ...]
    log: TensorRTLog = field(repr=False)
    logger: Any = field(repr=False)
    lifecycle: threading.Lock = field(default_factory=threading.Lock, repr=False)
    """Held while runtimes, engines and execution contexts are created and destroyed. Some of these calls keep the GIL
    (all but loading, in TensorRT 8), and the logger needs it: a thread that logs under one of TensorRT's own locks and
    a thread that waits for that lock with the GIL would deadlock."""

    @property
    def display_name(self) -> str:
        """The name for messages: `TensorRT 10.16.1.11`."""
        return display_name(self.distribution, self.version)

    @property
    def is_rtx(self) -> bool:
        """Whether its files are those of TensorRT for RTX."""
        return self.distribution == "tensorrt_rtx"

    @property
    def raises_safely(self) -> bool:
        """Whether the bindings may raise from calls that release the GIL; before 10.13 they crash the process.

        Compare `infer_shapes` and `set_optimization_profile_async` in python/src/infer/pyCore.cpp of
        https://github.com/NVIDIA/TensorRT, release/10.12 and release/10.13; those of TensorRT for RTX are not public.
        """
        return not self.is_rtx and self.version >= (10, 13)

    def create(self, class_name: str) -> Any:
        """Return a new `Runtime` or `Builder`, or None if TensorRT creates none; its log contains the reason."""
        try:
            return getattr(self.package, class_name)(self.logger) or None
        except TypeError:  # pybind11: the factory returned nullptr
            return None

    def has(self, group: str, name: str) -> bool:
        """Return whether an enumeration of this version has a member; both change with the version."""
        return hasattr(getattr(self.package, group, None), name)


def display_name(distribution: str, version: Sequence[int]) -> str:
    """Return the common name of a distribution and a version: `TensorRT for RTX 1.7.1.116`."""
    names = {"tensorrt": "", "tensorrt_rtx": " for RTX", "tensorrt_lean": " lean", "tensorrt_dispatch": " dispatch"}
    return f"TensorRT{names[distribution]} {'.'.join(map(str, version))}"


def repair_command(name: Distribution, problem: str) -> str:
    """Return the command that makes an installed distribution import; `problem` is the loader's message."""
    if _NEEDED_BY_8.search(problem):
        return _INSTALL_FOR_8
    return reinstall_command(name)


def reinstall_command(name: Distribution) -> str:
    """Return the command that installs a distribution again."""
    return INSTALL[name].replace("pip install", "pip install --force-reinstall --no-cache-dir")


def installed() -> dict[Distribution, str | None]:
    """Return the versions of the installed distributions, by name, without importing any."""
    return {name: _version(name) for name in ALL if _module_name(name) is not None}


def installed_version() -> tuple[int, ...] | None:
    """Return the version of the installed TensorRT, its lean or its dispatch runtime, without importing it.

    None if none of them is installed.
    """
    for name in ALL:
        if name != "tensorrt_rtx" and _module_name(name) is not None:
            return release(_version(name) or "") or None
    return None


def load_tensorrt(wanted: Sequence[Distribution]) -> TensorRT:
    """Import the first of `wanted` that is installed.

    UNAVAILABLE: if none is installed (with the install command), or if it does not import (with the loader's message).
    FAILED_PRECONDITION: if the version is older than 8.6.
    """
    name = next((item for item in wanted if _module_name(item) is not None), None)
    if name is None:
        present = [f"`{item}`" for item in ALL if _module_name(item) is not None]
        missing = " or ".join(f"`{item}`" for item in wanted)
        also = f"; installed is {', '.join(present)}" if present else ""
        message = f"Python module {missing} is not installed{also}"
        raise fail(ErrorCode.UNAVAILABLE, message, f"run: {INSTALL[wanted[0]]}")
    with _lock:
        if name not in _loaded:
            _loaded[name] = _load(name)
        return _loaded[name]


def _load(name: Distribution) -> TensorRT:
    module_name = _module_name(name) or name
    try:
        package = importlib.import_module(module_name)
    except (ImportError, OSError, RuntimeError) as error:
        if is_exhausted(error):
            raise system_error(error, f"Python module `{module_name}` cannot be imported") from error
        message = f"Python module `{module_name}` is installed but does not import: {error}"
        command = repair_command(name, str(error))
        hint = f"install its libraries; see `aegisrt doctor`, or run: {command}"
        if command == _INSTALL_FOR_8:
            hint = f"TensorRT 8 needs cuBLAS 12 and cuDNN 8: {command}"
        raise fail(ErrorCode.UNAVAILABLE, message, hint, cause=repr(error)) from error
    version = release(_own_version(package, module_name) or _version(name) or "")
    if not version:
        message = f"Python module `{module_name}` has no version"
        raise fail(ErrorCode.FAILED_PRECONDITION, message, f"install it again: {INSTALL[name]}")
    if name != "tensorrt_rtx" and version < OLDEST:
        message = f"{display_name(name, version)} is too old: AegisRT needs 8.6 or later"
        raise fail(ErrorCode.FAILED_PRECONDITION, message, f"run: {INSTALL[name]}")
    log = TensorRTLog()
    logger = new_logger(package, log)
    if hasattr(package, "init_libnvinfer_plugins"):  # the lean and the dispatch runtime have none
        package.init_libnvinfer_plugins(logger, "")
    return TensorRT(package, name, version, log, logger)


def _module_name(name: Distribution) -> str | None:
    """Return the module to import: the distribution's own, or its bindings if only those wheels are installed."""
    for candidate in (name, f"{name}_bindings"):
        try:
            if importlib.util.find_spec(candidate) is not None:
                return candidate
        except (ImportError, ValueError):
            continue
    return None


def _version(name: Distribution) -> str | None:
    module_name = _module_name(name) or name
    for package in importlib.metadata.packages_distributions().get(module_name, ()):
        return importlib.metadata.version(package)
    return _version_in_source(module_name)


def _version_in_source(module_name: str) -> str | None:
    """Return the version in a package's source: a package that was only unpacked has no metadata."""
    spec = importlib.util.find_spec(module_name)
    source = Path(spec.origin) if spec is not None and spec.origin else None
    if source is None or source.suffix != ".py":
        return None
    match = re.search(r"""^__version__ = ["'](.+?)["']""", source.read_text(encoding="utf-8"), re.MULTILINE)
    return match[1] if match else None


def _own_version(package: Any, module_name: str) -> str | None:
    """Return the version of an imported module; TensorRT 8.6.1 has it in `tensorrt_bindings` alone."""
    bindings = sys.modules.get(f"{module_name}_bindings")
    return getattr(package, "__version__", None) or getattr(bindings, "__version__", None)


_loaded: dict[Distribution, TensorRT] = {}
_lock = threading.Lock()
