"""TensorRT on an NVIDIA GPU: what Jetsons run. Imports without TensorRT, CUDA or a GPU; they are needed when used."""

from runtime.engines.backend import Backend
from runtime.engines.tensorrt_.backend import TensorRtBackend

BACKEND: Backend = TensorRtBackend()
