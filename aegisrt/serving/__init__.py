"""`aegisrt serve`: a deployment behind the Open Inference Protocol, over HTTP and gRPC."""
