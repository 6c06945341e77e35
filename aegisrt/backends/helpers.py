"""Helpers for authors of a backend, as docs/adding-a-backend.md shows them.

- `check_onnx(path)`: what an ONNX file declares, after the checks that engines leave out; `read_onnx` without them.
- `check_elf(path)`: check that a shared library is complete, before the linker maps it.
- `known_format(path)`: the format that a file's first bytes show, for a message.
- `data_type(name)`, `element_name(number)`: ONNX's element types.
- `check_fits(value, dtype, name, engine)`: for dtypes in `Capabilities.narrowed`.
- `Requirement`, `require(requirement)`: the engine's package, and its import, which reports how to install it.
- `EngineInstallation`, `Installation`, `DoctorCheck`: what `aegisrt doctor` reports about the engine.
"""

from aegisrt.backends.base.installation import DoctorCheck, EngineInstallation, Installation
from aegisrt.backends.base.narrowing import check_fits
from aegisrt.backends.files.elf import check_elf
from aegisrt.backends.files.onnx import OnnxFile, read_onnx
from aegisrt.backends.files.onnx_damage import check_onnx
from aegisrt.backends.files.onnx_elements import data_type, element_name
from aegisrt.backends.files.readable import known_format
from aegisrt.core.optional import Requirement, require

__all__ = [
    "DoctorCheck",
    "EngineInstallation",
    "Installation",
    "OnnxFile",
    "Requirement",
    "check_elf",
    "check_fits",
    "check_onnx",
    "data_type",
    "element_name",
    "known_format",
    "read_onnx",
    "require",
]
