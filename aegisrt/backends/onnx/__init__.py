"""ONNX models on ONNX Runtime."""

from aegisrt.backends.onnx.backend import ONNXBackend as ONNXBackend
