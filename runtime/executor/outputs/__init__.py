"""From results to messages: publishers, the velocity guard, model info, diagnostics.

Imports `inputs` and `serving`; only the node and `checks` may import it.
"""
