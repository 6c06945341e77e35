"""Defects of reading a model file."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

from aegisrt.backends.mock import MockBackend
from aegisrt.core.result import Err, Error, ErrorCode, Ok
from tests.conformance.defects.defect import defect
from tests.conformance.defects.seams import Refusing


class Recoding(Refusing):
    """Answers one code instead of another."""

    CODES: dict[ErrorCode, ErrorCode]

    def refuse_load(self, error, path):
        return replace(error, code=self.CODES.get(error.code, error.code))


@defect("model-files.missing", "which is not there: wanted NOT_FOUND, got INTERNAL")
class MissingIsInternal(Recoding):
    CODES = {ErrorCode.NOT_FOUND: ErrorCode.INTERNAL}  # noqa: RUF012


@defect("model-files.missing", "load of below, which is not there: wanted NOT_FOUND, got INTERNAL")
class MissingBelowAFileIsInternal(Refusing):
    def refuse_load(self, error, path):
        return replace(error, code=ErrorCode.INTERNAL) if Path(path).parent.is_file() else error


@defect("model-files.missing", "the error does not name")
class DoesNotNameThePath(Refusing):
    def refuse_load(self, error, path):
        return replace(error, message="no such file", hint=None, cause=None)


@defect("model-files.directory", "load of a directory: wanted INVALID_ARGUMENT, got INTERNAL")
class DirectoryIsInternal(Refusing):
    def refuse_load(self, error, path):
        return replace(error, code=ErrorCode.INTERNAL) if Path(path).is_dir() else error


@defect("model-files.directory", "load of a directory: wanted INVALID_ARGUMENT, got Ok")
class LoadsTheFirstFileOfAFolder(MockBackend):
    def load(self, path):
        if isinstance(path, Path) and path.is_dir():
            return Ok(None)
        return super().load(path)


@defect("model-files.no-path", "an exception was raised instead of a returned Result: TypeError")
class TrustsThePath(MockBackend):
    def load(self, path):
        return super().load(Path(path))


@defect("model-files.empty", "load of an empty file: wanted DATA_LOSS, got INVALID_ARGUMENT")
class EmptyIsAWrongArgument(Recoding):
    CODES = {ErrorCode.DATA_LOSS: ErrorCode.INVALID_ARGUMENT}  # noqa: RUF012


class Damaged(MockBackend):
    """Passes the answer DATA_LOSS of a load through `damaged`."""

    def load(self, path):
        result = super().load(path)
        lost = isinstance(result, Err) and result.error.code is ErrorCode.DATA_LOSS
        return self.damaged(path, result) if lost else result

    def damaged(self, path, result):
        return result


def die(number):
    os.kill(os.getpid(), number)


@defect("model-files.truncated", "the process died of SIGBUS: in `die` at model_files.py")
class MapsACutFile(Damaged):
    def damaged(self, path, result):
        return die(signal.SIGBUS)


@defect("model-files.truncated", "bytes: wanted DATA_LOSS, got Ok")
class LoadsWhatThereIs(Damaged):
    def damaged(self, path, result):
        return Ok(None)


@defect("model-files.truncated", "bytes: wanted DATA_LOSS, got INTERNAL")
class LooksAtTheFirstHalf(Damaged):
    """Detects a file that is cut in half, and not one that lacks less."""

    def damaged(self, path, result):
        half = "half" if path.stat().st_size < 600 else "more"
        return result if half == "half" else Err(replace(result.error, code=ErrorCode.INTERNAL))


@defect("model-files.corrupted", "the process died of SIGILL: in `die` at model_files.py")
class RunsDamagedCode(Damaged):
    def damaged(self, path, result):
        return die(signal.SIGILL) if self.is_whole(path) else result

    def is_whole(self, path):
        return path.read_bytes().rstrip().endswith(b"}")


@defect("model-files.corrupted", "load of a file with random bytes in its middle: wanted DATA_LOSS, got Ok")
class LooksAtBothEnds(RunsDamagedCode):
    def damaged(self, path, result):
        return Ok(None) if self.is_whole(path) else result


@defect("model-files.one-byte-damaged", "the process died of SIGABRT: in `die` at model_files.py")
class AbortsAtAFlippedByte(Damaged):
    def damaged(self, path, result):
        return die(signal.SIGABRT)


@defect("model-files.one-byte-damaged", "flipped did not return a Result")
class AnswersNothingForAFlippedByte(Damaged):
    def damaged(self, path, result):
        return None


@defect("model-files.zeroed", "load of a file of zeros: wanted DATA_LOSS or INVALID_ARGUMENT, got Ok")
class ZerosAreAModel(MockBackend):
    def load(self, path):
        zeros = isinstance(path, Path) and path.is_file() and not path.read_bytes().strip(b"\0")
        return Ok(None) if zeros and path.stat().st_size else super().load(path)


@defect("model-files.zeroed", "the process died of SIGFPE: in `die` at model_files.py")
class DividesByASizeOfZero(Damaged):
    def load(self, path):
        return die(signal.SIGFPE) if path.read_bytes()[:8] == bytes(8) else super().load(path)


@defect("model-files.other-format", "load of a PNG picture: wanted INVALID_ARGUMENT, got DATA_LOSS")
class EveryOtherFormatIsDamage(Recoding):
    CODES = {ErrorCode.INVALID_ARGUMENT: ErrorCode.DATA_LOSS}  # noqa: RUF012


@defect("model-files.other-format", "load of a pickle: wanted INVALID_ARGUMENT, got Ok")
class LoadsPickles(MockBackend):
    def load(self, path):
        pickled = Path(path).is_file() and Path(path).read_bytes()[:1] == b"\x80"
        return Ok(None) if pickled else super().load(path)


@defect("model-files.unreadable", "load of an unreadable file: wanted PERMISSION_DENIED, got INTERNAL")
class UnreadableIsInternal(Recoding):
    CODES = {ErrorCode.PERMISSION_DENIED: ErrorCode.INTERNAL}  # noqa: RUF012


@defect("model-files.unreadable", "load of an unreadable file: wanted PERMISSION_DENIED, got NOT_FOUND")
class UnreadableIsMissing(Recoding):
    CODES = {ErrorCode.PERMISSION_DENIED: ErrorCode.NOT_FOUND}  # noqa: RUF012


@defect("model-files.odd-path", "wanted Ok, got INVALID_ARGUMENT")
class TakesAsciiPathsAlone(MockBackend):
    def _load(self, path):
        str(path).encode("ascii")
        return super()._load(path)


@defect("model-files.odd-path", "an exception was raised instead of a returned Result: AttributeError")
class TakesPathsAlone(MockBackend):
    def load(self, path):
        return super().load(path.absolute())


@defect("model-files.left-unchanged", "the model's folder was changed: affine.mock.json.cache")
class WritesACacheBesideTheModel(MockBackend):
    def _load(self, path):
        path.with_name(f"{path.name}.cache").write_bytes(b"optimized")
        return super()._load(path)


@defect("model-files.left-unchanged", "the model's folder was changed: affine.mock.json")
class TouchesTheModel(MockBackend):
    def load(self, path):
        result = super().load(path)
        os.utime(path)  # not before: a load notices a file that changes under it
        return result


class Failing(MockBackend):
    """Calls `failed` after a load that failed."""

    def load(self, path):
        before = self.signature
        result = super().load(path)
        if isinstance(result, Err):
            self.failed(before)
        return result

    def failed(self, before):
        pass


@defect("model-files.failed-load-keeps-the-model", "file failed: wanted NOT_LOADED, got INTERNAL")
class IsBrokenByAFailedLoad(Failing):
    broken = False

    def failed(self, before):
        self.broken = True

    def execute(self, request):
        return Err(Error(ErrorCode.INTERNAL, "broken")) if self.broken else super().execute(request)


@defect("model-files.failed-load-keeps-the-model", "it serves, and its signature is None")
class LosesItsSignatureInAFailedLoad(Failing):
    lost = False

    def failed(self, before):
        self.lost = True

    @property
    def signature(self):
        return None if self.lost else super().signature


@defect("model-files.failed-load-keeps-the-model", "nothing is loaded, and its signature is not None")
class KeepsTheSignatureAlone(Failing):
    kept = None

    def failed(self, before):
        self.unload()
        self.kept = before

    @property
    def signature(self):
        return self.kept or super().signature


@defect("model-files.failed-load-leaves-nothing", "load of a good file after a failed load: wanted Ok, got")
class NeverRecovers(Failing):
    poisoned = False

    def failed(self, before):
        self.poisoned = True

    def _load(self, path):
        if self.poisoned:
            raise RuntimeError("the context is corrupted")
        return super()._load(path)


@defect("model-files.failed-load-leaves-nothing", "wanted NOT_LOADED, got FAILED_PRECONDITION")
class SaysWhatFailedForEver(Failing):
    why = None

    def failed(self, before):
        self.why = Error(ErrorCode.FAILED_PRECONDITION, "the load failed")

    def execute(self, request):
        return Err(self.why) if self.why else super().execute(request)


@defect("model-files.failed-load-leaks-nothing", "failed loads leave files open")
class LeavesFilesOpen(Failing):
    def failed(self, before):
        type(self).open_files = [*getattr(self, "open_files", [])[-400:], os.dup(2)]


@defect("model-files.failed-load-leaks-nothing", "failed loads leave threads running")
class LeavesThreadsRunning(Failing):
    threads = 0

    def failed(self, before):
        if self.threads < 100:
            type(self).threads += 1
            threading.Thread(target=threading.Event().wait, daemon=True).start()


@defect("model-files.failed-load-leaks-nothing", "failed loads leak: Python holds")
class RemembersWhatFailed(Failing):
    history = []  # noqa: RUF012

    def failed(self, before):
        self.history.append(object())


@defect("model-files.failed-load-leaks-nothing", "failed loads leak: resident memory grew")
class KeepsTheFailedBytes(Failing):
    kept = bytearray()

    def failed(self, before):
        self.kept.extend(b"x" * 300_000)
