"""`MachineFacts`: the facts of one machine that the checks judge, as plain data; `examine` collects them."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from aegisrt.artifacts.location import cache_root, check_root
from aegisrt.backends.base.description import availability_of
from aegisrt.backends.onnxruntime import DISTRIBUTIONS, NO_TELEMETRY
from aegisrt.backends.registry import backend_class, entries
from aegisrt.core.optional import DISTRIBUTION, Requirement, require
from aegisrt.core.result import Error, Ok, ResultError
from aegisrt.devices.cuda.driver import cuda_driver, installed_driver
from aegisrt.devices.discover import DiscoveredDevice, discover
from aegisrt.doctor.libraries import missing_libraries

FOREIGN = "aegisrt"
"""The name of another project's distribution, which installs a package `aegisrt` too."""
PACKAGES = (
    DISTRIBUTION, FOREIGN, "numpy", "pydantic", "hydra-core", "omegaconf", "onnx", "ml_dtypes",
    "onnxruntime", "onnxruntime-gpu", "apache-tvm", "apache-tvm-ffi", "tensorrt", "tensorrt_rtx", "tensorrt_lean",
    "tensorrt_dispatch", "tensorrt_cu13_bindings", "tensorrt_cu13_libs", "tensorrt_cu12_bindings", "tensorrt_cu12_libs",
    "tensorrt_rtx_cu13_bindings", "tensorrt_rtx_cu13_libs", "tensorrt_rtx_cu12_bindings", "tensorrt_rtx_cu12_libs",
    "pycuda", "cuda-bindings",
)  # fmt: skip
_ORT = Requirement("onnxruntime", DISTRIBUTIONS, "onnx", no_telemetry=NO_TELEMETRY)
_PROVIDER_FILES = {
    "CUDAExecutionProvider": "libonnxruntime_providers_cuda.so",
    "TensorrtExecutionProvider": "libonnxruntime_providers_tensorrt.so",
}


@dataclass(frozen=True, slots=True)
class CacheFacts:
    """The folder of built engine files."""

    path: str
    writable: bool = True
    unsafe: tuple[str, str] | None = None
    """Why another user could replace what is in it, and the fix; None if it is this user's alone."""
    free_bytes: int = 2**40
    in_the_way: str | None = None
    """A file at the path of a needed folder."""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """One machine, seen from one Python environment."""

    packages: dict[str, str] = field(default_factory=dict)
    """Versions of the installed ones of `PACKAGES`."""
    broken: dict[str, str] = field(default_factory=dict)
    """The reason why an installed engine does not import, by backend kind."""
    repairs: dict[str, str] = field(default_factory=dict)
    """The command that makes such an engine import, by backend kind, if its backend names one."""
    driver: str | None = None
    """Version of the kernel module."""
    driver_cuda: str | None = None
    """The newest CUDA version that the driver supports."""
    driver_error: Error | None = None
    """The reason why the driver cannot be used."""
    gpus: tuple[DiscoveredDevice, ...] = ()
    refused_devices: tuple[str, ...] = ()
    """Files in /dev that this user may not open."""
    visible_devices: str | None = None
    """CUDA_VISIBLE_DEVICES."""
    pycuda_error: str | None = None
    """The reason why an installed pycuda does not import."""
    providers: tuple[str, ...] = ()
    """Execution providers of the installed ONNX Runtime."""
    provider_misses: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Libraries that a provider needs and the loader does not find, by provider."""
    tools: dict[str, str] = field(default_factory=dict)
    """Paths of compilers, by the names `c++` and `nvcc`."""
    cache: CacheFacts = CacheFacts("?")

    @property
    def has_gpu(self) -> bool:
        """Whether a GPU can be used."""
        return any(gpu.available for gpu in self.gpus)


def examine() -> MachineFacts:
    """Return the facts of this machine; imports the installed engines, to see whether that works."""
    error, cuda = _driver()
    gpus = tuple(found for found in discover() if found.kind == "cuda" and found.id != "cuda")
    providers = _providers()
    broken, repairs = _broken()
    return MachineFacts(
        packages=_packages(),
        broken=broken,
        repairs=repairs,
        driver=installed_driver(),
        driver_cuda=cuda,
        driver_error=error,
        gpus=gpus,
        refused_devices=_refused(),
        visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
        pycuda_error=_import_error("pycuda.driver", "pycuda"),
        providers=providers,
        provider_misses=_misses(providers),
        tools={name: path for name in ("c++", "nvcc") if (path := _tool(name))},
        cache=cache_facts(cache_root()),
    )


def cache_facts(path: Path) -> CacheFacts:
    """Return the facts of a cache's folder, or of the folder that it would be created in."""
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    if not existing.is_dir():
        return CacheFacts(str(path), writable=False, in_the_way=str(existing))
    unsafe = None
    if existing == path:
        try:
            check_root(path)
        except ResultError as refused:
            unsafe = (refused.error.message, refused.error.hint or "")
    writable = os.access(existing, os.W_OK | os.X_OK)
    return CacheFacts(str(path), writable, unsafe, shutil.disk_usage(existing).free)


def _packages() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _broken() -> tuple[dict[str, str], dict[str, str]]:
    """Return the reasons and the commands for engines that do not import, by backend kind."""
    known, broken, repairs = entries(), {}, {}
    for kind in known.value if isinstance(known, Ok) else ():
        found = backend_class(kind)
        if isinstance(found, Ok) and availability_of(found.value).available:
            state = availability_of(found.value, probe=True)
            if not state.available:
                broken[kind] = (state.reason or "the reason is not known").rpartition("does not import: ")[2]
                if state.install:
                    repairs[kind] = state.install
    return broken, repairs


def _driver() -> tuple[Error | None, str | None]:
    try:
        return None, cuda_driver().version()
    except ResultError as failure:
        return failure.error, None


def _refused() -> tuple[str, ...]:
    files = sorted(Path("/dev").glob("nvidia*"))
    return tuple(str(file) for file in files if file.is_char_device() and not os.access(file, os.R_OK | os.W_OK))


def _import_error(module: str, package: str) -> str | None:
    try:
        require(Requirement(module, (package,), "cuda"))
    except ResultError as failure:
        return failure.error.cause
    return None


def _providers() -> tuple[str, ...]:
    try:
        return tuple(require(_ORT).get_available_providers())
    except Exception:  # noqa: BLE001  (an incomplete package; `_broken` reports it)
        return ()


def _misses(providers: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    if not providers:
        return {}
    folder = Path(str(require(_ORT).__file__)).parent / "capi"
    files = {name: folder / file for name, file in _PROVIDER_FILES.items() if name in providers}
    return {name: missing_libraries(file) for name, file in files.items() if file.is_file()}


def _tool(name: str) -> str | None:
    named = os.environ.get("CXX") if name == "c++" else None
    candidates = [named, "g++", "clang++", "c++"] if name == "c++" else [name, f"/usr/local/cuda/bin/{name}"]
    return next((found for item in candidates if item and (found := shutil.which(item))), None)
