"""`write_example`: the packaged digits model, its data and a manifest, as files of the user."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np

from aegisrt.cli.init.files import check_free, write
from aegisrt.cli.output import print_json, print_text
from aegisrt.core.resources import configs_dir

MANIFEST = """\
# deploy.yaml
models:
  digits:
    path: digits.onnx              # relative to this file
    backend: onnx                  # one of the option sets under `backends`
    instances: 2                   # calls that may run at the same time
    sample: {inputs: digits.images.npy, labels: digits.labels.npy}      # inputs for `run` without --input
backends:
  onnx: {intra_op_threads: 2}      # other options keep their defaults
"""
"""The manifest of README.md."""
_IMAGES = "digits.images.npy"
_COPIED = {
    "digits.onnx": "the model: images FP32[batch,1,8,8] to probabilities FP32[batch,10]",
    _IMAGES: "360 images of handwritten digits",
    "digits.labels.npy": "the digit that each of them shows",
}
_DIGIT = "digit.npy"
_SOURCE = "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI, doi 10.24432/C50P49, CC BY 4.0"


def write_example(target: Path, *, force: bool, format: str) -> int:  # noqa: A002
    """Write the manifest to `target` and the other files next to it, print them, and return 0.

    NOT_FOUND: if the folder does not exist.
    ALREADY_EXISTS: if one of the files does, unless `force`.
    """
    folder = target.parent
    check_free([target, *(folder / name for name in (*_COPIED, _DIGIT))], force=force)
    packaged = configs_dir() / "model"
    for name in _COPIED:
        _put(folder / name, (packaged / name).read_bytes())
    one = np.load(packaged / _IMAGES)[:1]
    write(folder / _DIGIT, lambda stream: np.save(stream, one))
    _put(target, MANIFEST.encode())
    _print(target, format)
    return 0


def _put(file: Path, content: bytes) -> None:
    write(file, lambda stream: stream.write(content))


def _print(target: Path, format: str) -> None:  # noqa: A002
    files = {target.name: "the manifest", **_COPIED, _DIGIT: "the first of the images"}
    command = f"aegisrt run {shlex.quote(str(target))}"
    if format == "json":
        written = [str(target.with_name(name)) for name in files]
        print_json({"ok": True, "manifest": str(target), "files": written, "source": _SOURCE, "next": command})
        return
    from aegisrt.cli.render import print_table

    print_table(("file", "contents"), [(str(target.with_name(name)), what) for name, what in files.items()])
    print_text(f"\nimages: {_SOURCE}\n\nnext: {command}")
