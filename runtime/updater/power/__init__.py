"""The robot's power mode: NVIDIA's nvpmodel, the mode that is wanted, the socket that the container asks.

Imports `robot` and what is below it; only the daemon may import it.
"""
