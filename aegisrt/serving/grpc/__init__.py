"""The Open Inference Protocol over gRPC, on grpcio."""
