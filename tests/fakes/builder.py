"""A backend that builds without an engine: it writes files slowly, in several steps, so that a test can
kill it in each of them."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path
from typing import Any, ClassVar, Literal

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.backends.files.source import source_of
from aegisrt.core.capabilities import Capabilities
from aegisrt.core.options import BackendOptions
from aegisrt.core.sidecar import Sidecar, write_sidecar
from aegisrt.core.tensor import DataType, Signature, TensorSpec

SIGNATURE = Signature((TensorSpec("x", DataType.FP32, ("n",)),), (TensorSpec("y", DataType.FP32, ("n",)),))


class FakeOptions(BackendOptions):
    kind: Literal["fake"] = "fake"
    level: int = 1
    step_ms: float = 0.0
    target: str = "here"
    version: str = "1.0"
    fails: bool = False
    trailer: bool = False


class FakeBackend(RuntimeBackend[FakeOptions]):
    kind = "fake"
    Options: ClassVar[type[BackendOptions]] = FakeOptions
    capabilities = Capabilities(
        formats=(".engine",),
        builds_from=(".onnx", ".txt"),
        dtypes=frozenset({DataType.FP32}),
        dynamic_shapes=True,
        native_code=True,
    )

    def _load(self, path: Path) -> bytes:
        return path.read_bytes()

    def _signature(self, engine: bytes) -> Signature:
        return SIGNATURE

    def _execute(self, slot: Any, inputs: Any, outputs: Any) -> Any:
        return [inputs["x"]]

    def _recipe(self) -> dict[str, Any]:
        o = self.options
        return {"backend": "fake", "engine": o.version, "options": {"level": o.level}, "target": o.target}

    def _build(self, source: Path, target: Path) -> None:
        if self._progress:
            self._progress("building")
        described = source_of(source)
        content = hashlib.sha256(source.read_bytes()).digest() * 64
        target.with_name(f"{target.name}.log").write_text("a log")
        with target.open("wb") as stream:
            for at in range(0, len(content), 256):
                stream.write(content[at : at + 256])
                stream.flush()
                time.sleep(self.options.step_ms / 1e3)
        if self.options.fails:
            raise RuntimeError(f"it failed; see {target.name}.log")
        sidecar = Sidecar(source=described, recipe=self._recipe(), signature=SIGNATURE, metadata={"bounds": [0, 4]})
        write_sidecar(target, sidecar, trailer=self.options.trailer)
        count = Path(source).with_suffix(".count")
        with count.open("a") as stream:
            stream.write(f"{os.getpid()}\n")


def main() -> None:
    """Build `argv[1]` into the cache `argv[2]`, with steps of `argv[3]` ms; print the file."""
    from aegisrt.artifacts.build import engine_file
    from aegisrt.artifacts.cache import ArtifactCache

    source, root, step_ms = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    print("started", flush=True)
    made = engine_file(FakeBackend({"step_ms": step_ms}), source, ArtifactCache(root)).unwrap()
    print(made.path, made.built, flush=True)


if __name__ == "__main__":
    main()
