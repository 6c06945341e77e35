"""What is fuzzed: for each reader valid inputs, how they are changed, and how a result is read to its end."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from random import Random

import numpy as np

from aegisrt.backends.files.elf import check_elf
from aegisrt.backends.files.onnx import read_onnx
from aegisrt.backends.files.onnx_nodes import read_nodes
from aegisrt.backends.files.onnx_rows import rows_of
from aegisrt.backends.files.protobuf import DamagedError
from aegisrt.backends.files.source import source_of
from aegisrt.backends.tensorrt.plan import read_header
from aegisrt.cli.tensors.inputs import read_inputs
from aegisrt.core.result import Err, Error, ResultError
from aegisrt.core.sidecar import Sidecar, artifact_key, read_sidecar, write_sidecar
from aegisrt.core.tensor import DataType, Signature, TensorSpec
from aegisrt.deployment import resolve
from aegisrt.manifest.diagnostics.report import render_github, render_text, to_json
from aegisrt.runtime.building.input_budget import InputBudget
from tests.measuring.fuzz import child_targets, mutations
from tests.measuring.fuzz.mutations import Change

ROOT = Path(__file__).parents[3]
_INPUT_BYTES = 64 * 2**20
"""The limit of `limits.input_bytes` that readers of inputs get."""
MODELS = ROOT / "aegisrt/conformance/models"
_MANIFEST = b"""models:
  a: {path: m.mock.json, backend: mock, instances: 2, queue: {max_queue_size: 4}}
  b: &b
    path: ${models.a.path}
    backend: other
backends:
  mock: {device: cpu}
  other: {kind: mock, device: d, stream: s}
devices:
  d: {kind: cpu}
streams:
  s: {device: d, shared: true}
"""


@dataclass(frozen=True)
class Target:
    """One reader."""

    suffix: str
    seeds: Callable[[], Sequence[bytes]]
    change: Change
    read: Callable[[Path], object]
    """Returns the Error of a refused input, or raises it as a ResultError; any other exception is a find."""
    examples: int = 300
    """In the tests: about two seconds."""
    allowed: tuple[type[Exception], ...] = field(default=())
    """Further exceptions that the reader documents."""
    needs: str | None = None
    """A package."""

    @property
    def is_here(self) -> bool:
        """Whether what it needs is installed."""
        return self.needs is None or find_spec(self.needs) is not None


def _manifest(path: Path, overrides: Sequence[str] = ()) -> Error | None:
    model = path.with_name("m.mock.json")
    if not model.exists():
        model.write_bytes((MODELS / "affine.mock.json").read_bytes())
    result = resolve(path, overrides)
    if not isinstance(result, Err):
        result.value.composition.yaml()
        return None
    diagnostics = result.error.diagnostics
    render_text(diagnostics)
    render_github(diagnostics)
    json.dumps(to_json(diagnostics))
    return result.error


def _overrides(path: Path) -> Error | None:
    manifest = path.with_name("manifest.yaml")
    if not manifest.exists():
        manifest.write_bytes(_MANIFEST)
    return _manifest(manifest, path.read_bytes().decode("utf-8", "surrogateescape").split("\x1f"))


def _override_seeds() -> list[bytes]:
    texts = (
        "models.a.instances=3", "+models.c={path: m.mock.json, backend: mock}", "~models.b", "env=prod",
        "models.a.path='x y.json'\x1fbackends.mock.device=null", "models.a.backend=choice(mock,other)",
        "models.a.instances=${oc.decode:'1'}", "++models.a.queue.max_queue_size=range(1,5)",
        "models.a.instances=int(3.0)",
    )  # fmt: skip
    return [text.encode() for text in texts]


_SPECS = {
    "float": TensorSpec("x", DataType.FP32, ("batch", 4)),
    "int": TensorSpec("x", DataType.UINT8, None),
    "text": TensorSpec("x", DataType.BYTES, (None,)),
    "bf16": TensorSpec("x", DataType.BF16, (2, 2)),
    "picture": TensorSpec("x", DataType.FP32, (1, 3, 8, 8)),
    "any": TensorSpec("x", DataType.UINT8, (1, 1, None, None)),
}


def _input(*specs: str) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        errors = []
        for spec in specs:
            try:
                read_inputs([str(path)], Signature((_SPECS[spec],), ()), InputBudget(_INPUT_BYTES))
            except ResultError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    return read


def _sidecar(path: Path) -> None:
    """Read a sidecar as whatever loads an engine file does: its signature is a signature."""
    sidecar = read_sidecar(path.with_name(path.name.removesuffix(".json")))
    assert sidecar is not None
    for value, kind in (
        (sidecar.source, dict),
        (sidecar.recipe, dict),
        (sidecar.metadata, dict),
        (sidecar.sha256, str),
    ):
        assert isinstance(value, kind), f"{value!r} is not a {kind.__name__}"
    assert type(sidecar.size_bytes) is int, sidecar.size_bytes
    for spec in (*sidecar.signature.inputs, *sidecar.signature.outputs):
        assert isinstance(spec.name, str), spec.name
        for dim in spec.shape or ():
            is_size = type(dim) is int and dim >= 0
            assert dim is None or isinstance(dim, str) or is_size, dim


def _sidecar_seeds() -> list[bytes]:
    import tempfile

    signature = Signature((_SPECS["float"], _SPECS["int"]), (_SPECS["text"],), defaults_fixed=("y",))
    source = {"name": "m.onnx", "sha256": "0" * 64, "external": {"w": "1" * 64}}
    sidecar = Sidecar(source=source, recipe={"backend": "tvm", "options": {}}, signature=signature, metadata={"a": [1]})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "m.so")
        file.write_bytes(b"engine")
        write_sidecar(file, sidecar)
        return [Path(folder, "m.so.json").read_bytes()]


def _sidecar_changed(data: bytes, random: Random) -> bytes:
    """Change a sidecar's values, with its key and digest for them, as an attacker would; or its text."""
    import hashlib

    try:
        plain = json.loads(data)
        if random.random() < 0.2:
            return mutations.text_changed(data, random)
        plain = mutations.json_changed(plain, random)
        plain["key"] = artifact_key(plain["source"], plain["recipe"])
        plain.pop("digest", None)
        text = json.dumps(plain, sort_keys=True, indent=1, ensure_ascii=True)
        plain["digest"] = hashlib.sha256(text.encode()).hexdigest()
        return (json.dumps(plain, sort_keys=True, indent=1, ensure_ascii=True) + "\n").encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return mutations.text_changed(data, random)


