"""ONNX to a shared library, in a child process."""
