"""The process of an isolated instance: loads one model, and answers requests until its parent hangs up.

Its arguments are three inherited descriptors: the connection, and the memory of inputs and of outputs.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.backends.base.description import availability_of
from aegisrt.backends.files.snapshot import DeployedFiles
from aegisrt.backends.isolation.arena import Arena, Layout
from aegisrt.core.options import BackendOptions
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import Err, Ok, Result, ResultError
from aegisrt.core.system_error import system_error
from aegisrt.core.tensor import Signature
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
    deployed: DeployedFiles | None = None
    """The files that have to be loaded; None for the first process, which answers them."""


@dataclass(frozen=True, slots=True)
class ReadyMessage:
    """The child's first answer: the model is loaded."""

    signature: Signature
    metadata: dict[str, Any]
    model_metadata: dict[str, str]
    memory_bytes: int | None
    deployed: DeployedFiles


@dataclass(frozen=True, slots=True)
class CallMessage:
    """One request; its tensors are in the arena of inputs."""

    inputs: Layout
    outputs: tuple[str, ...]


def main() -> None:
    """Serve the parent until it closes the connection."""
    control, inputs, outputs = (int(word) for word in sys.argv[1:4])
    _no_core_file()
    threading.Thread(target=_end_with_parent, args=(control,), daemon=True).start()
    connection: Connection[Any, Any] = Connection(control)
    reads, writes = Arena(inputs), Arena(outputs)
    try:
        job = connection.recv()
        backend: RuntimeBackend[Any] = job.backend(job.options, device=job.device, stream=job.stream)
        availability_of(job.backend, probe=True)  # imports the engine
        connection.recv()
        connection.send(_loaded(backend, job))
        while True:
            connection.send(_answer(backend, connection.recv(), reads, writes))
            if job.device.kind == "cuda" and is_lost(job.device.ordinal):
                os._exit(1)  # the next process can use the GPU again; this one cannot, once its context is lost
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _loaded(backend: RuntimeBackend[Any], job: Job) -> Result[ReadyMessage]:
    """Load the model, if its files are those that were deployed."""
    try:
        if job.deployed is not None:
            job.deployed.check()  # before: a library runs code while it is loaded
        backend.load(job.path).unwrap()
        loaded = backend._loaded
        assert loaded is not None
        deployed = job.deployed or DeployedFiles.of(loaded.files)
        deployed.check()  # after: it may have been replaced between the two; `load` notices a change while it runs
    except ResultError as failure:
        return Err(failure.error)
    memory = backend.memory()
    used = memory.value if isinstance(memory, Ok) else None
    return Ok(ReadyMessage(loaded.signature, loaded.metadata, loaded.model_metadata, used, deployed))


def _answer(backend: RuntimeBackend[Any], call: CallMessage, reads: Arena, writes: Arena) -> Result[Layout]:
    request = ExecutionRequest(inputs=reads.read(call.inputs, copy=False), outputs=call.outputs)
    result = backend.execute(request)
    if isinstance(result, Err):
        return result
    try:
        return Ok(writes.write(result.value.outputs))
    except (OSError, MemoryError, TypeError) as error:
        message = "the outputs cannot be written to the memory that the processes share"
        return Err(system_error(error, message).error)


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
