"""ONNX to an engine file, in a child process."""
