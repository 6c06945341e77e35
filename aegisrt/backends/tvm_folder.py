"""Which ONNX Runtime folds constants here, for models that TVM takes only folded."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu")


def installed_folder() -> str | None:
    """Return the version of the installed ONNX Runtime, or None; imports nothing."""
    for name in _DISTRIBUTIONS:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None
