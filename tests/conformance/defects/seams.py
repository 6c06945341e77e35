"""The mock with hooks for defects: each class is correct until a subclass overrides its hook."""

from __future__ import annotations

from dataclasses import replace

from aegisrt.backends.mock import MockBackend
from aegisrt.core.result import Err, Ok


class Altering(MockBackend):
    """Passes each output array through `alter`."""

    def _execute(self, slot, inputs, outputs):
        return [self.alter(value) for value in super()._execute(slot, inputs, outputs)]

    def alter(self, value):
        return value


class Lenient(MockBackend):
    """Passes inputs through `take` before they are checked."""

    def _make(self, path):
        loaded = super()._make(path)
        strict = loaded.check
        loaded.check = lambda inputs: strict(self.take(inputs, loaded.signature))
        return loaded

    def take(self, inputs, signature):
        return inputs


class Unchecked(Lenient):
    """Gives what `take` returns to the engine, unchecked."""

    def _make(self, path):
        loaded = super()._make(path)
        loaded.check = lambda inputs: self.take(inputs, loaded.signature)
        return loaded


class Answering(MockBackend):
    """Passes requests through `ask`, results through `answer`, and errors of calls through `refuse`."""

    def execute(self, request):
        result = super().execute(self.ask(request))
        return Ok(self.answer(result.value)) if isinstance(result, Ok) else Err(self.refuse(result.error))

    def ask(self, request):
        return request

    def answer(self, result):
        return result

    def refuse(self, error):
        return error


class Describing(MockBackend):
    """Passes each tensor of the signature through `describe`."""

    def _signature(self, engine):
        signature = super()._signature(engine)
        inputs, outputs = (
            tuple(self.describe(spec) for spec in side) for side in (signature.inputs, signature.outputs)
        )
        return replace(signature, inputs=inputs, outputs=outputs)

    def describe(self, spec):
        return spec


class Refusing(MockBackend):
    """Passes the error of a failed load, with the path, through `refuse_load`."""

    def load(self, path):
        result = super().load(path)
        return Err(self.refuse_load(result.error, path)) if isinstance(result, Err) else result

    def refuse_load(self, error, path):
        return error
