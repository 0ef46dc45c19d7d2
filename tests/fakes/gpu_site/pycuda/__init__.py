"""A stand-in for pycuda on a machine without a GPU: device memory is host memory, a stream is in order at once."""

VERSION_TEXT = "0.fake"
