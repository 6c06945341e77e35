"""The memory that an execution context works in, where several contexts that never run at once share one piece of it.

https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html#cuda-graphs
"""

from __future__ import annotations

from typing import Any

from aegisrt.devices.cuda.memory import DeviceBuffer


def scratch_bytes(engine: Any) -> int:
    """Return how much one context of an `ICudaEngine` needs, whichever profile it is at."""
    newer = hasattr(engine, "device_memory_size_v2")  # from 10.1 on; TensorRT 11 has no other
    return int(engine.device_memory_size_v2 if newer else engine.device_memory_size)


def context_over(trt: Any, engine: Any, memory: DeviceBuffer) -> Any:
    """Return a new `IExecutionContext` that works in `memory`, or None where TensorRT makes none."""
    kinds = getattr(trt, "ExecutionContextAllocationStrategy", None)  # from 10.0 on
    if kinds is not None:
        context = engine.create_execution_context(kinds.USER_MANAGED)
    else:
        context = engine.create_execution_context_without_device_memory()
    if context is None:
        return None
    if hasattr(context, "set_device_memory"):
        context.set_device_memory(memory.pointer, memory.size_bytes)
    else:
        context.device_memory = memory.pointer
    return context
