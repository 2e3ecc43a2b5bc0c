"""Wire to values and back: KServe v1, the Open Inference Protocol over REST, and over gRPC."""
