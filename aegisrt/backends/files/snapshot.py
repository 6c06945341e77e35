"""`Snapshot`: which files a model was loaded from, so that a change is noticed before other bytes are served.

Comparing stamps costs microseconds; the digest is computed only if they differ, or when a process of
`isolation: process` first has to record it. A file that is replaced by a rename gets another inode, and a model that
has it mapped keeps the old bytes. A file that is overwritten in place keeps its inode, and changes under the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aegisrt.backends.files.onnx import read_onnx
from aegisrt.backends.files.source import weights_file
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.sidecar import sidecar_path
from aegisrt.core.stamp import DIGESTS, Stamp, file_sha256
from aegisrt.core.system_error import system_error

RESTORE = "deploy again to serve the new file, or restore the old one; replace a model's file by a rename"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files of one model at one moment: its own, the sidecar, and external weights."""

    stamps: Mapping[Path, Stamp | None]

    @classmethod
    def of(cls, path: Path) -> Snapshot:
        """Return the snapshot of the model at `path`; reads no more than its header."""
        return cls({file: Stamp.of(file) for file in _files(path.absolute())})

    @property
    def present(self) -> list[Path]:
        """The files that existed."""
        return [file for file, stamp in self.stamps.items() if stamp is not None]

    def known_digests(self) -> dict[Stamp, str]:
        """Return the digests that this process has of these files already."""
        stamps = (stamp for stamp in self.stamps.values() if stamp is not None)
        return {stamp: digest for stamp in stamps if (digest := DIGESTS.known(stamp)) is not None}

    def changed(self) -> Path | None:
        """Return a file that differs from the snapshot, or None."""
        return next((file for file, stamp in self.stamps.items() if Stamp.of(file) != stamp), None)

    def overwritten(self) -> Path | None:
        """Return a file that was overwritten in place since the snapshot, or None."""
        for file, stamp in self.stamps.items():
            now = Stamp.of(file)
            if now is not None and stamp is not None and now.inode == stamp.inode and now[:3] != stamp[:3]:
                return file
        return None

    def refuse_change(self, doing: str) -> None:
        """Check that the files are those of the snapshot.

        DATA_LOSS: if one has changed while the model was being `doing`.
        """
        file = self.changed()
        if file is not None:
            message = f"{file} changed while the model was {doing}"
            raise fail(ErrorCode.DATA_LOSS, message, "try again; replace a model's file by a rename, in one step")


@dataclass(frozen=True, slots=True)
class DeployedFiles:
    """The files that a deployment loaded, with their digests: what later processes of it have to load too."""

    snapshot: Snapshot
    digests: Mapping[Path, str]

    @classmethod
    def of(cls, snapshot: Snapshot) -> DeployedFiles:
        """Return the files of a model that was loaded from `snapshot`, after reading all of them.

        DATA_LOSS: if one has changed since the snapshot.
        """
        digests = {file: _digest(file) for file in snapshot.present}
        snapshot.refuse_change("loaded")
        return cls(snapshot, digests)

    def known_digests(self) -> dict[Stamp, str]:
        """Return the digests by the stamps of the files."""
        stamps = self.snapshot.stamps
        return {stamp: digest for file, digest in self.digests.items() if (stamp := stamps[file]) is not None}

    def check(self) -> None:
        """Check that the files still have the content that was deployed.

        DATA_LOSS: if one has another; the message has both digests.
        NOT_FOUND: if one does not exist any more.
        """
        for file, digest in self.digests.items():
            if Stamp.of(file) == self.snapshot.stamps[file]:
                continue
            now = _digest(file)
            if now != digest:
                message = f"{file} is not the file that was deployed: its sha256 is {now}, and {digest} was deployed"
                raise fail(ErrorCode.DATA_LOSS, message, RESTORE)


def _digest(file: Path) -> str:
    try:
        if file.exists() and not file.is_file():  # a pipe beside the model would be waited for
            raise fail(ErrorCode.INVALID_ARGUMENT, f"{file} is not a regular file", "move it away")
        return file_sha256(file)
    except OSError as error:
        raise system_error(error, f"{file}, which was deployed, cannot be read", RESTORE) from None


def _files(path: Path) -> Iterator[Path]:
    yield path
    yield sidecar_path(path)
    names: tuple[str, ...] = ()
    try:
        if path.suffix.lower() == ".onnx":
            names = read_onnx(path).external_files
    except (ResultError, OSError):
        return  # the engine reports what is wrong with it
    for name in names:
        with suppress(ResultError):  # what is not a file that the model may name is neither waited for nor read
            yield weights_file(path, name)
