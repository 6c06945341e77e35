"""`ArtifactCache`: engine files by the content that they were built from.

An entry is a folder that is renamed into place when it is complete: a builder that is killed leaves no entry, or a
complete one. A lock for each key makes concurrent builders build once; the system releases it when its holder dies.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

from filelock import FileLock, Timeout

from aegisrt.artifacts.entry import STEM, CacheEntry
from aegisrt.artifacts.location import cache_root, make_root, refuse_file
from aegisrt.artifacts.privacy import FILE_MODE, FOLDER_MODE, check_entry, make_private
from aegisrt.core.fresh_file import fresh_file
from aegisrt.core.result import Error, ErrorCode, ResultError, fail
from aegisrt.core.shown.log import Log
from aegisrt.core.sidecar import VerifiedFile

Policy: TypeAlias = Literal["rebuild", "fail"]
Progress: TypeAlias = Callable[[str], None]

_KEY_LENGTH = 64
_RECORDS = ".records"
"""Ending of files that a backend keeps between builds, such as the records of a search."""
_log = Log(__name__)


class ArtifactCache:
    """One folder of engine files, shared by all processes of a user. Thread-safe."""

    def __init__(self, root: Path | None = None) -> None:
        """Use the folder `root`, by default `cache_root()`; nothing is created or read yet."""
        self.root = root or cache_root()
        self._entries = self.root / "artifacts"
        self._locks = self.root / "locks"
        self._logs = self.root / "logs"

    def get(
        self,
        key: str,
        suffix: str,
        make: Callable[[Path], None],
        *,
        force: bool = False,
        on_damage: Policy = "rebuild",
        progress: Progress | None = None,
    ) -> tuple[VerifiedFile, bool]:
        """Return the verified file of `key`, and whether `make(path)` was called for it.

        `make` writes the file and its sidecar; its exceptions are passed on.
        DATA_LOSS: if the entry is damaged and the policy is to fail.
        PERMISSION_DENIED: if other users can write to the cache.
        """
        make_root(self.root)
        if not force:
            found = self._verified(key, on_damage)
            if found is not None:
                return found, False
        with self._lock(key, progress):
            # Another process may have built it while this one waited.
            found = None if force else self._verified(key, on_damage)
            if found is not None:
                return found, False
            return self._build(key, suffix, make), True

    def contains(self, path: Path) -> bool:
        """Return whether `path` is the file of one of this cache's entries, and is unchanged since it was built."""
        folder = path.resolve().parent
        if folder.parent != self._entries.resolve():
            return False
        make_root(self.root)
        try:
            check_entry(self.root.resolve(), folder)
        except FileNotFoundError:
            return False
        return CacheEntry(folder).damage() is None and CacheEntry(folder).file() == path.resolve()

    def entries(self) -> list[CacheEntry]:
        """Return the entries, the most recently used first; damaged ones too.

        INVALID_ARGUMENT: if the cache is not a folder.
        """
        refuse_file(self.root)
        found = [CacheEntry(path) for path in self._folders() if len(path.name) == _KEY_LENGTH]
        return sorted(found, key=CacheEntry.last_used_s, reverse=True)

    def prune(self, *, max_bytes: int | None = None, max_age_s: float | None = None) -> list[CacheEntry]:
        """Delete entries, and return them: damaged ones, those not used for `max_age_s`, then the least recently used.

        It stops when the rest has at most `max_bytes`. An entry that is being built stays.
        """
        kept_bytes, now, gone = 0, time.time(), []
        for entry in self.entries():
            size = entry.size_bytes()
            too_old = max_age_s is not None and now - entry.last_used_s() > max_age_s
            too_much = max_bytes is not None and kept_bytes + size > max_bytes
            if (too_old or too_much or entry.damage()) and self._delete(entry):
                gone.append(entry)
            else:
                kept_bytes += size
        self._delete_leftovers()
        return gone

    def _folders(self) -> Iterator[Path]:
        if self._entries.is_dir():
            yield from (path for path in self._entries.iterdir() if path.is_dir())

    def _verified(self, key: str, on_damage: Policy) -> VerifiedFile | None:
        entry = CacheEntry(self._entries / key)
        if not entry.folder.is_dir():
            return None
        try:
            check_entry(self.root, entry.folder)
            file = entry.verified()
        except (ResultError, FileNotFoundError) as problem:
            if on_damage == "fail" and isinstance(problem, ResultError):
                raise
            _log.warning("a damaged cache entry is built again: %s", problem)
            return None
        entry.touch()
        return file

    def _build(self, key: str, suffix: str, make: Callable[[Path], None]) -> VerifiedFile:
        entry, building = CacheEntry(self._entries / key), self._building(key)
        _keep_records(entry.folder, building)
        file = building / f"{STEM}{suffix}"
        try:
            make(file)
            CacheEntry(building).file()
            make_private(building)
        except ResultError as problem:
            raise ResultError(self._with_log(problem, file, key)) from problem
        self._publish(building, entry.folder)
        check_entry(self.root, entry.folder)  # the folder of all entries may be one that others can write to
        try:
            return entry.just_built()
        except ResultError as problem:  # its key differs from the one asked for
            self._remove(entry.folder)
            message = f"the built engine file does not match the request: {problem.error.message}"
            hint = "the model's file changed during the build: try again"
            raise fail(ErrorCode.FAILED_PRECONDITION, message, hint) from None

    def _publish(self, building: Path, target: Path) -> None:
        if target.exists():
            self._remove(target)
        building.rename(target)

    def _remove(self, folder: Path) -> None:
        """Delete a folder; it is renamed first, so that no other process mistakes a part of it for an entry."""
        hidden = folder.with_name(f".gone-{folder.name}-{time.time_ns()}")
        folder.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)

    def _building(self, key: str) -> Path:
        return self._entries / f".building-{key}"

    def _with_log(self, problem: ResultError, file: Path, key: str) -> Error:
        """Copy the build's log to a place that stays, and return the error with that path."""
        log = file.with_name(f"{file.name}.log")
        if not log.exists():
            return problem.error
        self._logs.mkdir(exist_ok=True, mode=FOLDER_MODE)
        kept = self._logs / f"{key}.log"
        with fresh_file(kept) as fresh:
            shutil.copyfile(log, fresh)
            fresh.chmod(FILE_MODE)
        return replace(problem.error, log=str(kept))

    @contextmanager
    def _lock(self, key: str, progress: Progress | None) -> Iterator[None]:
        lock = self._lock_of(key)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if progress is not None:
                progress("waiting for another process that builds it")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _lock_of(self, key: str) -> FileLock:
        self._locks.mkdir(exist_ok=True, mode=FOLDER_MODE)
        return FileLock(self._locks / f"{key}.lock", mode=FILE_MODE)

    def _delete(self, entry: CacheEntry) -> bool:
        try:
            with self._lock_of(entry.key).acquire(timeout=0):
                self._remove(entry.folder)
        except (Timeout, OSError):
            return False
        return True

    def _delete_leftovers(self) -> None:
        """Delete the leftovers of killed builders, and the logs of failed builds."""
        shutil.rmtree(self._logs, ignore_errors=True)
        for folder in list(self._folders()):
            if folder.name.startswith(".gone-"):
                shutil.rmtree(folder, ignore_errors=True)
            elif folder.name.startswith(".building-"):
                key = folder.name.removeprefix(".building-")
                try:
                    with self._lock_of(key).acquire(timeout=0):
                        shutil.rmtree(folder, ignore_errors=True)
                except (Timeout, OSError):
                    continue


def _keep_records(old: Path, building: Path) -> None:
    """Empty the folder to build in, except for records: those of a killed builder, or else of the entry to replace."""
    building.parent.mkdir(exist_ok=True, mode=FOLDER_MODE)
    building.mkdir(exist_ok=True, mode=FOLDER_MODE)
    for path in building.iterdir():
        if not path.name.endswith(_RECORDS):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if not any(building.iterdir()) and old.is_dir():
        for path in old.glob(f"*{_RECORDS}"):
            shutil.copytree(path, building / path.name)
