"""How a backend gets its own file of each reference model: its own, a shipped one, or one that it builds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from aegisrt.conformance.references.models import REFERENCES, Reference
from aegisrt.conformance.target import Target
from aegisrt.conformance.verdict import Failed, Skipped
from aegisrt.core.capabilities import Capabilities
from aegisrt.core.result import Err, ErrorCode

MODELS = Path(__file__).parent.parent / "models"
_REFUSAL = "refusal.json"


class NotBuilt(Skipped):
    """The backend's build step answers UNIMPLEMENTED for a reference model."""


class BuildFailed(Failed):
    """The backend's build step fails for a reference model."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


class Supply:
    """The files of one backend's reference models; each is built once for a run, by the first process that needs it."""

    def __init__(self, target: Target, folder: Path, announce: Callable[[str], None]) -> None:
        self._target = target
        self._folder = folder
        self._announce = announce

    def file(self, name: str) -> Path:
        """Return the file of reference model `name`; Skipped if the backend has none, Failed if its build fails."""
        own = self._target.backend.conformance_model(name, MODELS)
        if own is not None:
            return Path(own)
        if ".onnx" in self._target.backend.capabilities.builds_from:
            return self._built(name)
        raise Skipped(f"declares no model for `{name}`")

    def building(self, name: str) -> None:
        """Announce that a model is about to be built, which may take `build_limit_s`."""
        self._announce(f"building {name}")

    def copy(self, name: str, folder: Path) -> Path:
        """Return a copy of the model's file in `folder`, with the files that belong to it, free to be damaged."""
        file = self.file(name)
        built = file.parent.parent == self._folder
        for other in file.parent.iterdir():
            if other.is_file() and (built or other == file or _belongs(other, file, name)):
                shutil.copyfile(other, folder / other.name)
        return folder / file.name

    def _built(self, name: str) -> Path:
        folder = self._folder / name
        file = folder / f"{name}{self._target.backend.capabilities.formats[0]}"
        refusal = folder / _REFUSAL
        if not folder.exists():
            self._build(name, file, refusal)
        if refusal.exists():
            answer = json.loads(refusal.read_text(encoding="utf-8"))
            if answer["code"] == ErrorCode.UNIMPLEMENTED:
                raise NotBuilt(f"builds no `{name}`: {answer['text']}")
            raise BuildFailed(f"building `{name}`: {answer['text']}", answer["code"])
        return file

    def _build(self, name: str, file: Path, refusal: Path) -> None:
        self.building(name)
        file.parent.mkdir(parents=True)
        result = self._target.make().build(MODELS / f"{name}.onnx", file)
        if isinstance(result, Err):
            answer = {"code": result.error.code, "text": str(result.error)}
            refusal.write_text(json.dumps(answer), encoding="utf-8")
        elif not file.is_file():
            answer = {"code": ErrorCode.INTERNAL, "text": "build answered Ok and wrote no file"}
            refusal.write_text(json.dumps(answer), encoding="utf-8")


def undeclared(reference: Reference, can: Capabilities) -> str | None:
    """Return which capability the model needs and the backend does not declare, or None."""
    missing = sorted(reference.dtypes - can.dtypes)
    if missing:
        return f"declares no {missing[0]}"
    if reference.scalar and not can.scalars:
        return "declares scalars=False"
    if reference.dynamic and not can.dynamic_shapes:
        return "declares dynamic_shapes=False"
    if reference.external and not can.external_data:
        return "declares external_data=False"
    return None


def _belongs(other: Path, file: Path, name: str) -> bool:
    """Return whether `other` goes with `file`: a sidecar such as `model.so.json`, or the weights beside a model."""
    return other.name.startswith(f"{file.name}.") or (REFERENCES[name].external and other.name == f"{name}.weights")
