"""Read .tflite files that may be damaged or hostile, without TensorFlow and without a runtime."""

from pipeline.flatbuffer.model import Operator, Subgraph, Tensor, TfliteModel, read_tflite

__all__ = ["Operator", "Subgraph", "Tensor", "TfliteModel", "read_tflite"]
