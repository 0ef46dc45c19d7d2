"""How the suite runs: which worker takes which test, what is printed at the end, and the parts of the long suite.

Used by ``tests/conftest.py`` and the Makefile. Tests import ``share``, what a worker has for itself, and those of the
long suite ``long``.
"""
