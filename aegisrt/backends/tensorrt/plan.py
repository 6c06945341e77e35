"""The header of an engine file (a plan): which version built it, read without TensorRT.

It begins with 4 bytes: `ftrt` for TensorRT, `vtrt` for TensorRT for RTX. Bytes 24 to 27 are the major, minor, patch and
build version. A plan of TensorRT for RTX has its size at byte 16. Measured on plans of TensorRT 8.6 and of
TensorRT for RTX 1.7; NVIDIA documents that versions must match
(https://docs.nvidia.com/deeplearning/tensorrt/latest/architecture/architecture-overview.html#compatibility).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aegisrt.backends.files.onnx import looks_like_onnx
from aegisrt.backends.files.readable import known_format
from aegisrt.backends.tensorrt.distribution import TensorRT, display_name
from aegisrt.backends.tensorrt.options import Distribution
from aegisrt.core.result import ErrorCode, fail

_FAMILIES: dict[bytes, Distribution] = {b"ftrt": "tensorrt", b"vtrt": "tensorrt_rtx"}
_HEADER_BYTES = 32
_RTX_SIZE = slice(16, 24)
_VERSION = slice(24, 28)


@dataclass(frozen=True, slots=True)
class PlanHeader:
    """The builder of an engine file, by the file's own header."""

    family: Distribution
    """`tensorrt` or `tensorrt_rtx`; lean and dispatch load the former's version-compatible plans."""
    version: tuple[int, int, int, int]

    @property
    def is_readable(self) -> bool:
        """Whether the version is plausible; NVIDIA may move it within the header."""
        return 0 < self.version[0] < 32

    @property
    def display_name(self) -> str:
        """The version that built it: `TensorRT 8.6.1.6`."""
        return display_name(self.family, self.version)

    @property
    def runners(self) -> tuple[Distribution, ...]:
        """The distributions that may load it, the best match first."""
        return (
            ("tensorrt_rtx",) if self.family == "tensorrt_rtx" else ("tensorrt", "tensorrt_lean", "tensorrt_dispatch")
        )


def read_header(path: Path) -> PlanHeader:
    """Return the header of the engine file at `path`.

    INVALID_ARGUMENT: if it is not an engine file.
    DATA_LOSS: if it ends too early.
    """
    with path.open("rb") as stream:
        head = stream.read(_HEADER_BYTES)
    family = _FAMILIES.get(head[:4])
    if family is None:
        file_type = "an ONNX model" if looks_like_onnx(head) else known_format(path) or "something else"
        is_onnx = file_type == "an ONNX model"
        hint = "build it first: `aegisrt build`" if is_onnx else "name a TensorRT engine, or an `.onnx`"
        raise fail(ErrorCode.INVALID_ARGUMENT, f"{path} is {file_type}, not a TensorRT engine", hint)
    size = path.stat().st_size
    whole = int.from_bytes(head[_RTX_SIZE], "little") if family == "tensorrt_rtx" else _HEADER_BYTES + 1
    if len(head) < _HEADER_BYTES or size < whole:
        message = f"{path} is cut short: it has {size} bytes of {max(whole, _HEADER_BYTES)}"
        raise fail(ErrorCode.DATA_LOSS, message, "copy or build it again")
    major, minor, patch, build = head[_VERSION]
    return PlanHeader(family, (major, minor, patch, build))


def check_version(
    path: Path, header: PlanHeader, trt: TensorRT, *, version_compatible: bool, host_code_allowed: bool
) -> None:
    """Check that `trt` can load a plan of this version.

    FAILED_PRECONDITION: if it cannot; the message names both versions and the remedy.

    The patch version is left to TensorRT: bindings of one patch run over libraries of another, and do not report the
    libraries' version. Version-compatible engines load in later releases of the same major version; in those of later
    ones the engine's own code has to run, which must be allowed
    (https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html#version-compatibility).
    """
    built, running = header.version, trt.version
    if header.is_readable and not _fits(header, trt, version_compatible, host_code_allowed):
        hint = f"build it again with {trt.display_name}: `aegisrt build`, or `load` the ONNX model it was made from"
        if built[0] == running[0]:
            hint += "; engines built with `version_compatible: true` still load after an update (set it here too)"
        message = f"{path} was built by {header.display_name}, and this is {trt.display_name}"
        raise fail(ErrorCode.FAILED_PRECONDITION, message, hint)


def _fits(header: PlanHeader, trt: TensorRT, version_compatible: bool, host_code_allowed: bool) -> bool:
    built, running = header.version, trt.version
    if trt.is_rtx or header.family == "tensorrt_rtx":
        return trt.is_rtx and header.family == "tensorrt_rtx" and built == running[:4]
    if version_compatible or trt.distribution != "tensorrt":
        return built[:2] <= running[:2] and (built[0] == running[0] or host_code_allowed)
    return built[:2] == running[:2]
