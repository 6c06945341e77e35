"""What several backends need to know of ONNX Runtime, without importing it: its version, and how to stop its telemetry.

Official builds send telemetry to Microsoft by default, those for Linux too, as seen in 1.32: an uploader with threads
of its own, a device identifier and a database in the user's cache folder, and `.ses` in the folder for temporary files.
The variable counts when the package is imported:
https://github.com/microsoft/onnxruntime/blob/main/docs/Privacy.md.
"""

from __future__ import annotations

from aegisrt.core.optional import installed

NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
"""The environment variable that, set to 1, stops it."""
DISTRIBUTIONS = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "onnxruntime-directml",
    "onnxruntime-qnn",
)
"""All of them install the module `onnxruntime`."""


def installed_version() -> str | None:
    """Return the version of the installed ONNX Runtime, or None; imports nothing."""
    return next((version for _, version in installed(DISTRIBUTIONS)), None)
