"""Model files as production has them: missing, cut short by a full disk, damaged, of the wrong kind, unreadable."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from aegisrt.conformance import verdict
from aegisrt.conformance.check import check
from aegisrt.conformance.subject import Subject
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import ErrorCode, Ok

_BASE = "Do not override `load`: the base class examines the file before `_load` does."
_VERIFY = (
    "Verify the file before the engine sees it (a digest in a sidecar, the length in its header), and raise DATA_LOSS "
    "from `_load`, or map the engine's own error in `_classify`."
)
_CODES = "Retry, redeploy or give up: a deployer decides by the code, so each kind of bad file has its own code. "


@check("model-files.missing", why=_CODES, fix=_BASE)
def missing(subject: Subject) -> None:
    """A path that does not exist, or whose folder is missing or a file, is NOT_FOUND, which names the path."""
    file = subject.model("affine")
    for path in (subject.scratch / f"none{file.suffix}", subject.scratch / "none" / file.name, file / "below"):
        _refused(subject, path, ErrorCode.NOT_FOUND, f"load of {path.name}, which is not there")


@check("model-files.directory", why=_CODES, fix=_BASE)
def directory(subject: Subject) -> None:
    """A directory is INVALID_ARGUMENT, which names the path."""
    _refused(subject, subject.scratch, ErrorCode.INVALID_ARGUMENT, "load of a directory")


@check(
    "model-files.no-path", why="`None` from a configuration that was not filled in must not be a TypeError.", fix=_BASE
)
def no_path(subject: Subject) -> None:
    """An argument that is not a path is INVALID_ARGUMENT or NOT_FOUND, and not an exception."""
    for path in (None, 7, "", "\0", b"\xff", ["a"]):
        result = subject.fresh().load(path)  # type: ignore[arg-type]
        verdict.refused(result, (ErrorCode.INVALID_ARGUMENT, ErrorCode.NOT_FOUND), f"load({path!r})")


@check("model-files.empty", why=_CODES + "An empty file is what a full disk leaves.", fix=_BASE)
def empty(subject: Subject) -> None:
    """An empty file is DATA_LOSS, which names the path."""
    file = subject.copy("affine")
    file.write_bytes(b"")
    _refused(subject, file, ErrorCode.DATA_LOSS, "load of an empty file")


@check(
    "model-files.truncated",
    isolated=True,
    fix=_VERIFY,
    why=_CODES + "dlopen of a library that is cut short kills the process with SIGBUS.",
)
def truncated(subject: Subject) -> None:
    """A model file that is cut short, to a half, nine tenths or by a few bytes, is DATA_LOSS, which names the path."""
    whole = subject.copy("multi-io", "whole").read_bytes()
    for number, size in enumerate((len(whole) // 2, len(whole) * 9 // 10, len(whole) - 3)):
        file = subject.copy("multi-io", f"cut{number}")
        file.write_bytes(whole[:size])
        _refused(subject, file, ErrorCode.DATA_LOSS, f"load of the first {size} of {len(whole)} bytes")


@check(
    "model-files.corrupted",
    isolated=True,
    fix=_VERIFY,
    why=_CODES + "Damaged machine code kills the process with SIGILL or SIGSEGV, minutes later.",
)
def corrupted(subject: Subject) -> None:
    """A model file whose middle is overwritten with random bytes is DATA_LOSS, which names the path."""
    for seed in range(3):
        file = subject.copy("multi-io", f"damaged{seed}")
        content = bytearray(file.read_bytes())
        quarter = len(content) // 4
        content[quarter : 3 * quarter] = np.random.default_rng(seed).bytes(2 * quarter)
        file.write_bytes(content)
        _refused(subject, file, ErrorCode.DATA_LOSS, "load of a file with random bytes in its middle")


@check(
    "model-files.one-byte-damaged",
    isolated=True,
    fix=_VERIFY,
    why="One flipped byte may land in a weight, in a table of offsets or in code: an answer or an error, but no "
    "crash, for other models live in the process.",
)
def one_byte_damaged(subject: Subject) -> None:
    """A model file with one byte flipped, anywhere, gives Results: at load and, if it loads, at execute."""
    size = subject.copy("affine", "whole").stat().st_size
    for position in np.random.default_rng(5).integers(0, size, 12):
        file = subject.copy("affine", f"flipped{position}")
        content = bytearray(file.read_bytes())
        content[position] ^= 0x55
        file.write_bytes(content)
        backend = subject.fresh()
        loaded = backend.load(file)
        verdict.that(hasattr(loaded, "is_ok"), f"load with byte {position} flipped did not return a Result")
        if isinstance(loaded, Ok):
            result = backend.execute(ExecutionRequest(inputs=subject.inputs("affine")))
            verdict.that(hasattr(result, "is_ok"), f"execute with byte {position} flipped did not return a Result")
        backend.unload()


@check(
    "model-files.zeroed",
    isolated=True,
    fix=_VERIFY,
    why="A file of the right size, all zeros, is what a crash leaves of a file that was not synced.",
)
def zeroed(subject: Subject) -> None:
    """A model file of zeros is DATA_LOSS or INVALID_ARGUMENT."""
    file = subject.copy("affine")
    file.write_bytes(bytes(file.stat().st_size))
    _refused(subject, file, (ErrorCode.DATA_LOSS, ErrorCode.INVALID_ARGUMENT), "load of a file of zeros")


@check(
    "model-files.other-format",
    isolated=True,
    fix="Look at the first bytes in `_load` (`known_format` helps) and "
    "raise INVALID_ARGUMENT that names what the file is.",
    why=_CODES + "A picture, a checkpoint or a Git LFS pointer in place of a model is a wrong path, not damage.",
)
def other_format(subject: Subject) -> None:
    """A picture, an archive, a document, a pickle or a text with the model's name is INVALID_ARGUMENT."""
    name = subject.model("affine").name
    noise = np.random.default_rng(3).bytes(400)
    heads = {
        "a PNG picture": b"\x89PNG\r\n\x1a\n",
        "a ZIP archive": b"PK\x03\x04",
        "a PDF document": b"%PDF-1.7\n",
        "a pickle": b"\x80\x04\x95",
        "a GGUF model": b"GGUF\x03\0\0\0",
        "an HDF5 file": b"\x89HDF\r\n\x1a\n",
    }
    contents = {what: head + noise for what, head in heads.items()}
    contents["a Git LFS pointer"] = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    contents["a text"] = b"hello, I am not a model\n" * 4
    for number, (what, content) in enumerate(contents.items()):
        folder = subject.scratch / f"other{number}"
        folder.mkdir()
        (folder / name).write_bytes(content)
        _refused(subject, folder / name, ErrorCode.INVALID_ARGUMENT, f"load of {what}")


