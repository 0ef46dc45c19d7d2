"""The search for the fastest mix of precisions that passes: what to try next, one trial, what is kept on disk.

Only `tool` may import it. It imports every other room of `runtime.engines`.
"""
