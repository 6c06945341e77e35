"""`Sidecar`: the description of an engine file, in a JSON file beside it: `model.so` has `model.so.json`.

It is written once, in one canonical form and with its own digest in it, so that any changed byte is noticed.

An engine file may end with a trailer: the digest of its sidecar's checks, in the last `TRAILER_BYTES`. So the sha256 of
the file covers these checks too, and it is refused without them. A linker ignores bytes behind a library; an engine
that reads a file whole gets its first `bare_size` bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import NoneType
from typing import Any

from aegisrt.core.fresh_file import fresh_file
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.stamp import PerFile, Stamp, file_sha256, open_regular
from aegisrt.core.tensor import DataType, Dim, Signature, TensorSpec

FORMAT = "aegisrt-artifact/v1"
_TRAILER = b"\naegisrt-trailer/v1 sidecar-sha256="
_DIGITS = 64
TRAILER_BYTES = len(_TRAILER) + _DIGITS + 1
"""Size of a trailer: 100, for `head -c -100`."""
LARGEST_SIDECAR = 16 * 2**20
"""In bytes; of a sidecar."""
_AGAIN = "delete it and build it again: `aegisrt build`"
_KINDS = {"source": dict, "recipe": dict, "metadata": dict, "size_bytes": int, "sha256": str, "created": str}
_SOURCE_KINDS = {"name": str, "sha256": str, "external": dict}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """What an engine file was built from and how, and its inputs and outputs."""

    source: dict[str, Any]
    """The model: `name`, `sha256`, and `external` (the sha256 of each file of weights, by name)."""
    recipe: dict[str, Any]
    """Everything else that determines the file: `backend`, `engine` (its version), `options`, `target`."""
    signature: Signature
    size_bytes: int = 0
    """Size of the engine file."""
    sha256: str = ""
    """Digest of the engine file."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """What the backend needs when it loads the file, in plain JSON values."""
    created: str = ""
    """When it was built: UTC, ISO 8601."""

    @property
    def key(self) -> str:
        """Return the digest of source and recipe: files with equal keys are interchangeable."""
        return artifact_key(self.source, self.recipe)

    @property
    def checks_sha256(self) -> str:
        """Return the digest of all that a backend uses of it: the signature, the metadata and the recipe."""
        used = {"signature": signature_json(self.signature), "metadata": self.metadata, "recipe": self.recipe}
        return _digest({"format": FORMAT, **used})


@dataclass(frozen=True, slots=True)
class VerifiedFile:
    """An engine file whose content is the one that its sidecar describes."""

    path: Path
    stamp: Stamp
    """Its inode, size and times when it was verified."""
    sha256: str | None
    sidecar: Sidecar | None
    """None, as the digest, for a file without one."""


def artifact_key(source: dict[str, Any], recipe: dict[str, Any]) -> str:
    """Return 64 hexadecimal digits, from the bytes of the source and its weights; the source's name does not count."""
    content = {"sha256": source["sha256"], "external": source["external"]}
    return _digest({"format": FORMAT, "source": content, "recipe": recipe})


def sidecar_path(file: Path) -> Path:
    """Return the path of an engine file's sidecar."""
    return file.with_name(f"{file.name}.json")


def sidecar_sha256(file: Path) -> str | None:
    """Return the digest of an engine file's sidecar; None if it has none, or none that can be read."""
    sidecar = sidecar_path(file)
    try:
        return file_sha256(sidecar) if sidecar.is_file() else None
    except OSError:
        return None


def pin_of(file: Path) -> str:
    """Return the digest that pins an engine file together with its sidecar, if it has one.

    That is its own if it has a trailer, else the sidecar's, which contains the digest of the engine file.
    """
    described = sidecar_sha256(file) if read_trailer(file) is None else None
    return described or file_sha256(file)


def write_sidecar(file: Path, sidecar: Sidecar, *, trailer: bool = False) -> Sidecar:
    """Write the sidecar beside `file`; return it with the file's size and digest filled in.

    With `trailer`, a trailer is written behind the file first. Its engine has to ignore it, or not to get it.
    RESOURCE_EXHAUSTED: if it is larger than the 16 MiB that are read.
    """
    if trailer:
        _write_trailer(file, sidecar.checks_sha256)
    complete = replace(sidecar, size_bytes=file.stat().st_size, sha256=file_sha256(file))
    text = _text(complete)
    if len(text) > LARGEST_SIDECAR:
        message = f"the description of {file} has {len(text)} bytes, and at most {LARGEST_SIDECAR} are read"
        raise fail(ErrorCode.RESOURCE_EXHAUSTED, message, "remove texts from the metadata of the model")
    with fresh_file(sidecar_path(file)) as fresh, fresh.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    return complete


def read_sidecar(file: Path) -> Sidecar | None:
    """Return the sidecar of an engine file, or None if it has none. The caller must not change it.

    DATA_LOSS: if the sidecar is damaged.
    FAILED_PRECONDITION: if it is missing, and the file has a trailer.
    """
    path = sidecar_path(file)
    try:
        return _SIDECARS(path)
    except FileNotFoundError:
        if read_trailer(file) is None:
            return None
        message = f"{file} was built with a sidecar, {path.name}, which is missing: its checks keep answers correct"
        hint = f"copy {path.name} with it, or build it again: `aegisrt build`"
        raise fail(ErrorCode.FAILED_PRECONDITION, message, hint) from None


