"""`ModelEndpoint`: one model as clients of the protocol see it."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor, ThreadPoolExecutor
from time import perf_counter_ns
from typing import Any, Literal

from aegisrt.core.request import ExecutionRequest, ExecutionResult
from aegisrt.core.result import Err, ErrorCode, Ok, Result, fail
from aegisrt.core.suggest import quoted
from aegisrt.core.tensor import Signature
from aegisrt.manifest.schema import ModelOptions
from aegisrt.runtime.context import ExecutionContext
from aegisrt.serving.counts import RequestCounts
from aegisrt.serving.dispatch import Dispatcher, Watch, mode_of
from aegisrt.serving.limits import retry_after_s
from aegisrt.serving.mailbox import Mailbox
from aegisrt.serving.protocol.description import ServedAs, model_config, model_metadata, statistics
from aegisrt.serving.protocol.inference import InferRequest

VERSION = "1"


class ModelEndpoint:
    """Answers requests for one model of a context. All methods belong to the loop's thread."""

    def __init__(self, context: ExecutionContext, model: str, mailbox: Mailbox, changes: Executor) -> None:
        """`changes` runs loads and unloads, which may take minutes: nothing else waits for its threads."""
        manifest = context.graph.manifest
        options: ModelOptions = manifest.models[model]
        backend = manifest.backends[options.backend]
        dispatch = manifest.server.dispatch
        mode = mode_of(
            options.dispatch or dispatch.mode,
            batched=options.batching is not None,
            isolated=backend.isolation == "process",
        )
        self.model = model
        self.name = options.served_name or model
        self.version = VERSION
        self.counts = RequestCounts()
        self._context = context
        self._changes = changes
        self._options = options
        self._kind: str = backend.kind
        self._find = context.finder(model)
        self.dispatcher = Dispatcher(self._find, mode, dispatch.inline_below_us, mailbox)

    @property
    def is_ready(self) -> bool:
        """Whether the model is loaded and takes requests."""
        return self._context.is_ready(self.model)

    async def change(self, change: Literal["load", "unload"]) -> None:
        """Load the model again, or unload it; requests are answered meanwhile.

        Raise ResultError as `ExecutionContext.load` and `unload` answer.
        """
        work = self._context.load if change == "load" else self._context.unload
        result = await asyncio.get_running_loop().run_in_executor(self._changes, work, self.model)
        result.unwrap()

    async def infer(
        self, request: InferRequest, timeout_ms: float | None, watch: Watch | None = None
    ) -> Result[ExecutionResult]:
        """Return the model's answer; `watch` is as in `Dispatcher.execute`.

        The errors of `ExecutionContext.execute`.
        """
        since_ns = perf_counter_ns()
        execution = ExecutionRequest(
            model=self.model,
            inputs=request.inputs,
            outputs=request.output_names,
            timeout_ms=timeout_ms,
            id=request.id,
            priority=request.priority,
            parameters=request.parameters,
        )
        answer = await self.dispatcher.execute(execution, watch)
        elapsed_ns = perf_counter_ns() - since_ns
        if isinstance(answer, Err):
            self.counts.failed(elapsed_ns)
        else:
            self.counts.succeeded(elapsed_ns, answer.value.timings, self._rows(answer.value))
        return answer

    def _rows(self, result: ExecutionResult) -> int:
        if self._options.batching is None:
            return 1
        first = next(iter(result.outputs.values()), None)
        return int(first.shape[0]) if first is not None and first.shape else 1

    def metadata(self) -> dict[str, Any]:
        """Return the metadata of the protocol; raise NOT_LOADED if the model is unloaded."""
        return model_metadata(self.name, (self.version,), self._kind, self._signature())

    def config(self) -> dict[str, Any]:
        """Return Triton's model configuration; raise NOT_LOADED if the model is unloaded."""
        options, batching = self._options, self._options.batching
        device = self._device()
        served = ServedAs(
            self.name,
            self._kind,
            self._signature(),
            options.instances,
            device.ordinal if device.kind == "cuda" else None,
            batching.max_batch_size if batching else 0,
            batching.preferred_batch_sizes if batching else (),
            batching.max_queue_delay_us if batching else 0,
        )
        return model_config(served)

    def statistics(self) -> dict[str, Any]:
        """Return the entry of the model in the protocol's statistics."""
        return statistics(self.name, self.version, self.counts.statistics(self._context.calls(self.model)))

    def retry_after_s(self) -> int:
        """Return after how many seconds a client that found the queue full may send its request again."""
        return retry_after_s(self._context.queued(self.model), self._find().mean_call_ns, self._options.instances)

    def _device(self) -> Any:
        node = next(node for node in self._context.graph.models if node.name == self.model)
        return self._context.graph.manifest.devices[node.device or "cpu"]

    def _signature(self) -> Signature:
        signature = self._context.signature(self.model)
        if signature is None:
            raise fail(ErrorCode.NOT_LOADED, f"model {quoted(self.name)} is not loaded")
        return signature


def endpoints(context: ExecutionContext, mailbox: Mailbox) -> Result[dict[str, ModelEndpoint]]:
    """Return the endpoint of each model, by its name in the manifest and by its `served_name`.

    ALREADY_EXISTS: if two models have one name.
    """
    found: dict[str, ModelEndpoint] = {}
    changes = ThreadPoolExecutor(1, "aegisrt-change")
    for model in context.models:
        endpoint = ModelEndpoint(context, model, mailbox, changes)
        for name in {model, endpoint.name}:
            if name in found:
                message = f"models `{found[name].model}` and `{model}` are both served as {quoted(name)}"
                return Err(fail(ErrorCode.ALREADY_EXISTS, message, "change `served_name` of one of them").error)
            found[name] = endpoint
    return Ok(found)
