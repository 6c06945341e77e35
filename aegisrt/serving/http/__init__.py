"""The Open Inference Protocol over HTTP: a raw ASGI application, and its listener on uvicorn."""
