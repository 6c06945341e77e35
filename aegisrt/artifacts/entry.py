"""`CacheEntry`: one engine file in the cache, and whether it is unchanged since it was built."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.sidecar import Sidecar, VerifiedFile, read_sidecar, verified_file
from aegisrt.core.stamp import DIGESTS, Stamp
from aegisrt.core.system_error import is_exhausted

STEM = "model"


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A folder of the cache, named by the key of the file in it."""

    folder: Path

    @property
    def key(self) -> str:
        """Return the key: the folder's name."""
        return self.folder.name

    def file(self) -> Path:
        """Return the engine file.

        DATA_LOSS: if there is not exactly one.
        """
        found = [path for path in self.folder.glob(f"{STEM}.*") if len(path.suffixes) == 1]
        if len(found) != 1:
            raise fail(ErrorCode.DATA_LOSS, f"{self.folder} has no engine file", "delete it: `aegisrt artifacts prune`")
        return found[0]

    def sidecar(self) -> Sidecar:
        """Return the sidecar of the file.

        DATA_LOSS: if it is missing, damaged or belongs to another file.
        """
        file = self.file()
        sidecar = read_sidecar(file)
        if sidecar is None:
            raise fail(ErrorCode.DATA_LOSS, f"the sidecar of {file} is missing", "delete it: `aegisrt artifacts prune`")
        if sidecar.key != self.key:
            message = f"{file} was replaced: its sidecar has the key {sidecar.key[:12]}"
            raise fail(ErrorCode.DATA_LOSS, message, "delete it: `aegisrt artifacts prune`")
        return sidecar

    def verified(self) -> VerifiedFile:
        """Return the engine file; all of it is read, unless it was read before and has not changed since.

        DATA_LOSS: if a byte has changed since it was built.
        """
        return verified_file(self.file(), self.sidecar())

    def just_built(self) -> VerifiedFile:
        """Return the engine file that this process has built a moment ago: the digest in its sidecar is of its bytes.

        DATA_LOSS: if its sidecar belongs to another file.
        """
        file, sidecar = self.file(), self.sidecar()
        stamp = Stamp.read(file)
        time.sleep(stamp.unsettled_ns() / 1e9)
        DIGESTS.keep(stamp, sidecar.sha256)
        return verified_file(file, sidecar)

    def damage(self) -> str | None:
        """Return what is wrong with the entry, or None."""
        try:
            self.verified()
        except ResultError as problem:
            return problem.error.message
        except OSError as error:
            if is_exhausted(error):  # not damage of the entry, which `prune` would delete
                raise
            return str(error)
        return None

    def size_bytes(self) -> int:
        """Return the size of the entry's files."""
        total = 0
        for path in self.folder.rglob("*"):
            with suppress(FileNotFoundError):
                total += path.lstat().st_size
        return total

    def last_used_s(self) -> float:
        """Return when it was last loaded or built, in seconds since the epoch; 0 if it does not exist any more."""
        try:
            return self.folder.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def touch(self) -> None:
        """Record that it is used now; does nothing in a cache that may not be written."""
        with suppress(OSError):
            os.utime(self.folder)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as `aegisrt artifacts list --json` shows them."""
        plain: dict[str, Any] = {
            "key": self.key,
            "path": str(self.folder),
            "bytes": self.size_bytes(),
            "last_used_s": round(self.last_used_s()),
        }
        try:
            sidecar = self.sidecar()
        except ResultError as problem:
            return {**plain, "ok": False, "problem": problem.error.message}
        built = {name: sidecar.recipe.get(name) for name in ("backend", "engine", "options", "target")}
        plain |= {"file": str(self.file()), "model": sidecar.source["name"], **built, "created": sidecar.created}
        return {**plain, "ok": True, "problem": None}
