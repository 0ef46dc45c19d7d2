"""What the machine is, and whether an engine belongs on it, read from files alone, without a GPU.

Every room of `runtime.engines` and the executor may import it; it imports no other room.
"""
