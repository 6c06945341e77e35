"""The mock, opened at the places where defects are put in; each of these is sound until a subclass breaks it."""

from __future__ import annotations

from dataclasses import replace

from aegisrt.backends.mock import MockBackend
from aegisrt.core.result import Err, Ok


class Altering(MockBackend):
    """What the engine computes passes through `alter`, array by array."""

    def _execute(self, slot, inputs, outputs):
        return [self.alter(value) for value in super()._execute(slot, inputs, outputs)]

    def alter(self, value):
        return value


class Lenient(MockBackend):
    """Inputs pass through `take` before they are checked."""

    def _make(self, path):
        loaded = super()._make(path)
        strict = loaded.check
        loaded.check = lambda inputs: strict(self.take(inputs, loaded.signature))
        return loaded

    def take(self, inputs, signature):
        return inputs


class Unchecked(Lenient):
    """What `take` returns goes to the engine as it is."""

    def _make(self, path):
        loaded = super()._make(path)
        loaded.check = lambda inputs: self.take(inputs, loaded.signature)
        return loaded


class Answering(MockBackend):
    """Requests pass through `ask`, results through `answer`, errors of calls through `refuse`."""

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
    """Each tensor of the signature passes through `describe`."""

    def _signature(self, engine):
        signature = super()._signature(engine)
        inputs, outputs = (
            tuple(self.describe(spec) for spec in side) for side in (signature.inputs, signature.outputs)
        )
        return replace(signature, inputs=inputs, outputs=outputs)

    def describe(self, spec):
        return spec


class Refusing(MockBackend):
    """The error of a failed load passes through `refuse_load`, together with the path."""

    def load(self, path):
        result = super().load(path)
        return Err(self.refuse_load(result.error, path)) if isinstance(result, Err) else result

    def refuse_load(self, error, path):
        return error
