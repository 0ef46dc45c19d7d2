"""Desired against observed: ordered changes, as pure values. No I/O.

Imports `resolve` and what is below; everything from `bootstrap` up may import it.
"""
