"""Engines of TensorRT 8.6, 10 and 11, and of TensorRT for RTX."""

from aegisrt.backends.tensorrt.backend import TensorRTBackend as TensorRTBackend
