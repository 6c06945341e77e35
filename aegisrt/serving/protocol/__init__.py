"""The Open Inference Protocol, version 2, as pure functions: bytes to requests, and answers to bytes.

https://github.com/kserve/open-inference-protocol, and the extensions of Triton, https://github.com/triton-inference-server
/server/tree/main/docs/protocol. Nothing here has a socket or a thread, and all of it stands on `aegisrt.core` alone.
"""
