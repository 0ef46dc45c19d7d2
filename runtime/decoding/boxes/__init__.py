"""Decoders that find objects: boxes, and what some models say of them beyond that (points, masks, angles).

Imports heads, geometry and results of `runtime.decoding`; the table of decoders imports it.
"""