def _onnx(path: Path) -> None:
    rows_of(path)
    read_onnx(path)
    source_of(path)
    read_nodes(path)


def _onnx_seeds() -> list[bytes]:
    names = ("affine", "default", "external", "multi-io", "conv-net", "identity-bytes", "rows-and-columns")
    return [(MODELS / f"{name}.onnx").read_bytes() for name in names]


def _elf_seeds() -> list[bytes]:
    """Return a shared library with two segments and two sections."""
    import platform

    machine = {"aarch64": 183, "arm64": 183, "riscv64": 243}.get(platform.machine(), 62)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    head = struct.pack("<16sHHIQQQIHHHHHH", ident, 3, machine, 1, 0, 64, 176, 0, 64, 56, 2, 64, 2, 1)
    segments = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 304, 304, 4096) * 2
    sections = struct.pack("<IIQQQQIIQQ", 0, 1, 2, 0, 64, 16, 0, 0, 1, 0) * 2
    return [head + segments + sections, b"\x7fELF" + bytes(80)]


def _plan_seeds() -> list[bytes]:
    head = bytes(12) + (64).to_bytes(8, "little") + bytes([10, 3, 0, 1]) + bytes(36)
    return [b"ftrt" + head, b"vtrt" + head]


def _arrays() -> list[np.ndarray]:  # type: ignore[type-arg]
    return [np.ones((2, 4), np.float32), np.arange(6, dtype=np.uint8), np.array(["a", "bc"]), np.zeros((2, 2), "V2")]


def _npy_seeds() -> list[bytes]:
    seeds = []
    for array in _arrays():
        stream = io.BytesIO()
        np.save(stream, array)
        seeds.append(stream.getvalue())
    return seeds


def _npz_seeds() -> list[bytes]:
    return [mutations.array_bytes(x=array) for array in _arrays()] + [
        mutations.array_bytes(x=_arrays()[0], y=_arrays()[1])
    ]


def _json_seeds() -> list[bytes]:
    values = ({"x": [[1, 2.5, "NaN", -3]]}, [[1, 2], [3, 4]], {"x": ["a", "b"]}, [True], 3, {"x": [1], "y": [2]})
    return [json.dumps(value).encode() for value in values]


def _picture_seeds(kind: str) -> list[bytes]:
    from PIL import Image

    seeds = []
    for mode in ("L", "RGB") if kind == "JPEG" else ("L", "RGB", "RGBA", "P", "1", "I;16", "LA"):
        stream = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new(mode, (8, 8)).save(stream, kind, exif=exif)
        seeds.append(stream.getvalue())
    return seeds


TARGETS: dict[str, Target] = {
    "manifest": Target(".yaml", lambda: [_MANIFEST], mutations.text_changed, _manifest, 80),
    "overrides": Target(".txt", _override_seeds, mutations.text_changed, _overrides, 80),
    "sidecar": Target(".so.json", _sidecar_seeds, _sidecar_changed, _sidecar, 800),
    "npy": Target(".npy", _npy_seeds, mutations.npy_changed, _input("float", "text", "bf16"), 500),
    "npz": Target(".npz", _npz_seeds, mutations.npz_changed, _input("float", "int"), 300),
    "json": Target(".json", _json_seeds, mutations.json_text_changed, _input("float", "int", "text"), 500),
    "png": Target(
        ".png", lambda: _picture_seeds("PNG"), mutations.png_changed, _input("picture", "any"), 300, needs="PIL"
    ),
    "jpeg": Target(
        ".jpg", lambda: _picture_seeds("JPEG"), mutations.bytes_changed, _input("picture", "any"), 300, needs="PIL"
    ),
    "onnx": Target(".onnx", _onnx_seeds, mutations.protobuf_changed, _onnx, 700, allowed=(DamagedError,)),
    "plan": Target(".engine", _plan_seeds, mutations.bytes_changed, read_header, 800),
    "elf": Target(".so", _elf_seeds, mutations.bytes_changed, check_elf, 800),
    **{
        name: Target(suffix, seeds, change, read, examples, child_targets.ENDS[name])
        for name, (suffix, seeds, change, read, examples) in child_targets.READERS.items()
    },
}
