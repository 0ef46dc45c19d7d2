"""Engines: what a model becomes on a device, how it is built, checked and run.

Imports `runtime.contract` and `runtime.decoding`; the executor may import it, `fleet` and the host side never do.
"""
