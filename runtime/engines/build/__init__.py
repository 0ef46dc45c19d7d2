"""The builder container's job: an engine built, measured against fp32, diagnosed when a gate fails.

Only `tool` may import it: a robot never builds. It imports every other room of `runtime.engines`.
"""