def read_trailer(file: Path) -> str | None:
    """Return the digest in a file's trailer, or None if it has none, or does not exist."""
    try:
        with open_regular(file) as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - TRAILER_BYTES))
            end = stream.read(TRAILER_BYTES)
    except FileNotFoundError:
        return None
    if len(end) != TRAILER_BYTES or not end.startswith(_TRAILER):
        return None
    return end[len(_TRAILER) : -1].decode("ascii", "replace")


def bare_size(file: Path) -> int:
    """Return the size of a file without its trailer, in bytes."""
    return file.stat().st_size - (0 if read_trailer(file) is None else TRAILER_BYTES)


def verified_file(file: Path, sidecar: Sidecar | None = None) -> VerifiedFile:
    """Return an engine file after comparing it with its sidecar, which the caller may have read already.

    A file without a sidecar is not read. The errors of `read_sidecar`, and:
    DATA_LOSS: if its size or its digest differs, or if it has the trailer of another sidecar.
    """
    stamp, sidecar = Stamp.read(file), sidecar or read_sidecar(file)
    if sidecar is None:
        return VerifiedFile(file, stamp, None, None)
    if stamp.size != sidecar.size_bytes:
        sizes = f"{file} has {stamp.size} bytes, and {sidecar.size_bytes} were built"
        message = f"{sizes}: it is cut short, or is a different file"
        raise fail(ErrorCode.DATA_LOSS, message, _AGAIN)
    digest = file_sha256(file)
    if digest != sidecar.sha256:
        message = f"{file} is damaged: its sha256 differs from the one recorded when it was built"
        raise fail(ErrorCode.DATA_LOSS, message, _AGAIN)
    if read_trailer(file) not in (None, sidecar.checks_sha256):
        message = f"{sidecar_path(file)} was changed: {file} was built with another sidecar"
        raise fail(ErrorCode.DATA_LOSS, message, "restore the sidecar, or build both again: `aegisrt build`")
    return VerifiedFile(file, stamp, digest, sidecar)


def signature_json(signature: Signature) -> dict[str, Any]:
    """Return plain values that `signature_of` reads."""
    plain: dict[str, Any] = {
        "inputs": [_spec(item) for item in signature.inputs],
        "outputs": [_spec(item) for item in signature.outputs],
    }
    fixed = list(signature.defaults_fixed)
    return {**plain, "defaults_fixed": fixed} if fixed else plain


def signature_of(plain: dict[str, Any]) -> Signature:
    """Return the signature that `signature_json` wrote; KeyError, TypeError or ValueError for anything else."""
    fixed = tuple(map(str, plain.get("defaults_fixed", ())))
    return Signature(tuple(map(_tensor, plain["inputs"])), tuple(map(_tensor, plain["outputs"])), defaults_fixed=fixed)


def _write_trailer(file: Path, digest: str) -> None:
    size = bare_size(file)
    with file.open("r+b") as stream:
        stream.seek(size)
        stream.write(_TRAILER + digest.encode("ascii") + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def _spec(spec: TensorSpec) -> dict[str, Any]:
    plain = {"name": spec.name, "dtype": spec.dtype.value, "shape": None if spec.shape is None else list(spec.shape)}
    return {**plain, "optional": True} if spec.optional else plain


def _tensor(plain: dict[str, Any]) -> TensorSpec:
    _check_kinds(plain, {"name": str, "dtype": str, "shape": (list, NoneType)})
    shape = plain["shape"]
    optional = bool(plain.get("optional", False))
    dims = None if shape is None else tuple(map(_dim, shape))
    return TensorSpec(plain["name"], DataType(plain["dtype"]), dims, optional)


def _dim(dim: Any) -> Dim:
    if dim is None or isinstance(dim, str) or (type(dim) is int and dim >= 0):
        return dim
    raise TypeError(f"{dim!r:.40} is not a dimension")


def _check_kinds(plain: dict[str, Any], kinds: Mapping[str, type | tuple[type, ...]]) -> None:
    """Check the types of a mapping's values; KeyError or TypeError if one is missing or another."""
    for key, kind in kinds.items():
        if isinstance(plain[key], bool) or not isinstance(plain[key], kind):
            raise TypeError(f"`{key}` is {plain[key]!r:.40}")


def _text(sidecar: Sidecar) -> str:
    plain = {"format": FORMAT, "key": sidecar.key, **asdict(sidecar), "signature": signature_json(sidecar.signature)}
    plain["digest"] = _digest(plain)
    return _canonical(plain) + "\n"


def _read(path: Path) -> Sidecar:
    with open_regular(path) as stream:
        raw = stream.read(LARGEST_SIDECAR + 1)
    try:
        return _parse(raw)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        cause = f"{type(error).__name__}: {error}"
        raise fail(ErrorCode.DATA_LOSS, f"{path} is cut short or damaged", _AGAIN, cause=cause) from None


_SIDECARS = PerFile(_read)


def _parse(raw: bytes) -> Sidecar:
    if len(raw) > LARGEST_SIDECAR:
        raise ValueError(f"it has more than {LARGEST_SIDECAR} bytes")
    plain = json.loads(raw)
    if plain.pop("format") != FORMAT:
        raise ValueError("another format")
    key = plain.pop("key")
    del plain["digest"]
    _check_kinds(plain, _KINDS)
    _check_kinds(plain["source"], _SOURCE_KINDS)
    sidecar = Sidecar(**{**plain, "signature": signature_of(plain["signature"])})
    if sidecar.key != key or _text(sidecar).encode() != raw:
        raise ValueError("its digest does not match its content")
    return sidecar


def _digest(plain: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(plain).encode()).hexdigest()


def _canonical(plain: dict[str, Any]) -> str:
    return json.dumps(plain, sort_keys=True, indent=1, ensure_ascii=True)
