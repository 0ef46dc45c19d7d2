"""How the suite runs: which worker takes which test, what is printed at the end, and the parts of the long suite.

Used by ``tests/conftest.py`` and the Makefile; of tests only those of the long suite look into ``long``.
"""
