"""Models on Apache TVM."""

from aegisrt.backends.tvm.backend import TVMBackend as TVMBackend
