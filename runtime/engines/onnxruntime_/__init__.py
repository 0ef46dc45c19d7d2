"""ONNX Runtime on the CPU: what laptops, CI, simulated robots and CPUs run.

Imports `golden`, `graph` and `device`; `backend` loads it by name, and `build` and `tool` may import it.
"""

from runtime.engines.backend import Backend
from runtime.engines.onnxruntime_.backend import OnnxRuntimeBackend

BACKEND: Backend = OnnxRuntimeBackend()
