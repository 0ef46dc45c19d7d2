"""A TensorRT plan built in a process of its own: network, configuration, calibration, timing cache.

Only the backend of `tensorrt_` may import it. It may import `run`.
"""
