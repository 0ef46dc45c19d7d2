"""The hub: signed reports of robots in, the same reports out. It holds no key, gives no orders, and is never believed.

Imports `signing` and `ports`, and of `runtime` its contract; only the command line imports it.
"""
