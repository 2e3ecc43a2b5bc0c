"""What a user hands to packaging: an ONNX file, a PyTorch network or program, an MLflow model."""
