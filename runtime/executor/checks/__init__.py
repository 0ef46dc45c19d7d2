"""Tests of the real paths: the round trip of an image at the start, and programs that listen from outside.

Imports `inputs` and `serving`; only `main` may import it.
"""
