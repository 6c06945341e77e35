"""The process of an isolated instance: loads one model, and answers requests until its parent hangs up.

Its arguments are three inherited descriptors: the connection, and the memory of inputs and of outputs. It trusts its
parent, whose messages are pickled; its own answers are data that the parent checks (answers.py).
"""

from __future__ import annotations

import errno
import os
import pickle
import select
import socket
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.backends.base.description import availability_of
from aegisrt.backends.files.snapshot import DeployedFiles, Snapshot
from aegisrt.backends.isolation.answers import ReadyMessage, call_answer, error_answer, misfit, ready_answer
from aegisrt.backends.isolation.arena import Arena, Laid
from aegisrt.backends.isolation.channel import Channel
from aegisrt.backends.process.child import limit_growth
from aegisrt.core.options import BackendOptions
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import Error, ErrorCode, Ok, ResultError, fail
from aegisrt.core.stamp import DIGESTS, Stamp
from aegisrt.core.system_error import system_error
from aegisrt.core.tensor import Array, DataType
from aegisrt.devices.base import Device
from aegisrt.devices.cuda.context import is_lost

GRACE_S = 2.0
"""Seconds that a process may take to end after its parent has closed the connection."""
LOAD = "load"
"""The second message to the child. It imports the engine before: a spare process waits for this message."""


@dataclass(frozen=True, slots=True)
class Job:
    """The first message to the child: what to load."""

    backend: type[RuntimeBackend[Any]]
    options: BackendOptions
    device: Device
    stream: Any
    path: Path
    files: Snapshot
    """The model's files, before it is loaded."""
    known: dict[Stamp, str]
    """The digests that the parent knows: the child does not read these files to verify them."""
    deployed: DeployedFiles | None = None
    """The files that have to be loaded; None for the first process, which answers their digests."""


@dataclass(frozen=True, slots=True)
class CallMessage:
    """One request; its tensors are in the arena of inputs."""

    inputs: dict[str, Laid]
    outputs: tuple[str, ...]


def main() -> None:
    """Serve the parent until it closes the connection."""
    control, inputs, outputs = (int(word) for word in sys.argv[1:4])
    _no_core_file()
    threading.Thread(target=_end_with_parent, args=(control,), daemon=True).start()
    channel = Channel(socket.socket(fileno=control))
    reads = Arena(inputs)
    try:
        job: Job = pickle.loads(channel.receive())  # noqa: S301  (of the parent)
        backend: RuntimeBackend[Any] = job.backend(job.options, device=job.device, stream=job.stream)
        writes = Arena(outputs, fixed_bytes=job.options.isolation_output_bytes)
        availability_of(job.backend, probe=True)  # imports the engine
        if job.options.isolation_memory_bytes is not None:
            limit_growth(job.options.isolation_memory_bytes)
        channel.receive()
        channel.send(_loaded(backend, job))
        while True:
            call: CallMessage = pickle.loads(channel.receive())  # noqa: S301  (of the parent)
            channel.send(_answered(backend, call, reads, writes))
            if job.device.kind == "cuda" and is_lost(job.device.ordinal):
                os._exit(1)  # the next process can use the GPU again; this one cannot, once its context is lost
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _loaded(backend: RuntimeBackend[Any], job: Job) -> bytes:
    """Load the model, if its files are those that were deployed."""
    for stamp, digest in job.known.items():
        DIGESTS.keep(stamp, digest)
    try:
        if job.deployed is not None:
            job.deployed.check()  # before: a library runs code while it is loaded
        backend.load(job.path).unwrap()
        loaded = backend._loaded
        assert loaded is not None
        deployed = job.deployed or DeployedFiles.of(job.files)
        deployed.check()  # after: it may have been replaced between the two; `load` notices a change while it runs
    except ResultError as failure:
        return error_answer(_with_limit(failure.error, job.options))
    memory = backend.memory()
    used = memory.value if isinstance(memory, Ok) else None
    digests = () if job.deployed else tuple(deployed.digests[file] for file in job.files.present)
    return ready_answer(ReadyMessage(loaded.signature, loaded.metadata, loaded.model_metadata, used, digests))


def _answered(backend: RuntimeBackend[Any], call: CallMessage, reads: Arena, writes: Arena) -> bytes:
    try:
        return call_answer(writes.write(_outputs(backend, call, reads)))
    except ResultError as failure:
        return error_answer(_with_limit(failure.error, backend.options))
    except (OSError, MemoryError, TypeError) as error:
        message = "the outputs cannot be written to the memory that the processes share"
        known = system_error(error, message).error
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            return error_answer(replace(known, hint="raise `isolation_output_bytes`"))
        return error_answer(_with_limit(known, backend.options))


def _outputs(backend: RuntimeBackend[Any], call: CallMessage, reads: Arena) -> dict[str, Array]:
    inputs = dict(zip(call.inputs, reads.read(tuple(call.inputs.values()), copy=False), strict=True))
    outputs = backend.execute(ExecutionRequest(inputs=inputs, outputs=call.outputs)).unwrap().outputs
    wrong = _misfit(backend, outputs)
    if wrong is not None:
        raise fail(ErrorCode.FAILED_PRECONDITION, wrong, "declare it as the engine answers it")
    return outputs


def _with_limit(error: Error, options: BackendOptions) -> Error:
    """Return an error with the limit on memory in its hint, if it may be the reason."""
    limit = options.isolation_memory_bytes
    if error.code is not ErrorCode.RESOURCE_EXHAUSTED or limit is None:
        return error
    limited = f"its process may allocate {limit / 2**30:.3g} GiB: `isolation_memory_bytes`"
    return replace(error, hint=f"{error.hint}; {limited}" if error.hint else limited)


def _misfit(backend: RuntimeBackend[Any], outputs: dict[str, Array]) -> str | None:
    assert backend.signature is not None
    given = ((spec, outputs[spec.name]) for spec in backend.signature.outputs if spec.name in outputs)
    found = (misfit(spec, DataType.of(array.dtype), array.shape) for spec, array in given)
    return next((wrong for wrong in found if wrong is not None), None)


def _end_with_parent(control: int) -> None:
    """End the process when its parent has hung up, also if the engine hangs and `main` cannot notice."""
    watch = select.poll()
    watch.register(control, 0)  # POLLHUP is reported without asking for it
    watch.poll()
    time.sleep(GRACE_S)
    os._exit(1)


def _no_core_file() -> None:
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
