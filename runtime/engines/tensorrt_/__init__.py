"""TensorRT on an NVIDIA GPU: what Jetsons run. Imports without TensorRT, CUDA or a GPU; they are needed when used.

Imports `golden`, `graph` and `device`; `backend` loads it by name, and `tool` may import it. Nothing else
imports tensorrt or pycuda.
"""

from runtime.engines.backend import Backend
from runtime.engines.tensorrt_.backend import TensorRtBackend

BACKEND: Backend = TensorRtBackend()
