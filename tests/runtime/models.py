"""Mock models and manifests for the tests of the runtime."""

from __future__ import annotations

import json
from pathlib import Path

from aegisrt.backends.registry import options_by_kind
from aegisrt.manifest.check.validate import manifest_type
from aegisrt.manifest.schema import Manifest


def affine(folder: Path, name: str = "affine", scale: float = 2.0) -> Path:
    """Write a model y = scale * x, x FP32 [n,4]."""
    tensor = {"dtype": "FP32", "shape": ["n", 4]}
    operation = {"kind": "affine", "input": "x", "scale": scale}
    path = folder / f"{name}.mock.json"
    outputs = [{"name": "y", **tensor, "operation": operation}]
    path.write_text(json.dumps({"format": "aegisrt-mock/v1", "inputs": [{"name": "x", **tensor}], "outputs": outputs}))
    return path


def manifest(models: dict[str, dict], **mock: object) -> Manifest:
    """Return a manifest of models on one mock backend with options `mock`."""
    raw = {
        "devices": {"cpu": {"kind": "cpu"}},
        "streams": {"default": {"device": "cpu"}},
        "backends": {"mock": {"kind": "mock", **mock}},
        "models": {name: {"backend": "mock", **model} for name, model in models.items()},
    }
    return manifest_type(options_by_kind().unwrap()).model_validate_json(json.dumps(raw, default=str))
