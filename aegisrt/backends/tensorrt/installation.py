"""The doctor's findings about TensorRT: its distributions, whether each is complete, and whether they import."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from aegisrt.backends.base.installation import (
    DoctorCheck,
    EngineInstallation,
    Installation,
    check_ml_dtypes,
    check_onnx_package,
)
from aegisrt.backends.tensorrt.distribution import INSTALL, OLDEST, reinstall_command
from aegisrt.core.optional import release

_PAIRS = tuple(
    (f"{family}_{cuda}_bindings", f"{family}_{cuda}_libs")
    for family in ("tensorrt", "tensorrt_rtx")
    for cuda in ("cu12", "cu13")
)
_RTX_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")


class TensorRTInstallation(EngineInstallation):
    """The four distributions of TensorRT, and the wheels that they consist of."""

    packages: ClassVar[tuple[str, ...]] = tuple(name for pair in _PAIRS for name in pair)
    cuda_packages: ClassVar[Mapping[str, int]] = {"tensorrt_cu13_libs": 13, "tensorrt_rtx_cu13_libs": 13}

    def checks(self, machine: Installation) -> Iterator[DoctorCheck]:
        """Yield the findings; none if no distribution of TensorRT is installed."""
        for bindings, libraries in _PAIRS:
            version, own = machine.packages.get(bindings), machine.packages.get(libraries)
            fix = f"pip install '{libraries}=={version}'"
            if version and own and version != own:
                detail = f"{bindings} {version} is installed with {libraries} {own}, and their versions must be equal"
                yield DoctorCheck("tensorrt-versions", "fail", detail, fix)
            elif version and own is None and bindings.partition("_cu")[0] not in machine.packages:
                detail = f"{bindings} {version} is installed without {libraries}"
                yield DoctorCheck("tensorrt-libraries", "fail", detail, fix)
        found = [name for name in self.all_packages if name in machine.packages and not name.endswith("_libs")]
        if "tensorrt" in machine.broken:
            fix = machine.repairs.get("tensorrt", reinstall_command("tensorrt"))
            yield DoctorCheck("tensorrt", "fail", f"TensorRT does not import: {machine.broken['tensorrt']}", fix)
        elif found:
            yield from _distributions(machine, found)
        if any(name in ("tensorrt", *(pair[0] for pair in _PAIRS)) for name in found):
            yield from check_onnx_package(machine)
            yield from check_ml_dtypes(machine)


def _distributions(machine: Installation, found: list[str]) -> Iterator[DoctorCheck]:
    full = machine.packages.get("tensorrt") or machine.packages.get("tensorrt_cu13_bindings")
    if full is not None and release(full) < OLDEST:
        detail = f"tensorrt {full} is older than {'.'.join(map(str, OLDEST))}"
        yield DoctorCheck("tensorrt", "fail", detail, INSTALL["tensorrt"].replace("install", "install --upgrade", 1))
        return
    yield DoctorCheck("tensorrt", "ok", ", ".join(f"{name} {machine.packages[name]}" for name in found))
    strange = [gpu.compute_capability for gpu in machine.gpus if gpu.compute_capability not in _RTX_CAPABILITIES]
    if full is None and any("rtx" in name for name in found) and strange:
        detail = f"TensorRT for RTX does not run on compute capability {strange[0]}"
        yield DoctorCheck("tensorrt-gpu", "fail", detail, INSTALL["tensorrt"])
