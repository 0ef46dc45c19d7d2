"""A TensorRT plan at work: deserialized, bound to memory, run, inspected, measured.

`tensorrt_` and `tool` may import it; it imports nothing of `build`.
"""
