"""The text of a first manifest."""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from aegisrt.core.suggest import escaped as printable
from aegisrt.core.suggest import with_unseen_escaped
from aegisrt.core.tensor import Signature, TensorSpec
from aegisrt.manifest.composition import escaped
from aegisrt.manifest.read.forbidden import INSTANTIATE_KEYS

_PLAIN = re.compile(r"(?:/|(?:\.\./)+)?[A-Za-z_][A-Za-z0-9_./-]*")
_NOT_TEXT = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_SCHEMA = "schemas/fragment.schema.json"
_COLUMN = 44


@dataclass(frozen=True, slots=True)
class Start:
    """Contents of a first manifest."""

    model: Path
    signature: Signature
    target: Path
    """The path of the manifest."""
    backend: str
    """The name of an option set of the base."""
    others: tuple[str, ...]
    """The names of the other option sets."""
    device: str | None
    """The device kind that the backend needs; None if it runs on `cpu`."""
    limits_sizes: bool
    """Whether the backend has the option `max_dynamic_size`, needed for dynamic dimensions other than the batch."""
    shapes: Mapping[str, tuple[int, ...]]
    """The shapes of the made-up inputs."""
    sample: str | None
    """The name of the file of made-up inputs, next to the manifest; None without one."""

    @property
    def name(self) -> str:
        """Return the file's stem, changed where needed to be a valid name."""
        return model_name(self.model)


def model_name(path: Path) -> str:
    """Return a valid name that is near to a file's: `modele-v2` for `Modèle v2.onnx`."""
    plain = unicodedata.normalize("NFKD", path.name.removesuffix(path.suffix)).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9_]+", "-", plain.lower()).strip("-_") or "model"


def text(start: Start) -> str:
    """Return the manifest as YAML with comments."""
    others = f"others: {', '.join(start.others)}; `aegisrt backends` lists which are installed"
    lines = [
        *_head(start),
        "models:",
        _line(f"  {_scalar(start.name)}:", "the name that requests and overrides use"),
        _line(f"    path: {_scalar(_path(start))}", _where(start)),
        _line(f"    backend: {start.backend}", others),
        *_signature(start.signature),
        *_sample(start),
        *_options(start),
    ]
    return "\n".join(lines) + "\n"


def _head(start: Start) -> list[str]:
    outputs = ", ".join(printable(str(spec)) for spec in start.signature.outputs) or "no tensor"
    modeline = [f"# yaml-language-server: $schema={_SCHEMA}"] if (start.target.parent / _SCHEMA).is_file() else []
    return [*modeline, f"# {printable(start.model.name)} answers {outputs}. Written by `aegisrt init`."]


def _path(start: Start) -> str:
    """Return the model's path relative to the manifest's folder; absolute if it is outside of it."""
    model, folder = os.path.abspath(start.model), os.path.abspath(start.target.parent)  # noqa: PTH100  (links stay)
    is_near = any(Path(model).is_relative_to(near) for near in (folder, Path.cwd()))
    return os.path.relpath(model, folder) if is_near else model


def _where(start: Start) -> str:
    return "absolute path" if Path(_path(start)).is_absolute() else "relative to this file"


def _signature(signature: Signature) -> Iterable[str]:
    """Yield the declared inputs; nothing if a key of a manifest may not have the name of one of them."""
    if not signature.inputs or any(spec.name in INSTANTIATE_KEYS for spec in signature.inputs):
        return
    yield _line("    signature:", "as in the file; compared with the engine's at load")
    yield "      inputs:"
    for spec in signature.inputs:
        optional = ", optional: true" if spec.optional else ""
        yield f"        {_scalar(spec.name, key=True)}: {{dtype: {spec.dtype}{_shape(spec)}{optional}}}"


def _shape(spec: TensorSpec) -> str:
    if spec.shape is None:
        return ""
    return f", shape: [{', '.join(_dimension(dim) for dim in spec.shape)}]"


def _dimension(dim: int | str | None) -> str:
    return "null" if dim is None else str(dim) if isinstance(dim, int) else _scalar(dim)


def _sample(start: Start) -> Iterable[str]:
    if start.sample is not None:
        yield "    sample:"
        yield _line(f"      inputs: {_scalar(start.sample)}", "made up by `init`: replace with real inputs")
    elif start.signature.required:
        yield _line("  # sample: {inputs: FILE.npz}", "inputs for `run`: one array by name for each")


def _options(start: Start) -> Iterable[str]:
    """Yield the options that the backend needs in addition to the base configuration."""
    largest = _largest_dynamic(start) if start.limits_sizes else 0
    if start.device is None and not largest:
        return
    yield "backends:"
    yield f"  {start.backend}:"
    if start.device is not None:
        yield f"    device: {start.device}0"
    if largest:
        yield _line(f"    max_dynamic_size: {largest}", "the largest size of a dynamic dimension")
    if start.device is not None:
        yield "devices:"
        yield f"  {start.device}0: {{kind: {start.device}}}"


def _largest_dynamic(start: Start) -> int:
    """Return the largest made-up size of a dynamic dimension after the first, or 0 if there is none."""
    dynamic = [
        size
        for spec in start.signature.required
        for dim, size in zip((spec.shape or ())[1:], start.shapes[spec.name][1:], strict=False)
        if not isinstance(dim, int)
    ]
    return max(dynamic, default=0)


def _line(code: str, comment: str) -> str:
    return f"{code:<{_COLUMN - 1}} # {comment}"


def _scalar(value: str, *, key: bool = False) -> str:
    """Return text quoted where needed for YAML 1.1 and OmegaConf, in a block and between brackets."""
    if _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    import yaml

    whole = value if key else escaped(value)
    quoted: str = yaml.safe_dump(whole, default_style='"', allow_unicode=True, width=math.inf)
    return with_unseen_escaped(quoted.strip())
