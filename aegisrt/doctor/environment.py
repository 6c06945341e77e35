"""`MachineFacts`: the facts of one machine that the checks judge, as plain data; `examine` collects them."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from aegisrt.artifacts.location import cache_root, check_root
from aegisrt.backends.base.description import availability_of
from aegisrt.backends.base.installation import EngineInstallation, Installation
from aegisrt.backends.registry import backend_class
from aegisrt.core.optional import DISTRIBUTION, Requirement, installed, require, requirements
from aegisrt.core.result import Error, ResultError
from aegisrt.devices.cuda.context import PYCUDA
from aegisrt.devices.cuda.driver import cuda_driver, installed_driver
from aegisrt.devices.discover import discover
from aegisrt.doctor.engines import known_engines

FOREIGN = "aegisrt"
"""The name of another project's distribution, which installs a package `aegisrt` too."""
_OWN_PACKAGES = (DISTRIBUTION, FOREIGN, "onnx", "ml_dtypes", "pycuda")
_Installations: TypeAlias = Mapping[str, EngineInstallation]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts(Installation):
    """One machine, seen from one Python environment."""

    engines: _Installations = field(default_factory=dict)
    """The engines of the known backends, by kind."""
    refused: Mapping[str, Error] = field(default_factory=dict)
    """The backend kinds that cannot be used, whatever is installed."""
    driver: str | None = None
    """Version of the kernel module."""
    driver_error: Error | None = None
    """The reason why the driver cannot be used."""
    refused_devices: tuple[str, ...] = ()
    """Files in /dev that this user may not open."""
    visible_devices: str | None = None
    """CUDA_VISIBLE_DEVICES."""
    pycuda_error: str | None = None
    """The reason why an installed pycuda does not import."""
    cache: CacheFacts = CacheFacts("?")


def examine() -> MachineFacts:
    """Return the facts of this machine; imports the installed engines, to see whether that works."""
    error, cuda = _driver()
    engines, refused = known_engines()
    broken, repairs = _broken(engines)
    return MachineFacts(
        packages=_packages(engines),
        broken=broken,
        repairs=repairs,
        engines=engines,
        refused=refused,
        facts=_facts(engines),
        driver=installed_driver(),
        driver_cuda=cuda,
        driver_error=error,
        gpus=tuple(found for found in discover() if found.kind == "cuda" and found.id != "cuda"),
        refused_devices=_refused(),
        visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
        pycuda_error=_import_error(PYCUDA),
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


def _packages(engines: _Installations) -> dict[str, str]:
    named = [name for engine in engines.values() for name in engine.all_packages]
    return dict(installed(dict.fromkeys((*_OWN_PACKAGES, *requirements(), *named))))


def _facts(engines: _Installations) -> dict[str, Any]:
    found = {}
    for kind, engine in engines.items():
        with contextlib.suppress(Exception, SystemExit):  # an incomplete package; `_broken` reports it
            found[kind] = engine.facts()
    return found


def _broken(kinds: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the reasons and the commands for engines that do not import, by backend kind."""
    broken, repairs = {}, {}
    for kind in kinds:
        backend = backend_class(kind).unwrap()
        if availability_of(backend).available:
            state = availability_of(backend, probe=True)
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


def _import_error(requirement: Requirement) -> str | None:
    try:
        require(requirement)
    except ResultError as failure:
        return failure.error.cause
    return None


def _tool(name: str) -> str | None:
    named = os.environ.get("CXX") if name == "c++" else None
    candidates = [named, "g++", "clang++", "c++"] if name == "c++" else [name, f"/usr/local/cuda/bin/{name}"]
    return next((found for item in candidates if item and (found := shutil.which(item))), None)
