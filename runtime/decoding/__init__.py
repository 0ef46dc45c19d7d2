"""From an engine's output tensor to results: every decoder, boxes, NMS, regions, letterbox geometry. NumPy alone.

Imports `runtime.contract` only; the executor and the builder's task metric may import it.
"""
