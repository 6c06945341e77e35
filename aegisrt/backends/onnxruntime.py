"""How ONNX Runtime is told to send nothing to Microsoft.

Official builds do by default, and those for Linux too, as seen in 1.32: an uploader with threads of its own, a device
identifier and a database in the user's cache folder, and `.ses` in the folder for temporary files. The variable counts
when the package is imported: https://github.com/microsoft/onnxruntime/blob/main/docs/Privacy.md.
"""

from __future__ import annotations

NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
