"""Files: networks as safetensors, ONNX, PyTorch."""
