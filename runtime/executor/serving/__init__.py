"""A model at work: which engine serves it, how one is loaded and exchanged, the worker thread, the numbers.

Imports `inputs`; `outputs`, `robot`, `checks` and the node may import it.
"""
