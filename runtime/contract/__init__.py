"""Every document that crosses a boundary between `fleet`, the builder, the robot's host and the runtime container.

Stdlib only, Python 3.8, JSON, versioned. Everybody may import it: of `runtime`, `fleet` imports nothing else.
"""
