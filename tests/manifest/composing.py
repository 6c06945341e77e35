"""What the tests of composition share: the kinds of this project, and short ways to compose."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from aegisrt.backends.mock import MockOptions
from aegisrt.backends.onnx.options import ONNXOptions
from aegisrt.core.options import BackendOptions
from aegisrt.manifest.compose.compose import compose

KINDS = {"mock": MockOptions, "onnx": ONNXOptions}
MODEL = "models:\n  digits: {path: digits.onnx, backend: onnx}\n"


class ThirdParty(BackendOptions):
    kind: Literal["third-party"] = "third-party"
    library: Path | None = None
    extras: dict[str, list[Path]] = {}  # noqa: RUF012


def deploy_yaml(text):
    Path("deploy.yaml").write_text(text)
    return "deploy.yaml"


def composed(manifest=None, *overrides, kinds=KINDS, **rest):
    return compose(manifest, overrides, kinds=kinds, **rest).unwrap()


def values(manifest=None, *overrides, **rest):
    return composed(manifest, *overrides, **rest).values


def errors(manifest=None, *overrides, kinds=KINDS, **rest):
    """Return `id file:line:column` of every error."""
    error = compose(manifest, overrides, kinds=kinds, **rest).unwrap_err()
    assert error.diagnostics
    assert error.location == error.diagnostics[0].location
    return [f"{found.id} {found.location}" for found in error.diagnostics]


def write(folder, **files):
    """Write files: `env__prod="..."` is `env/prod.yaml`."""
    for name, text in files.items():
        file = folder / f"{name.replace('__', '/')}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
