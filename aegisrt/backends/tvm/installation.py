"""The doctor's findings about TVM: its FFI package, whether it imports, and the compiler that links its code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from aegisrt.backends.base.installation import (
    DoctorCheck,
    EngineInstallation,
    Installation,
    check_ml_dtypes,
    check_onnx_package,
)
from aegisrt.core.optional import requirements


class TVMInstallation(EngineInstallation):
    """TVM, its FFI package, and the NVRTC that compiles its code for a GPU."""

    packages: ClassVar[tuple[str, ...]] = ("apache-tvm-ffi", "cuda-bindings")

    def checks(self, machine: Installation) -> Iterator[DoctorCheck]:
        """Yield the findings; none if TVM is not installed."""
        version, ffi = (machine.packages.get(name) for name in ("apache-tvm", "apache-tvm-ffi"))
        if version is None or self.requirement is None:
            return
        fitting = requirements(self.requirement.extra).get("apache-tvm-ffi")
        if fitting is not None and (ffi is None or not fitting.specifier.contains(ffi, prereleases=True)):
            detail = f"apache-tvm {version} crashes or does not import with apache-tvm-ffi {ffi}"
            yield DoctorCheck("tvm", "fail", detail, f"pip install '{fitting.name}{fitting.specifier}'")
        elif "tvm" in machine.broken:
            detail = f"apache-tvm {version} does not import: {machine.broken['tvm']}"
            fix = self.requirement.install.replace("pip install", "pip install --force-reinstall --no-cache-dir")
            yield DoctorCheck("tvm", "fail", detail, fix)
        else:
            yield DoctorCheck("tvm", "ok", f"apache-tvm {version}, apache-tvm-ffi {ffi}")
        if "c++" not in machine.tools:
            detail = "there is no C++ compiler, and TVM needs one to link"
            yield DoctorCheck("compiler", "fail", detail, "apt-get install -y g++")
        yield from check_onnx_package(machine)
        yield from check_ml_dtypes(machine)