@check(
    "model-files.unreadable",
    isolated=True,
    why=_CODES + "Wrong ownership in a container image is the usual cause.",
    fix=_BASE,
)
def unreadable(subject: Subject) -> None:
    """A file that this process may not read is PERMISSION_DENIED, which names the path."""
    file = subject.copy("affine")
    subject.serves(subject.loaded())
    file.chmod(0)
    try:
        with _without_root(file):
            _refused(subject, file, ErrorCode.PERMISSION_DENIED, "load of an unreadable file")
    finally:
        file.chmod(0o600)


@check(
    "model-files.odd-path",
    why="Users' folders have spaces, umlauts and ideographs; C APIs take bytes.",
    fix="Hand the engine `os.fsencode(path)`, or the file's content if its API cannot take the path.",
)
def odd_path(subject: Subject) -> None:
    """A model loads from a path with spaces, quotes and non-ASCII letters, given as str and as Path."""
    file = subject.copy("affine", 'it\'s a "wörd" 模型 %s {x}')
    for path in (file, str(file)):
        backend = subject.fresh()
        verdict.ok(backend.load(path), f"load of {path}")
        subject.serves(backend)


@check(
    "model-files.left-unchanged",
    why="Model stores are read-only, shared and pinned by digest.",
    fix="Write caches to a cache folder, never beside the model.",
)
def left_unchanged(subject: Subject) -> None:
    """`load`, `execute` and `unload` write nothing to the model's file or folder."""
    file = subject.copy("affine", "store")
    before = _contents(file.parent)
    backend = subject.fresh()
    verdict.ok(backend.load(file), "load")
    subject.serves(backend)
    verdict.ok(backend.unload(), "unload")
    after = _contents(file.parent)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    verdict.that(not changed, f"the model's folder was changed: {', '.join(changed)}")


def _refused(subject: Subject, path: Path, codes: ErrorCode | tuple[ErrorCode, ...], what: str) -> None:
    error = verdict.refused(subject.fresh().load(path), codes, what)
    verdict.that(str(path) in str(error), f"{what}: the error does not name {path}: {error}")


def _contents(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(file.relative_to(folder)): (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns)
        for file in folder.rglob("*")
        if file.is_file()
    }


@contextlib.contextmanager
def _without_root(file: Path) -> Iterator[None]:
    """Drop root's right to read everything inside the block; this runs in a process of its own."""
    if sys.platform == "win32":
        raise verdict.Skipped("this system has no file modes")
    if os.geteuid() != 0:
        yield
        return
    for folder in file.parents:
        if (
            folder.stat().st_uid == 0
            and not folder.stat().st_mode & stat.S_IXOTH
            and folder.is_relative_to(file.parents[2])
        ):
            folder.chmod(0o755)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
