"""Networks that come as an `.onnx` or a `.tflite` file."""
