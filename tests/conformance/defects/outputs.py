"""Defects of outputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aegisrt.backends.mock import MockBackend
from tests.conformance.defects.defect import defect
from tests.conformance.defects.seams import Altering, Answering


@defect("outputs.several-in-order", "output `total` of `multi-io`")
class AnswersInAlphabeticalOrder(MockBackend):
    def _execute(self, slot, inputs, outputs):
        return super()._execute(slot, inputs, tuple(sorted(outputs)))


@defect("outputs.several-in-order", "wanted outputs ['total', 'counted', 'first'], got ['counted', 'first', 'total']")
class SortsTheOutputs(Answering):
    def answer(self, result):
        return replace(result, outputs=dict(sorted(result.outputs.items())))


@defect("outputs.subset", "outputs=['counted']: wanted outputs ['counted'], got ['total', 'counted', 'first']")
class AnswersAllOutputsAlways(Answering):
    def ask(self, request):
        return replace(request, outputs=None)


@defect("outputs.subset", "outputs=['first', 'total']: wanted outputs ['first', 'total'], got ['total', 'first']")
class AnswersASubsetInTheModelsOrder(Answering):
    def answer(self, result):
        names = [spec.name for spec in self.signature.outputs]
        few = len(result.outputs) < len(names)
        return replace(result, outputs=dict(sorted(result.outputs.items(), key=lambda one: few * names.index(one[0]))))


@defect("outputs.subset", "for all outputs after calls for a few")
class RemembersTheLastSubset(Answering):
    last = None

    def ask(self, request):
        self.last = request.outputs or self.last
        return replace(request, outputs=self.last)


@defect("outputs.all-by-name", "wanted outputs ['first', 'counted', 'total'], got ['total', 'counted', 'first']")
class TakesAllNamesForNone(Answering):
    def ask(self, request):
        every = request.outputs and len(request.outputs) == len(self.signature.outputs)
        return replace(request, outputs=None) if every else request


@defect("outputs.unknown", "outputs=['nothing']: wanted INVALID_ARGUMENT, got Ok")
class DropsUnknownOutputs(Answering):
    def ask(self, request):
        known = [spec.name for spec in self.signature.outputs]
        return replace(request, outputs=[name for name in request.outputs or () if name in known] or None)


@defect("outputs.unknown", "outputs='y': wanted INVALID_ARGUMENT, got Ok")
class TakesAStringForANameList(Answering):
    def ask(self, request):
        return replace(request, outputs=[request.outputs]) if isinstance(request.outputs, str) else request


@defect("outputs.unknown", "the error does not name it")
class DoesNotNameTheOutput(Answering):
    def refuse(self, error):
        return replace(error, message="bad output name", hint=None)


class Buffered(MockBackend):
    """Returns buffers that are used again after `DEPTH` calls of one slot."""

    DEPTH = 1

    def _execute(self, slot, inputs, outputs):
        values = super()._execute(slot, inputs, outputs)
        if not hasattr(slot, "ring"):
            slot.ring = [[np.empty_like(value) for value in values] for _ in range(self.DEPTH)]
        buffers = slot.ring[slot.calls % self.DEPTH]
        for buffer, value in zip(buffers, values, strict=True):
            buffer[...] = value
        return buffers


@defect("outputs.two-calls-share-no-memory", "share memory")
class AnswersInOneBuffer(Buffered):
    pass


@defect("outputs.two-calls-share-no-memory", "`total` of call 0 and `first` of call 0 share memory")
class AnswersOutOfOneBlock(MockBackend):
    """One call's outputs overlap in one block of memory."""

    def _execute(self, slot, inputs, outputs):
        values = super()._execute(slot, inputs, outputs)
        last = values[-1]
        return [last if value.shape == last.shape and value.dtype == last.dtype else value for value in values]


@defect("outputs.survive-the-next-call", "an output, looked at after seven more calls")
class AnswersInARingOfBuffers(Buffered):
    DEPTH = 3


@defect("outputs.survive-the-unload", "an output, looked at after the unload")
class FreesItsOutputsAtUnload(MockBackend):
    def _open(self, engine, stream):
        slot = super()._open(engine, stream)
        slot.given = []
        return slot

    def _execute(self, slot, inputs, outputs):
        values = super()._execute(slot, inputs, outputs)
        slot.given += values
        return values

    def _close(self, slot):
        for value in slot.given:
            value.fill(0)


@defect("outputs.share-no-memory-with-inputs", "output `y` of `identity-fp32` shares the memory of input `x`")
class AnswersTheInputItself(MockBackend):
    def _execute(self, slot, inputs, outputs):
        if [output.operation.kind for output in slot.outputs.values()] == ["identity"]:
            return list(inputs.values())
        return super()._execute(slot, inputs, outputs)


@defect("outputs.plain-arrays", "is read-only")
class AnswersReadOnly(Altering):
    def alter(self, value):
        value.flags.writeable = False
        return value


@defect("outputs.plain-arrays", "is not C-contiguous")
class AnswersInFortranOrder(Altering):
    def alter(self, value):
        return np.asfortranarray(value)


@defect("outputs.plain-arrays", "is not in native byte order")
class AnswersBigEndian(Altering):
    def alter(self, value):
        return value.astype(value.dtype.newbyteorder(">"))


@defect("outputs.plain-arrays", "is not aligned")
class AnswersUnaligned(Altering):
    def alter(self, value):
        moved = np.zeros(value.nbytes + 1, np.uint8)[1:].view(value.dtype).reshape(value.shape)
        moved[...] = value
        return moved


@defect("outputs.plain-arrays", "is a matrix, wanted numpy.ndarray")
class AnswersMatrices(Altering):
    def alter(self, value):
        return value.view(np.matrix) if value.ndim == 2 else value


@defect("outputs.plain-arrays", "is a list, wanted numpy.ndarray")
class AnswersLists(Altering):
    def alter(self, value):
        return value.tolist()


class Noisy(MockBackend):
    """Adds a value that is within every tolerance."""

    def _execute(self, slot, inputs, outputs):
        noise = np.float32(self.noise(slot))
        values = super()._execute(slot, inputs, outputs)
        return [value + noise if value.dtype == np.float32 else value for value in values]

    def noise(self, slot):
        return 0


@defect("outputs.deterministic", "differs in call 1 on the same inputs")
class AddsUpInAnyOrder(Noisy):
    def noise(self, slot):
        return slot.calls % 3 * 5e-7


@defect("outputs.deterministic", "differs in call 5 on the same inputs")
class ChoosesAnAlgorithmAtLoad(Noisy):
    loads = 0

    def _load(self, path):
        self.loads += 1
        return super()._load(path)

    def noise(self, slot):
        return self.loads * 5e-7
