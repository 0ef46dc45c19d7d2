"""ONNX in, ONNX out: shapes, preprocessing, fp16 and int8 graphs, and what ran at which precision.

Every other room of `runtime.engines` may import it; it imports no backend, no golden data and no build.
"""
