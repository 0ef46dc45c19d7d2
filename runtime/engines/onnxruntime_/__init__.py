"""ONNX Runtime on the CPU: what laptops, CI, simulated robots and CPUs run."""

from runtime.engines.backend import Backend
from runtime.engines.onnxruntime_.backend import OnnxRuntimeBackend

BACKEND: Backend = OnnxRuntimeBackend()
