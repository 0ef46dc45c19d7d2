"""What the node agrees with its robot: update lock, serving token, CPU reservation, throttling because of heat.

Imports `serving`; only the node may import it.
"""
