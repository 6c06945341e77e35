"""The doctor's facts and findings about ONNX Runtime: its packages, which overwrite each other, and its providers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from aegisrt.backends.base.installation import DoctorCheck, EngineInstallation, Installation, Status, check_ml_dtypes
from aegisrt.backends.files.elf import missing_libraries
from aegisrt.core.optional import DISTRIBUTION, Requirement, require

_PROVIDER_FILES = {
    "CUDAExecutionProvider": "libonnxruntime_providers_cuda.so",
    "TensorrtExecutionProvider": "libonnxruntime_providers_tensorrt.so",
}
_LIBRARY_PACKAGES = (
    (r"libcudnn\w*\.so\.8", "nvidia-cudnn-cu12<9"), (r"libcudnn", "nvidia-cudnn-cu13"),
    (r"libcublas\w*\.so\.12", "nvidia-cublas-cu12"), (r"libcublas", "nvidia-cublas"),
    (r"libcudart\.so\.12", "nvidia-cuda-runtime-cu12"), (r"libcudart", "nvidia-cuda-runtime"),
    (r"libcufft\w*\.so\.11", "nvidia-cufft-cu12"), (r"libcufft", "nvidia-cufft"), (r"libcurand", "nvidia-curand"),
    (r"libnvrtc\.so\.12", "nvidia-cuda-nvrtc-cu12"), (r"libnvrtc", "nvidia-cuda-nvrtc"),
    (r"libnvinfer", "tensorrt_cu13_libs==10.*"), (r"libnvonnxparser", "tensorrt_cu13_libs==10.*"),
)  # fmt: skip
"""The first pattern that the start of a name matches; packages of CUDA 12 have a suffix."""


@dataclass(frozen=True, slots=True)
class OrtFacts:
    """What the installed ONNX Runtime has."""

    providers: tuple[str, ...] = ()
    """Its execution providers."""
    missing: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Libraries that a provider needs and the loader does not find, by provider."""


class OrtInstallation(EngineInstallation):
    """The five distributions that install the module `onnxruntime`."""

    cuda_packages: ClassVar[Mapping[str, int]] = {"onnxruntime-gpu": 13}

    def facts(self) -> OrtFacts:
        """Import ONNX Runtime, and return what it has; raise what the import raises."""
        package = require(self._requirement)
        providers = tuple(package.get_available_providers())
        folder = Path(str(package.__file__)).parent / "capi"
        files = {name: folder / file for name, file in _PROVIDER_FILES.items() if name in providers}
        return OrtFacts(providers, {name: missing_libraries(file) for name, file in files.items() if file.is_file()})

    def checks(self, machine: Installation) -> Iterator[DoctorCheck]:
        """Yield the findings: the installed package, and libraries that its providers lack."""
        facts: OrtFacts = machine.facts.get(self.kind) or OrtFacts()
        yield _package(self._requirement, machine, facts.providers)
        for provider, missing in facts.missing.items():
            yield _libraries(provider, [name for name in missing if name != "libcuda.so.1"], machine)
        if any(name in machine.packages for name in self._requirement.distributions):
            yield from check_ml_dtypes(machine)

    @property
    def _requirement(self) -> Requirement:
        assert self.requirement is not None
        return self.requirement


def _package(requirement: Requirement, machine: Installation, providers: tuple[str, ...]) -> DoctorCheck:
    """Return the finding about the installed ONNX Runtime; two of them overwrite each other's files."""
    installed = [name for name in requirement.distributions if name in machine.packages]
    if not installed:
        return DoctorCheck("onnxruntime", "warn", "ONNX Runtime is not installed", requirement.install)
    if len(installed) > 1:
        both = " and ".join(f"{name} {machine.packages[name]}" for name in installed)
        detail = f"{both} are both installed in one folder, so one is overwritten"
        return DoctorCheck("onnxruntime", "fail", detail, _reinstall(*installed))
    (name,) = installed
    version = machine.packages[name]
    if "onnx" in machine.broken:
        detail = f"{name} {version} does not import: {machine.broken['onnx']}"
        return DoctorCheck("onnxruntime", "fail", detail, f"pip install --force-reinstall --no-cache-dir {name}")
    if requirement.is_old(version):
        detail = f"{name} {version} is older than {requirement.oldest}"
        return DoctorCheck("onnxruntime", "fail", detail, f"pip install --upgrade {name}")
    if machine.has_gpu and name == "onnxruntime":
        detail = f"{name} {version} runs only on the CPU, and this machine has a GPU"
        return DoctorCheck("onnxruntime", "warn", detail, _reinstall(name, "onnxruntime-gpu"))
    return DoctorCheck("onnxruntime", "ok", f"{name} {version}: {', '.join(providers)}")


def _libraries(provider: str, missing: list[str], machine: Installation) -> DoctorCheck:
    """Return the finding about a provider's libraries: without them ONNX Runtime falls back to the CPU silently."""
    id_ = f"onnxruntime-{provider.removesuffix('ExecutionProvider').lower()}"
    if not missing:
        return DoctorCheck(id_, "ok", f"all libraries of `{provider}` are found")
    is_tensorrt = provider == "TensorrtExecutionProvider"
    detail = f"`{provider}` lacks {', '.join(missing)}"
    detail += "; backend `tensorrt` does not need it" if is_tensorrt else ""
    status: Status = "fail" if machine.has_gpu and not is_tensorrt else "warn"
    return DoctorCheck(id_, status, detail, _install(missing))


def _reinstall(*names: str) -> str:
    extra = "onnx-gpu" if "onnxruntime-gpu" in names else "onnx"
    return f"pip uninstall -y {' '.join(names)} && pip install --no-cache-dir '{DISTRIBUTION}[{extra}]'"


def _install(libraries: list[str]) -> str:
    packages = []
    for name in libraries:
        packages += [package for pattern, package in _LIBRARY_PACKAGES if re.match(pattern, name)][:1]
    quoted = [f"'{name}'" if set(name) & set("=<") else name for name in dict.fromkeys(packages)]
    return f"pip install {' '.join(quoted)}" if quoted else f"install {', '.join(libraries)}, or extend LD_LIBRARY_PATH"
