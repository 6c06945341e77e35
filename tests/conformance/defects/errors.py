"""Defects of errors as users meet them."""

from __future__ import annotations

import threading
from dataclasses import replace

from aegisrt.backends.mock import MockBackend
from aegisrt.core.result import Err
from tests.conformance.defects.defect import defect
from tests.conformance.defects.seams import Answering, Refusing


@defect("errors.stable", "no inputs: at first")
class CountsItsErrors(Answering):
    errors = 0

    def refuse(self, error):
        type(self).errors += 1
        return replace(error, message=f"{error.message} (error {self.errors})") if self.signature else error


@defect("errors.stable", "load of affine.mock.json: at first")
class AnotherCodeEachTime(Refusing):
    def refuse_load(self, error, path):
        codes = ("INTERNAL", "DATA_LOSS")
        type(self).turn = 1 - getattr(self, "turn", 0)
        return replace(error, code=type(error.code)(codes[self.turn])) if path.suffix == ".json" else error


@defect("errors.useful", "there is a memory address in")
class TellsAddresses(Answering):
    def refuse(self, error):
        return replace(error, message=f"{error.message} in {object()!r}")


@defect("errors.useful", "the message has several lines")
class TellsTheTraceback(Refusing):
    def refuse_load(self, error, path):
        return replace(error, message=f"Traceback (most recent call last):\n{error.message}")


@defect("errors.useful", "the message is ''")
class TellsNothing(Answering):
    def refuse(self, error):
        return replace(error, message="")


@defect("errors.useful", "the code is 13, not an ErrorCode")
class TellsANumber(Answering):
    def refuse(self, error):
        return replace(error, code=13)


@defect("errors.useful", "characters")
class TellsEverything(Answering):
    def refuse(self, error):
        return replace(error, message=error.message + ", while executing the model" * 100)


@defect("errors.pickle", "an exception was raised instead of a returned Result: TypeError: cannot pickle")
class PutsALockInTheError(Answering):
    def refuse(self, error):
        return replace(error, cause=threading.Lock())


@defect("errors.pickle", "an exception was raised instead of a returned Result: TypeError: cannot pickle")
class PutsALockInTheMetadata(MockBackend):
    def _metadata(self, engine):
        return {"session": threading.Lock()}


@defect("errors.pickle", "changes when pickled")
class PutsAnObjectInTheError(Answering):
    def refuse(self, error):
        return replace(error, cause=Opaque())


class Opaque:
    """Can be pickled, and is equal only to itself."""


@defect("errors.serve-on", "after 10 failed calls")
class IsPoisonedByErrors(Answering):
    failed = 0

    def refuse(self, error):
        self.failed += 1
        return error

    def answer(self, result):
        late = self.failed >= 10
        outputs = {name: value + 1 for name, value in result.outputs.items()} if late else result.outputs
        return replace(result, outputs=outputs)


@defect("errors.serve-on", "did not return within 2 s", time_limit_s=2.0)
class LosesAnInstanceAtEachError(MockBackend):
    """A refused call does not release its slot; after the last slot the next call waits forever."""

    def execute(self, request):
        result, loaded = super().execute(request), self._loaded
        if isinstance(result, Err) and loaded and loaded.free:
            del loaded.free[0]
        return result
