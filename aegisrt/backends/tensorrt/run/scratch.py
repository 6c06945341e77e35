"""Scratch memory of execution contexts: contexts that never run at once can share one piece.

https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html#cuda-graphs
"""

from __future__ import annotations

from typing import Any

from aegisrt.devices.cuda.memory import DeviceBuffer


def scratch_bytes(icuda_engine: Any) -> int:
    """Return the scratch memory of one context of an `ICudaEngine`, with any of its profiles."""
    newer = hasattr(icuda_engine, "device_memory_size_v2")  # from 10.1 on; TensorRT 11 has no other
    return int(icuda_engine.device_memory_size_v2 if newer else icuda_engine.device_memory_size)


def context_over(package: Any, icuda_engine: Any, memory: DeviceBuffer) -> Any:
    """Return a new `IExecutionContext` with `memory` as scratch memory, or None if TensorRT creates none."""
    kinds = getattr(package, "ExecutionContextAllocationStrategy", None)  # from 10.0 on
    if kinds is not None:
        context = icuda_engine.create_execution_context(kinds.USER_MANAGED)
    else:
        context = icuda_engine.create_execution_context_without_device_memory()
    if context is None:
        return None
    if hasattr(context, "set_device_memory"):
        context.set_device_memory(memory.pointer, memory.size_bytes)
    else:
        context.device_memory = memory.pointer
    return context
