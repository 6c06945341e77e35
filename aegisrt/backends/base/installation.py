"""`EngineInstallation`: the packages of a backend's engine, and the checks of `aegisrt doctor` about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

from aegisrt.core.optional import Requirement
from aegisrt.devices.discover import DiscoveredDevice

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class DoctorCheck:
    """A check's id, its result, and the command that fixes it."""

    id: str
    """A stable, kebab-case name."""
    status: Status
    detail: str
    fix: str | None = None
    """The exact command that fixes it, or the line to change."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as one entry of `aegisrt doctor --json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """The packages, GPUs and tools of one machine, seen from one Python environment."""

    packages: Mapping[str, str] = field(default_factory=dict)
    """Versions of the installed distributions among those that backends name."""
    broken: Mapping[str, str] = field(default_factory=dict)
    """The reason why an installed engine does not import, by backend kind."""
    repairs: Mapping[str, str] = field(default_factory=dict)
    """The command that makes such an engine import, by backend kind, if its backend names one."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What each backend's `EngineInstallation.facts` returned, by kind; without those that raised."""
    driver_cuda: str | None = None
    """The newest CUDA version that the NVIDIA driver supports."""
    gpus: tuple[DiscoveredDevice, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    """Paths of compilers, by the names `c++` and `nvcc`."""

    @property
    def has_gpu(self) -> bool:
        """Whether a GPU can be used."""
        return any(gpu.available for gpu in self.gpus)


class EngineInstallation:
    """A backend's engine as packages. Subclass it if the engine is more than the package of its `requirement`.

    The attribute `doctor` of the backend's class names the subclass.
    """

    packages: ClassVar[tuple[str, ...]] = ()
    """Further distributions that the engine consists of."""
    cuda_packages: ClassVar[Mapping[str, int]] = {}
    """Distributions that are built for one major version of CUDA, and that version: the driver must support it."""

    def __init__(self, kind: str, requirement: Requirement | None) -> None:
        self.kind = kind
        self.requirement = requirement

    @property
    def all_packages(self) -> tuple[str, ...]:
        """Return the distributions of the engine, installed or not."""
        required = self.requirement.distributions if self.requirement else ()
        return tuple(dict.fromkeys((*required, *self.packages, *self.cuda_packages)))

    def facts(self) -> Any:
        """Return what `checks` needs besides the packages' versions; `aegisrt doctor` alone calls it."""
        return None

    def checks(self, machine: Installation) -> Iterable[DoctorCheck]:
        """Yield the findings; by default, whether the engine's package is installed, new enough, and imports."""
        need, kind = self.requirement, self.kind
        if need is None:
            return
        installed = [(name, machine.packages[name]) for name in need.distributions if name in machine.packages]
        name, version = installed[0] if installed else (need.module, None)
        if kind in machine.broken:
            detail = f"{name} {version or '?'} does not import: {machine.broken[kind]}"
            yield DoctorCheck(kind, "fail", detail, machine.repairs.get(kind, need.install))
        elif version is None:
            yield DoctorCheck(kind, "warn", f"{name} is not installed", need.install)
        elif need.is_old(version):
            yield DoctorCheck(kind, "fail", f"{name} {version} is older than {need.oldest}", need.install)
        else:
            yield DoctorCheck(kind, "ok", f"{name} {version}")


def check_onnx_package(machine: Installation) -> Iterator[DoctorCheck]:
    """Yield a failure if the package `onnx` is not installed: for an engine that builds from ONNX with it."""
    if "onnx" not in machine.packages:
        detail = "the package `onnx`, which an installed engine builds with, is not installed"
        yield DoctorCheck("onnx-package", "fail", detail, "pip install onnx")


def check_ml_dtypes(machine: Installation) -> Iterator[DoctorCheck]:
    """Yield a warning if the package ml_dtypes is not installed: for an engine that serves BF16."""
    if "ml_dtypes" not in machine.packages:
        yield DoctorCheck("ml-dtypes", "warn", "without ml_dtypes, BF16 tensors are refused", "pip install ml_dtypes")
