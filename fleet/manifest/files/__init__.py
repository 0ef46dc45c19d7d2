"""The files that a manifest names: where they may be, their digests, heads of ONNX and npz files.

`checks`, `load` and what is above the manifest may import it; it imports no other room.
"""
